"""What is sealed comes back to who holds the key, whole, and to nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from tradewind.chat.v1 import chat_pb2

from services.chat.privacy import sealing
from services.chat.privacy.master import Master
from services.ledger.ids import AggregateId
from services.runtime.config import Unstartable

WHERE = AggregateId("acme", "conversation", "c-1")
KEY = sealing.Key("acme", "ann", b"12345678", AESGCM(bytes(32)))
words = st.text(min_size=1, max_size=40).map(lambda text: f"secret {text}")
PLACE = sealing.place_of(WHERE)
contents = st.builds(
    chat_pb2.MessageContent,
    text=words,
    reply_to=st.lists(st.integers(1, 9), max_size=3),
    attributes=st.dictionaries(words, words, max_size=2),
    thread_root=st.integers(0, 9),
    mentions=st.one_of(st.none(), st.builds(chat_pb2.Mentions, user_ids=st.lists(st.just("bob"), max_size=1))),
    parts=st.lists(st.builds(lambda text: chat_pb2.Part(card=chat_pb2.Card(title=text)), words), max_size=2),
    forwarded=st.one_of(st.none(), st.just(chat_pb2.ForwardedFrom(sender_id="cy", message_version=3))),
)


def field_of(sealed: bytes) -> bytes:
    """The sealed field, which says whose key it needs, and which."""
    found = chat_pb2.MessageContent.FromString(sealed).sealed
    assert (found[0], sealing.key_id_of(found)) == (sealing.SENDERS, KEY.id)
    return found


@given(contents)
def test_what_is_sealed_and_the_structure_beside_it_are_all_that_was_said(content: chat_pb2.MessageContent) -> None:
    private, structure = sealing.split(content)
    assert b"secret" not in structure
    kept = chat_pb2.MessageContent.FromString(structure)
    assert (kept.reply_to, kept.thread_root) == (content.reply_to, content.thread_root)
    assert (kept.mentions, kept.forwarded) == (content.mentions, content.forwarded)
    sealed = structure + sealing.seal(WHERE, KEY, private)
    assert b"secret" not in sealed
    stored = chat_pb2.MessageContent.FromString(sealed)
    found = field_of(sealed)
    stored.ClearField("sealed")
    stored.MergeFromString(sealing.opened(found, KEY, PLACE) or b"")
    assert stored == content


def test_what_a_later_release_says_is_sealed_too() -> None:
    unknown = b"\xfa\x7f\x06secret"  # field 2047
    private, structure = sealing.split(chat_pb2.MessageContent.FromString(b"\x0a\x02hi" + unknown))
    assert b"secret" in private
    assert structure == b""


@pytest.mark.parametrize(
    ("tenant", "person", "where"),
    [
        ("other", "ann", WHERE),
        ("acme", "bob", WHERE),
        ("acme", "ann", AggregateId("acme", "conversation", "c-2")),
    ],
)
def test_it_opens_nowhere_else(tenant: str, person: str, where: AggregateId) -> None:
    found = field_of(sealing.seal(WHERE, KEY, b"words"))
    assert sealing.opened(found, KEY, PLACE) == b"words"
    key = sealing.Key(tenant, person, KEY.id, KEY.cipher)
    assert sealing.opened(found, key, sealing.place_of(where)) is None


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_opens_nothing(at: int, by: int) -> None:
    found = field_of(sealing.seal(WHERE, KEY, b"words"))
    changed = bytearray(found)
    changed[at % len(found)] ^= by
    assert sealing.opened(bytes(changed), KEY, PLACE) is None


@given(st.binary(max_size=80))
def test_whatever_stands_there_is_no_reason_to_fail(sealed: bytes) -> None:
    assert sealing.key_id_of(sealed) is None or sealing.opened(sealed, KEY, PLACE) is None


def test_the_same_words_are_never_the_same_bytes() -> None:
    assert sealing.seal(WHERE, KEY, b"yes") != sealing.seal(WHERE, KEY, b"yes")


def test_a_master_key_is_changed_by_putting_a_new_one_first(tmp_path: Path) -> None:
    old, new, file = os.urandom(32), os.urandom(32), tmp_path / "keys"
    file.write_text(old.hex() + "\n")
    before = Master.from_file(file)
    file.write_text(f"{new.hex()}\n{old.hex()}\n")
    after = Master.from_file(file)
    assert after.unwrap(before.wrap(b"key", bound=b"ann"), bound=b"ann") == b"key"
    assert before.unwrap(after.wrap(b"key", bound=b"ann"), bound=b"ann") is None
    assert after.unwrap(after.wrap(b"key", bound=b"ann"), bound=b"bob") is None
    assert before.digest_key == after.digest_key  # a write repeated over the change is known again


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, f"{'00' * 32}\n{'00' * 16}"])
def test_a_key_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(Unstartable, match="32 bytes"):
        Master.from_file(file)
