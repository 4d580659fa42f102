"""The port to what holds attachments' bytes. One contract suite runs on every adapter: ``tests/contract/test_vault.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

CHUNK_BYTES: Final = 256 * 1024
"""Bytes are written in chunks of this size, the last one may be smaller; of one object no more than a few are in memory at a time."""
SPARE_BYTES: Final = 23
"""What a chunk of an object with a note is longer by, for what its seal adds."""


class VaultUnavailable(Exception):
    """The object store cannot be reached, is full, or did not answer in time; what was being written may still land."""

    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        """Say what was not possible; ``retry_after`` in seconds."""
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Overtaken(Exception):
    """Somebody else writes to the same object."""


class NoObject(Exception):
    """There is no such finished object, or it is damaged."""


@dataclass(frozen=True, slots=True)
class Held:
    """How far an unfinished object is: ``size`` bytes are there for good. ``mark`` is the adapter's own, for the next write.

    ``note``: what whoever wrote the first chunk noted with it, which all others have too; empty: nothing.
    """

    size: int
    mark: int = 0
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was read of an unfinished object: its size, its SHA-256, the adapter's own notes of where the chunks are, and its note."""

    size: int
    sha256: bytes
    places: tuple[int, ...] = ()
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Described:
    """A finished object: its size and SHA-256 as it is held, and its note."""

    name: str
    size: int
    sha256: bytes
    note: bytes = b""


Take = Callable[[bytes], Awaitable[None]]


def full(note: bytes) -> int:
    """Give how long a chunk is that is not the last."""
    return CHUNK_BYTES + SPARE_BYTES if note else CHUNK_BYTES


class Vault(Protocol):
    """Holds objects by name. Every method raises VaultUnavailable where the store cannot do it now.

    An object is appended to, finished once, and from then on read from any place. What was appended outlives every process.
    Sizes and offsets count what is held; what a chunk's bytes mean, and whether they are sealed, is whoever's who wrote them.
    """

    async def held(self, name: str) -> Held:
        """Tell how far an unfinished object is; of one that never was, nothing is there."""

    async def append(self, name: str, held: Held, data: bytes) -> Held:
        """Write the next chunk for good: ``full(held.note)`` bytes, or less where it is the last. The first one's note is the object's.

        Raises Overtaken where ``held`` is not what is there.
        """

    async def inspect(self, name: str, take: Take) -> Inspected:
        """Read all of an unfinished object in order, chunk by chunk."""

    async def finish(self, name: str, inspected: Inspected) -> None:
        """Make the object readable, as it was inspected; again changes nothing."""

    async def described(self, name: str) -> Described:
        """Tell of a finished object. Raises NoObject."""

    def every(self) -> AsyncIterator[Described]:
        """Tell of all finished objects, in the order in which they were finished; what is finished meanwhile may be among them."""

    def read(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """Read of a finished object from an offset, in pieces that end where its chunks do. Raises NoObject; ValueError beyond its end."""

    async def remove(self, name: str) -> None:
        """Remove an object, finished or not; one that is not there is no fault."""

    async def close(self) -> None:
        """Let go."""


async def put(vault: Vault, name: str, data: bytes, note: bytes = b"") -> None:
    """Write a small object as a whole, in place of what may be left of an earlier try."""
    await vault.remove(name)
    held, length = Held(0, note=note), full(note)
    for at in range(0, len(data), length):
        held = await vault.append(name, held, data[at : at + length])
    await vault.finish(name, await vault.inspect(name, _nothing))


async def _nothing(_data: bytes) -> None:
    return
