"""DKIM signatures, verified by dkimpy, an implementation of others."""

import base64
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mail.domain import Mailbox
from services.mail.smtp.dkim import Signer, UnusableKey, load_signer, relaxed_body
from services.mail.smtp.message import Letter, build

RSA = Signer("tradewind.example", "a", rsa.generate_private_key(65537, 2048))
ED25519 = Signer("tradewind.example", "b", ed25519.Ed25519PrivateKey.generate())
AT = 1_760_000_000
HEAD = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: Hello\r\nDate: Thu, 09 Oct 2025 08:53:20 +0000\r\n"
)


def verifies(signer: Signer, signed: bytes) -> bool:
    def record(name: bytes, timeout: int = 5) -> bytes:
        assert name.rstrip(b".") == f"{signer.selector}._domainkey.{signer.domain}".encode()
        return signer.record().encode()

    return bool(dkim.verify(signed, dnsfunc=record))


BODIES = {
    "plain": b"Hello\r\n",
    "empty": b"",
    "only line ends": b"\r\n\r\n\r\n",
    "trailing blank lines": b"Hello\r\n\r\n\r\n\r\n",
    "trailing spaces": b"Hello  \t \r\nthere \r\n \t \r\n\r\n",
    "runs of spaces": b"a  b\t\tc \t d\r\n",
    "leading spaces": b"   a\r\n\tb\r\n",
    "dots": b".\r\n..\r\n.a\r\n\r\n.\r\n",
    "long line": b"x" * 900 + b" " + b"y" * 90 + b"\r\n",
    "no end of line": b"Hello",
    "eight bits": "Grüße aus Köln, 東京\r\n".encode(),
}


@pytest.mark.parametrize("signer", [RSA, ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_tricky_bodies_verify(signer: Signer, body: bytes) -> None:
    assert verifies(signer, signer.sign(HEAD + b"\r\n" + body, AT))


@pytest.mark.parametrize(
    "extra",
    [
        b'Content-Type: multipart/alternative;\r\n  boundary="x";\r\n\tcharset=utf-8  \r\n',
        b"message-ID:   <a@b>   \r\n",
        b"To: second@example.org\r\n",
        b"X-Unsigned: whatever\r\n",
    ],
)
def test_tricky_headers_verify(extra: bytes) -> None:
    assert verifies(RSA, RSA.sign(HEAD + extra + b"\r\nHello\r\n", AT))


def test_built_messages_verify() -> None:
    letter = Letter(
        mail_id="0193",
        sender=Mailbox(
            "orders@tradewind.example",
            "Händler und Söhne aus der längsten Straße von Köln am Rhein, Abteilung Bestellungen",
        ),
        recipient=Mailbox("ann@example.org", "Änn 東京"),
        subject="Ihre Bestellung über zwölf Körbe Äpfel ist unterwegs, und noch mehr Wörter, damit gefaltet wird " * 2,
        text=".\n..\nGrüße\n" + "sehr lange Zeile " * 80 + "\n\n\n",
        html="<p>Grüße</p>" * 500,
        at_us=AT * 1_000_000,
    )
    for signer in (RSA, ED25519):
        assert verifies(signer, signer.sign(build(letter), AT))


@settings(max_examples=200, deadline=None)
@given(body=st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b".", b"=", b"\xc3\xa4"]), max_size=40).map(b"".join))
def test_any_body_verifies(body: bytes) -> None:
    # Over SMTP a body always ends with a line's end.
    assert verifies(ED25519, ED25519.sign(HEAD + b"\r\n" + body + b"\r\n", AT))


@given(body=st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a"]), max_size=40).map(b"".join))
def test_canonical_form_is_its_own_canonical_form(body: bytes) -> None:
    assert relaxed_body(relaxed_body(body)) == relaxed_body(body)


@pytest.mark.parametrize("change", [(b"Hello", b"Hallo"), (b"bob@", b"eve@"), (b"Subject: Hello", b"Subject: Hullo")])
def test_what_was_changed_does_not_verify(change: tuple[bytes, bytes]) -> None:
    signed = RSA.sign(HEAD + b"\r\nHello\r\n", AT)
    assert not verifies(RSA, signed.replace(*change))


def test_a_second_sender_cannot_be_added() -> None:
    signed = RSA.sign(HEAD + b"\r\nHello\r\n", AT)
    assert not verifies(RSA, b"From: eve@example.org\r\n" + signed)


def test_signature_lines_stay_short() -> None:
    head = RSA.sign(HEAD + b"\r\nHello\r\n", AT).partition(b"\r\nFrom:")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 100


def test_keys_are_read_from_files(tmp_path: Path) -> None:
    for signer in (RSA, ED25519):
        path = tmp_path / signer.selector
        path.write_bytes(
            signer.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        again = load_signer("Tradewind.example", signer.selector, path)
        assert again.record() == signer.record()


def test_unusable_keys_are_refused(tmp_path: Path) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content in (b"no key", elliptic):
        path = tmp_path / "key"
        path.write_bytes(content)
        with pytest.raises(UnusableKey):
            load_signer("tradewind.example", "a", path)


def test_the_record_holds_the_public_key() -> None:
    assert len(base64.b64decode(ED25519.record().rpartition("p=")[2])) == 32
