"""What goes over the wire: a MIME message (RFC 5322, RFC 2045) of lines that every server takes.

Bodies are always 7-bit (quoted-printable where needed), so no server's lack of 8BITMIME can matter. The header is folded and encoded
by the standard library; the bodies are encoded by ``binascii``, which is ten times as fast as the library's own way.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from services.mail.domain import Mailbox

CRLF = b"\r\n"
LONGEST_LINE = 78
LONGEST_ADDRESS = 254
PLAIN_LENGTH = 64
"""Values up to this length need no folding."""
# What stands in a header as it is (RFC 5322: atoms and spaces; RFC 5321: a plain mailbox): nearly all there is.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9]+(?: [A-Za-z0-9]+)*")
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9+_-]+(?:\.[A-Za-z0-9+_-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
# Allowed within quotes by RFC 5321, used by nobody, and the stuff that injected commands are made of.
_NEVER_IN_ADDRESS = re.compile(r"[\x00-\x20\x7f<>]")
_PLAIN_SUBJECT = re.compile(r"[!-~]+(?: [!-~]+)*")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class BadAddress(Exception):
    """An address that cannot stand in a header; the text does not repeat it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What a message is made of. ``mail_id`` makes the Message-ID, so that every attempt sends the very same message."""

    mail_id: str
    sender: Mailbox
    recipient: Mailbox
    subject: str
    text: str
    html: str
    at_us: int
    bulk: bool = False


def build(letter: Letter) -> bytes:
    """Write the message, lines ended by CRLF.

    Raises:
        BadAddress: sender or recipient cannot stand in a header.
    """
    subject = one_line(letter.subject)
    if subject and not (len(subject) <= PLAIN_LENGTH and _PLAIN_SUBJECT.fullmatch(subject) and "=?" not in subject):
        subject_line = _header("Subject", subject)
    else:
        subject_line = b"Subject: %s\r\n" % subject.encode("ascii")
    head = b"".join(
        (_mailbox("From", letter.sender), _mailbox("To", letter.recipient), subject_line, _plain_headers(letter))
    )
    parts = [part("text/plain", letter.text)] if letter.text or not letter.html else []
    if letter.html:
        parts.append(part("text/html", letter.html))
    if len(parts) == 1:
        return head + parts[0]
    boundary = _boundary(letter.mail_id, parts)
    lines = [head, b'Content-Type: multipart/alternative; boundary="%s"' % boundary, CRLF, CRLF]
    for each in parts:
        lines += [b"--", boundary, CRLF, each]
    return b"".join([*lines, b"--", boundary, b"--", CRLF])


def _plain_headers(letter: Letter) -> bytes:
    """Write the headers that need neither folding nor encoding."""
    lines = [
        f"Date: {format_datetime(datetime.fromtimestamp(letter.at_us // 1_000_000, UTC))}",
        f"Message-ID: {message_id(letter.mail_id, letter.sender.address)}",
        # RFC 3834: nobody's holiday notice need answer a machine.
        "Auto-Submitted: auto-generated",
        *(["Precedence: bulk"] if letter.bulk else []),
        "MIME-Version: 1.0",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def check_address(mailbox: Mailbox) -> None:
    """Make sure that a message can be written to or from somebody. Raises BadAddress."""
    if not _plain(mailbox):
        _address(mailbox)


def message_id(mail_id: str, sender: str) -> str:
    """Give the Message-ID of a mail: the same for every attempt."""
    return f"<{mail_id}@{sender.rpartition('@')[2]}>"


def one_line(text: str) -> str:
    """Make one line of a text, without control characters, so that it cannot begin a header of its own."""
    return _UNSAFE.sub(" ", text).strip()


def part(content_type: str, text: str) -> bytes:
    """Write one body with its header, ended by CRLF."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    data = "\r\n".join([*lines, ""]).encode("utf-8", "replace")
    if data.isascii() and max(map(len, lines), default=0) <= LONGEST_LINE and b"\x00" not in data:
        encoding = b"7bit"
    else:
        encoding = b"quoted-printable"
        data = binascii.b2a_qp(data, istext=True)
    header = b'Content-Type: %s; charset="utf-8"\r\nContent-Transfer-Encoding: %s\r\n\r\n' % (
        content_type.encode(),
        encoding,
    )
    return header + data


def _mailbox(name: str, mailbox: Mailbox) -> bytes:
    """Write a header that names somebody."""
    if _plain(mailbox):
        who = f"{mailbox.name} <{mailbox.address}>" if mailbox.name else mailbox.address
        return f"{name}: {who}\r\n".encode("ascii")
    return _header(name, _address(mailbox))


def _header(name: str, value: str | Address) -> bytes:
    """Write a header that may need folding or encoding (RFC 2047)."""
    message = EmailMessage(policy=SMTP)
    message[name] = value
    return message.as_bytes().removesuffix(CRLF)


def _plain(mailbox: Mailbox) -> bool:
    return (
        len(mailbox.name) + len(mailbox.address) <= PLAIN_LENGTH
        and _PLAIN_ADDRESS.fullmatch(mailbox.address) is not None
        and (not mailbox.name or _PLAIN_NAME.fullmatch(mailbox.name) is not None)
    )


def _address(mailbox: Mailbox) -> Address:
    if not mailbox.address.isascii():
        # RFC 6531 is not spoken here; better said when the mail is taken than by some server later.
        raise BadAddress("addresses beyond ASCII (SMTPUTF8) cannot be written to")
    if len(mailbox.address) > LONGEST_ADDRESS or _NEVER_IN_ADDRESS.search(mailbox.address):
        raise BadAddress("an address cannot stand in a header")
    try:
        return Address(display_name=one_line(mailbox.name), addr_spec=mailbox.address)
    except (ValueError, IndexError):
        raise BadAddress("an address cannot stand in a header") from None


def _boundary(mail_id: str, parts: list[bytes]) -> bytes:
    """Make a boundary that no part contains; the same for every attempt."""
    salt = 0
    while True:
        boundary = b"=_" + hashlib.sha256(f"{mail_id}/{salt}".encode()).hexdigest()[:32].encode()
        if not any(boundary in each for each in parts):
            return boundary
        salt += 1
