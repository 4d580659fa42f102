"""Sealed chunks open in their place, of their file, with their person's key; anywhere else not at all."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from services.chat.attachments import sealing
from services.chat.attachments.sealing import FileKey, key_of, new_key
from services.chat.attachments.vault import CHUNK_BYTES
from services.chat.privacy.sealing import Key

ANN, BOB = (
    Key("acme", "ann", os.urandom(8), AESGCM(os.urandom(32))),
    Key("acme", "bob", os.urandom(8), AESGCM(os.urandom(32))),
)


def sealed(key: FileKey, chunks: list[bytes]) -> list[bytes]:
    """A file's chunks as they are held."""
    return [key.seal(number, chunk, is_last=number == len(chunks) - 1) for number, chunk in enumerate(chunks)]


def opened(key: FileKey, chunks: list[bytes]) -> list[bytes | None]:
    """What a reader makes of them, who knows how many there are."""
    return [key.opened(number, chunk, is_last=number == len(chunks) - 1) for number, chunk in enumerate(chunks)]


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=2, max_size=6, unique=True), st.data())
def test_chunks_that_were_moved_left_out_cut_or_changed_do_not_open(chunks: list[bytes], data: st.DataObject) -> None:
    key, _ = new_key("acme/1", ANN)
    held = sealed(key, chunks)
    assert opened(key, held) == chunks
    one, other = data.draw(st.lists(st.integers(0, len(chunks) - 1), min_size=2, max_size=2, unique=True))
    moved = list(held)
    moved[one], moved[other] = held[other], held[one]
    assert opened(key, moved)[one] is None
    assert opened(key, moved)[other] is None
    kept = data.draw(st.integers(1, len(chunks) - 1))
    assert opened(key, held[:kept])[-1] is None
    assert opened(key, [*held, held[-1]])[-2:] == [None, None]
    at = data.draw(st.integers(0, len(held[one]) - 1))
    broken = held[one][:at] + bytes((held[one][at] ^ 1,)) + held[one][at + 1 :]
    assert opened(key, [*held[:one], broken, *held[one + 1 :]])[one] is None
    assert key.opened(one, held[one][:at], is_last=one == len(chunks) - 1) is None


def test_a_file_s_key_is_its_person_s_and_its_name_s() -> None:
    key, note = new_key("acme/1", ANN)
    again = key_of("acme/1", note, ANN)
    assert again is not None
    assert again.opened(0, key.seal(0, b"words", is_last=True), is_last=True) == b"words"
    assert sealing.key_id(note) == ANN.id
    assert sealing.key_id(b"\x09" + note[1:]) is None
    assert key_of("acme/2", note, ANN) is None
    assert key_of("acme/1", note, BOB) is None
    assert key_of("acme/1", note, Key("other", "ann", ANN.id, ANN.cipher)) is None
    assert key_of("acme/1", b"", ANN) is None


def test_the_same_bytes_are_never_sealed_the_same() -> None:
    key, _ = new_key("acme/1", ANN)
    assert key.seal(0, b"words", is_last=True) != key.seal(0, b"words", is_last=True)


@given(st.integers(0, 5 * CHUNK_BYTES), st.sampled_from((b"", b"note")))
def test_sizes_go_both_ways(size: int, note: bytes) -> None:
    assert sealing.plain_size(sealing.held_size(size, note), note) == size
