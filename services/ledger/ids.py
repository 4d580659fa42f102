"""Names: of aggregates, of their subjects and partitions, and ids that are made, never drawn.

Request ids are UUIDv7 (RFC 9562): their first 48 bits are the milliseconds at which the client made them, which lets the
ledger tell for most of them without a look-up that they are new.
"""

from __future__ import annotations

import hashlib
import re
import uuid
import zlib
from dataclasses import dataclass

_PLAIN = re.compile(r"[A-Za-z0-9_-]+\Z")
_PLAIN_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


@dataclass(frozen=True, slots=True)
class AggregateId:
    """Names one consistency boundary: a conversation, an order, a SKU's stock, a mail.

    `id` may be any text: it is escaped where a subject needs it. `tenant` and `kind` are plain tokens.
    """

    tenant: str
    kind: str
    id: str

    @property
    def key(self) -> str:
        """The aggregate as one text, unique in its service: "tenant/kind/id"."""
        return f"{self.tenant}/{self.kind}/{self.id}"

    @staticmethod
    def from_key(key: str) -> AggregateId:
        """The inverse of `key`."""
        tenant, kind, ident = key.split("/", 2)
        return AggregateId(tenant, kind, ident)


def token(text: str) -> str:
    """Text as one token of a NATS subject: plain characters stay, all other bytes become `=XX`; empty text is `=`."""
    if _PLAIN.match(text):
        return text
    if not text:
        return "="
    return "".join(chr(b) if b in _PLAIN_BYTES else f"={b:02X}" for b in text.encode())


def untoken(part: str) -> str:
    """The inverse of `token`."""
    if "=" not in part:
        return part
    if part == "=":
        return ""
    raw = re.sub(rb"=([0-9A-F]{2})", lambda m: bytes.fromhex(m.group(1).decode()), part.encode())
    return raw.decode()


def partition_of(key: str, partitions: int) -> int:
    """The partition of an aggregate's key: CRC-32 modulo the number of partitions, the same in every process."""
    return zlib.crc32(key.encode()) % partitions


def fingerprint(*parts: bytes | str | int) -> bytes:
    """Digest (16 bytes, BLAKE2b) of a command's content, to tell a retry from another use of the same request id."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.digest()


def keyed(fingerprint: bytes, key: bytes) -> bytes:
    """A fingerprint that nobody can make, and so hold a guessed content to it, without the key (at most 64 bytes)."""
    return hashlib.blake2b(fingerprint, digest_size=16, key=key).digest()


def request_bytes(request_id: str) -> bytes:
    """The 16 bytes of a UUID written with or without hyphens.

    Raises:
        ValueError: it is no UUID of version 7.
    """
    raw = bytes.fromhex(request_id.replace("-", ""))
    if len(raw) != 16 or raw[6] >> 4 != 7:
        raise ValueError("not a UUIDv7")
    return raw


def milliseconds_of(request_id: bytes) -> int:
    """When a UUIDv7 was made, in milliseconds since the Unix epoch, as its maker's clock had it."""
    return int.from_bytes(request_id[:6], "big")


def derive_id(request_id: str, *scope: str) -> str:
    """An id for what a request creates, shaped as a UUIDv7 with the request's own time.

    The same request id in the same scope (tenant, subject, …) gives the same id, so that a repeated create meets what the first one made;
    another caller's request id can never name it.

    Raises:
        ValueError: `request_id` is no UUIDv7.
    """
    raw = request_bytes(request_id)
    return _shaped(raw[:6], fingerprint(raw, *scope))


def derive_request_id(time_us: int, *scope: str) -> str:
    """A request id for a command that a consumer or a timer makes: the same cause gives the same id.

    `time_us`: when the cause happened, in microseconds since the Unix epoch.
    """
    return _shaped((time_us // 1000).to_bytes(6, "big"), fingerprint(*scope))


def _shaped(time: bytes, digest: bytes) -> str:
    number = int.from_bytes(time + digest[:10], "big")
    number = number & ~(0xF000 << 64) | (0x7000 << 64)
    number = number & ~(0xC000 << 48) | (0x8000 << 48)
    return str(uuid.UUID(int=number))
