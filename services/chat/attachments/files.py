"""Attachments as files: what is in the vault, sealed on its way in with the key of who uploads it, and opened on its way out.

Nothing of a file is readable without that key, from the moment on at which it is destroyed: it is asked for with each chunk. What was
uploaded before anything was sealed is read as it is; an object's note tells which it is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from services.chat.attachments import sealing
from services.chat.attachments.sealing import FileKey
from services.chat.attachments.vault import (
    CHUNK_BYTES,
    Held,
    Inspected,
    NoObject,
    Overtaken,
    Take,
    Vault,
    VaultUnavailable,
    full,
    put,
)
from services.chat.privacy.keys import Person, PersonKeys
from services.ledger.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Looked:
    """What was read of a file that is not finished: its size and SHA-256, and what the vault says of the object."""

    size: int
    sha256: bytes
    inspected: Inspected

    @property
    def is_sealed(self) -> bool:
        """Whether the vault has nothing but what is sealed."""
        return bool(self.inspected.note)


class Files:
    """Reads and writes files of a vault; whose each is, its caller knows.

    Every method raises VaultUnavailable, and StoreUnavailable where a key cannot be had now.
    """

    def __init__(self, vault: Vault, keys: PersonKeys | None) -> None:
        """Keep files in ``vault``; without ``keys`` nothing is sealed, and what was sealed cannot be read."""
        self.vault = vault
        self.keys = keys

    async def held(self, name: str) -> Held:
        """Tell how far an unfinished file is."""
        held = await self.vault.held(name)
        return replace(held, size=sealing.plain_size(held.size, held.note))

    async def append(self, name: str, person: Person, held: Held, data: bytes, size: int) -> Held:
        """Write the next chunk for good: ``CHUNK_BYTES``, or less where the file, of ``size`` bytes in all, ends with it.

        Raises Overtaken where ``held`` is not what is there; NoObject where the person was erased.
        """
        key: FileKey | None = None
        if held.size:
            key = await self._key(name, person, held.note)
        elif self.keys is not None:
            key, note = sealing.new_key(name, await self.keys.needed(person))
            held = replace(held, note=note)
        end = held.size + len(data)
        if key is not None:
            data = key.seal(held.size // CHUNK_BYTES, data, is_last=end == size)
        stored = replace(held, size=sealing.held_size(held.size, held.note))
        after = await self.vault.append(name, stored, data)
        return replace(after, size=end)

    async def look(self, name: str, person: Person, size: int, take: Take) -> Looked:
        """Read all of an unfinished file of so many bytes, in order, chunk by chunk. Raises NoObject where something is wrong with it."""
        note = (await self.vault.held(name)).note
        digest, number, found = hashlib.sha256(), 0, 0

        async def open_and_take(chunk: bytes) -> None:
            nonlocal number, found
            is_last = found + sealing.plain_size(len(chunk), note) == size
            data = await self._opened(name, person, note, number, chunk, is_last=is_last)
            number, found = number + 1, found + len(data)
            await asyncio.to_thread(digest.update, data)
            await take(data)

        inspected = await self.vault.inspect(name, open_and_take)
        return Looked(found, digest.digest(), inspected)

    async def finish(self, name: str, looked: Looked) -> None:
        """Make a file readable, as it was looked at; again changes nothing."""
        await self.vault.finish(name, looked.inspected)

    async def size(self, name: str) -> int:
        """Give a finished file's size. Raises NoObject."""
        described = await self.vault.described(name)
        return sealing.plain_size(described.size, described.note)

    async def read(
        self, name: str, person: Person, offset: int, length: int, *, is_sealed: bool
    ) -> AsyncIterator[bytes]:
        """Read of a finished file from an offset, in pieces of at most ``CHUNK_BYTES``; no chunk is read that is not needed.

        ``is_sealed``: it is known to be, so an object that is not is another one, put in its place.

        Raises NoObject, also where the person was erased; ValueError beyond the end.
        """
        described = await self.vault.described(name)
        note, size = described.note, sealing.plain_size(described.size, described.note)
        if is_sealed and not note:
            raise NoObject("the object is not the one that was sealed")
        if offset > size:
            raise ValueError("the offset is beyond the file's end")
        end = min(size, offset + length)
        if end <= offset:
            await self._key(name, person, note)  # who asks for nothing is told all the same whether there is anything
            return
        number, last = offset // CHUNK_BYTES, (size - 1) // CHUNK_BYTES
        until = sealing.held_size(min(size, -(-end // CHUNK_BYTES) * CHUNK_BYTES), note)
        begin = number * full(note)
        async for chunk in self.vault.read(name, begin, until - begin):
            data = await self._opened(name, person, note, number, chunk, is_last=number == last)
            place = number * CHUNK_BYTES
            yield data[max(0, offset - place) : end - place]
            number += 1

    async def put_once(self, name: str, person: Person, data: bytes) -> None:
        """Write a small file as a whole, unless it is there. Raises Overtaken where somebody else writes it at this moment."""
        try:
            await self.vault.described(name)
            return
        except NoObject:
            note = b""
        if self.keys is not None:
            key, note = sealing.new_key(name, await self.keys.needed(person))
            places = range(0, len(data), CHUNK_BYTES)
            data = b"".join(
                key.seal(at // CHUNK_BYTES, data[at : at + CHUNK_BYTES], is_last=at + CHUNK_BYTES >= len(data))
                for at in places
            )
        try:
            await put(self.vault, name, data, note)
        except Overtaken:
            raise VaultUnavailable("the file is being written by another call", 0.2) from None

    async def _opened(
        self, name: str, person: Person, note: bytes, number: int, chunk: bytes, *, is_last: bool
    ) -> bytes:
        key = await self._key(name, person, note)
        data = key.opened(number, chunk, is_last=is_last) if key is not None else chunk
        if data is None:
            raise NoObject("a chunk is not what was sealed")
        return data

    async def _key(self, name: str, person: Person, note: bytes) -> FileKey | None:
        """Give a file's key; None where it is not sealed. Raises NoObject where the key was destroyed."""
        if not note:
            return None
        if self.keys is None:
            raise StoreUnavailable("files are sealed, and this deployment was not told with what")
        key_id = sealing.key_id(note)
        key = await self.keys.found(person, key_id) if key_id is not None else None
        opened = sealing.key_of(name, note, key) if key is not None else None
        if opened is None:
            raise NoObject("the file's key was destroyed")
        return opened
