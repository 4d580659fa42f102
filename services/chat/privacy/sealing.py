"""What was said, sealed: how a content's bytes become what log and store hold, and come back.

Of a content the structure stays readable: what it answers, its thread, whom it mentions, where it was forwarded from, when it goes.
All else, also what later releases add, is encrypted as one with AES-256-GCM (NIST SP 800-38D) under a key of the person whose words they
are. What is sealed is, one after the other: whose key (1 byte), key id (8), digest of the conversation (8), nonce (12), ciphertext with
its tag (16).
The associated data are tenant, person and all that stands before the nonce, so nothing of one person, tenant or conversation passes for
another's.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tradewind.chat.v1 import chat_pb2

from services.ledger import varint
from services.ledger.ids import AggregateId

SENDERS, FIRST_SENDERS = 1, 2
"""Whose key: of who sent it, or of who said it first where it was forwarded."""
_SECRETS: Final = 3
"""What a wrapped secret is bound to begins with; never one of the two above."""
KEY_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_PLACE_BYTES: Final = 8
_HEAD_BYTES: Final = 1 + KEY_ID_BYTES + _PLACE_BYTES
_CIPHER_FROM: Final = _HEAD_BYTES + _NONCE_BYTES
_LEAST_BYTES: Final = _CIPHER_FROM + 16
_MOST_REMEMBERED: Final = 64
_MOST_PLACES: Final = 16_384
_TAG: Final = varint.varint(chat_pb2.MessageContent.SEALED_FIELD_NUMBER << 3 | 2)
STRUCTURE: Final = frozenset({2, 4, 5, 7, 8, 9, 10})
"""Fields of MessageContent that stay readable: what it answers, thread, mentions, forwarded from, when it goes, attachments."""


@dataclass(eq=False, slots=True)
class Key:
    """One of a person's keys. ``heads``: what its seals in a conversation begin with, and what that binds; ``bounds``: the latter alone,
    by what a seal begins with; the last ones."""

    tenant: str
    person: str
    id: bytes
    cipher: AESGCM
    heads: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    bounds: dict[bytes, bytes] = field(default_factory=dict)


def seal(conversation: AggregateId, key: Key, content: bytes, whose: int = SENDERS) -> bytes:
    """Seal a content's bytes with a person's key; gives those of a content that says the same to who holds the key."""
    known = key.heads.get(conversation.id) if whose == SENDERS else None
    head, bound = known or _head(key, conversation, whose)
    nonce = os.urandom(_NONCE_BYTES)
    ciphertext = key.cipher.encrypt(nonce, content, bound)
    return _TAG + varint.varint(_CIPHER_FROM + len(ciphertext)) + head + nonce + ciphertext


def split(content: chat_pb2.MessageContent) -> tuple[bytes, bytes]:
    """Give what of a content is to be sealed, and its structure, both as bytes."""
    fields = content.ListFields()
    if not any(found.number in STRUCTURE for found, _ in fields):
        return content.SerializeToString(deterministic=True), b""
    structure, private = chat_pb2.MessageContent(), chat_pb2.MessageContent()
    structure.CopyFrom(content)
    private.CopyFrom(content)
    for found, _ in fields:
        (private if found.number in STRUCTURE else structure).ClearField(found.name)  # type: ignore[arg-type]
    structure.DiscardUnknownFields()  # what a later release's client says is said too
    return private.SerializeToString(deterministic=True), structure.SerializeToString(deterministic=True)


def wrap(key: Key, what: str, secret: bytes) -> bytes:
    """Seal a secret of its own, such as a file's key, with a person's key, for what is named so; opened by ``unwrap`` alone."""
    nonce = os.urandom(_NONCE_BYTES)
    return key.id + nonce + key.cipher.encrypt(nonce, secret, _bound_secret(key, what))


def unwrap(wrapped: bytes, key: Key, what: str) -> bytes | None:
    """Open a secret; None where it was not sealed so."""
    begins = KEY_ID_BYTES + _NONCE_BYTES
    try:
        return key.cipher.decrypt(wrapped[KEY_ID_BYTES:begins], wrapped[begins:], _bound_secret(key, what))
    except (InvalidTag, ValueError):
        return None


def key_id_of(sealed: bytes) -> bytes | None:
    """Tell which key opens it, of whom its first byte says; None where nothing can."""
    if len(sealed) < _LEAST_BYTES or not SENDERS <= sealed[0] <= FIRST_SENDERS:
        return None
    return sealed[1 : 1 + KEY_ID_BYTES]


def opened(sealed: bytes, key: Key, place: bytes | None) -> bytes | None:
    """Open it; None where it was not sealed so. ``place``: of the conversation (``place_of``); None: it may be of any."""
    head = sealed[:_HEAD_BYTES]
    bound = key.bounds.get(head) or _bound(key, head)
    if place is not None and not head.endswith(place):
        return None
    try:
        return key.cipher.decrypt(sealed[_HEAD_BYTES:_CIPHER_FROM], sealed[_CIPHER_FROM:], bound)
    except InvalidTag:
        return None


def place_of(conversation: AggregateId) -> bytes:
    """Give what stands for a conversation in what is sealed for it."""
    return _place(conversation.id)


@lru_cache(_MOST_PLACES)
def _place(conversation_id: str) -> bytes:
    return hashlib.blake2b(conversation_id.encode(), digest_size=_PLACE_BYTES).digest()


def _head(key: Key, conversation: AggregateId, whose: int) -> tuple[bytes, bytes]:
    head = bytes((whose,)) + key.id + place_of(conversation)
    found = head, _bound(key, head)
    if whose == SENDERS:
        if len(key.heads) >= _MOST_REMEMBERED:
            key.heads.clear()
        key.heads[conversation.id] = found
    return found


def _bound_secret(key: Key, what: str) -> bytes:
    return bytes((_SECRETS,)) + key.id + _lengths(key.tenant, key.person, what)


def _lengths(*names: str) -> bytes:
    """Join names so that none can be taken for two."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (name.encode() for name in names))


def _bound(key: Key, head: bytes) -> bytes:
    if len(key.bounds) >= _MOST_REMEMBERED:
        key.bounds.clear()
    bound = key.bounds[head] = head + _lengths(key.tenant, key.person)
    return bound
