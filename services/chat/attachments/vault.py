"""The port to what holds attachments' bytes. One contract suite runs on every adapter: ``tests/contract/test_vault.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

CHUNK_BYTES: Final = 256 * 1024
"""Bytes are written in chunks of this size, the last one may be smaller; of one object no more than a few are in memory at a time."""


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
    """There is no such sealed object, or it is damaged."""


@dataclass(frozen=True, slots=True)
class Held:
    """How far an unsealed object is: ``size`` bytes are there for good. ``mark`` is the adapter's own, for the next write."""

    size: int
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was read of an unsealed object: its size, its SHA-256, and the adapter's own notes of where the chunks are."""

    size: int
    sha256: bytes
    places: tuple[int, ...] = ()


Take = Callable[[bytes], Awaitable[None]]


class Vault(Protocol):
    """Holds objects by name. Every method raises VaultUnavailable where the store cannot do it now.

    An object is appended to, sealed once, and from then on read from any place. What was appended outlives every process.
    """

    async def held(self, name: str) -> Held:
        """Tell how far an unsealed object is; of one that never was, nothing is there."""

    async def append(self, name: str, held: Held, data: bytes) -> Held:
        """Write the next chunk for good: ``CHUNK_BYTES``, or less where it is the last.

        Raises Overtaken where ``held`` is not what is there.
        """

    async def inspect(self, name: str, take: Take) -> Inspected:
        """Read all of an unsealed object in order, chunk by chunk."""

    async def seal(self, name: str, inspected: Inspected) -> None:
        """Make the object readable, as it was inspected; again changes nothing."""

    async def size(self, name: str) -> int:
        """Give a sealed object's size. Raises NoObject."""

    def read(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """Read of a sealed object from an offset, in pieces of at most ``CHUNK_BYTES``. Raises NoObject; ValueError beyond its end."""

    async def remove(self, name: str) -> None:
        """Remove an object, sealed or not; one that is not there is no fault."""

    async def close(self) -> None:
        """Let go."""


async def put(vault: Vault, name: str, data: bytes) -> None:
    """Write a small object as a whole, in place of what may be left of an earlier try."""
    await vault.remove(name)
    held = Held(0)
    for at in range(0, len(data), CHUNK_BYTES):
        held = await vault.append(name, held, data[at : at + CHUNK_BYTES])
    await vault.seal(name, await vault.inspect(name, _nothing))


async def _nothing(_data: bytes) -> None:
    return
