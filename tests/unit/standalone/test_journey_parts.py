"""What the journey remembers, and how it reads letters and seals."""

import asyncio
import uuid
from email.message import EmailMessage
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tradewind.sdk import new_request_id

from services.standalone.journey import memory, seal
from services.standalone.journey.expect import Unmet, expect, within
from services.standalone.journey.letters import Inbox
from services.standalone.journey.memory import Memory


def test_a_journey_that_is_not_complete_is_recalled(tmp_path: Path) -> None:
    path = tmp_path / "journey.json"
    assert memory.recall(path) is None
    begun = memory.begin(path, new_request_id(), "00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    assert memory.recall(path) == begun
    memory.forget(path)
    memory.forget(path)
    assert memory.recall(path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "x", "traceparent": null}', '{"id": 7}'])
def test_another_file_is_no_journey(tmp_path: Path, text: str) -> None:
    path = tmp_path / "journey.json"
    path.write_text(text)
    assert memory.recall(path) is None


def test_an_intent_has_one_request_id_and_no_two_share_one() -> None:
    one, other = Memory(new_request_id(), None), Memory(new_request_id(), None)
    ids = {each.request_id(intent) for each in (one, other) for intent in ("place", "cancel")}
    assert len(ids) == 4
    assert one.request_id("place") in ids
    assert {uuid.UUID(text).version for text in ids} == {7}


def test_what_is_not_met_says_what_was_expected_and_seen() -> None:
    with pytest.raises(Unmet, match=r"the total: expected 2, saw 3"):
        expect("the total", 2, 3)


async def test_what_does_not_come_is_not_waited_for_longer() -> None:
    with pytest.raises(Unmet, match="nothing"):
        await within("the answer", asyncio.Event().wait(), seconds=0.01)


# --- letters ---


def _letter(to: str, subject: str) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@tradewind.example", to, subject
    message["Date"] = "Sat, 21 Nov 2026 09:00:00 +0000"
    message.set_content("Thank you,\n\nyour   order\t0193 is paid. \n\n\n")
    message.add_alternative('<p>paid</p><img alt="" src="http://127.0.0.1:7406/o/abc">', subtype="html")
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


async def test_only_letters_to_this_journey_are_found(tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "1.a").write_bytes(_letter("ann@one.example", "Your receipt"))
    (new / "2.b").write_bytes(_letter("ann@two.example", "Your receipt"))
    inbox = Inbox(tmp_path, "one.example")
    letter = await inbox.find("the receipt", "RECEIPT", "0193")
    assert letter.picture() == "http://127.0.0.1:7406/o/abc"
    assert len(await inbox.letters()) == 1


async def test_a_letter_that_was_read_meanwhile_is_one_letter(tmp_path: Path) -> None:
    for folder in ("new", "cur"):
        (tmp_path / folder).mkdir()
    inbox = Inbox(tmp_path, "one.example")
    (tmp_path / "new" / "1.a").write_bytes(_letter("ann@one.example", "Your receipt"))
    assert len(await inbox.letters()) == 1
    (tmp_path / "new" / "1.a").rename(tmp_path / "cur" / "1.a:2,S")
    assert len(await inbox.letters()) == 1


# --- seals ---


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def public_key(key: rsa.RSAPrivateKey, tmp_path: Path) -> Path:
    path = tmp_path / "dkim.pub.pem"
    path.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return path


def _sealed(key: rsa.RSAPrivateKey, letter: bytes) -> bytes:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    header = dkim.sign(letter, b"main", b"tradewind.example", pem, canonicalize=(b"relaxed", b"relaxed"))
    return bytes(header) + letter


def test_a_sealed_letter_verifies_also_with_unix_line_ends(key: rsa.RSAPrivateKey, public_key: Path) -> None:
    letter = _sealed(key, _letter("ann@one.example", "A  folded\tsubject"))
    assert seal.verify(letter, public_key) == "tradewind.example"
    assert seal.verify(letter.replace(b"\r\n", b"\n"), public_key) == "tradewind.example"


@pytest.mark.parametrize(
    ("old", "new"), [(b"is paid", b"is not"), (b"A receipt", b"B receipt"), (b"ann@one", b"bob@one")]
)
def test_a_letter_that_was_changed_does_not_verify(
    key: rsa.RSAPrivateKey, public_key: Path, old: bytes, new: bytes
) -> None:
    letter = _sealed(key, _letter("ann@one.example", "A receipt"))
    assert old in letter
    with pytest.raises(Unmet):
        seal.verify(letter.replace(old, new), public_key)


def test_a_letter_without_a_seal_does_not_verify(public_key: Path) -> None:
    with pytest.raises(Unmet, match="none"):
        seal.verify(_letter("ann@one.example", "A receipt"), public_key)
