"""Making the embedded index anew out of the store, beside the one that answers meanwhile, and then in its place.

How far it got stands in the new index itself, so a rebuild that is broken off goes on where it was. What is said meanwhile is in the log:
the new index begins with the places that the old one had when the rebuild began, and whichever process follows the log brings it up
to now.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from services.chat.commands import KIND
from services.chat.contents import Contents
from services.chat.search import generations
from services.chat.search.embedded import SOURCE, source_of
from services.chat.search.file import IndexFile
from services.chat.search.index import Change, Position, Said
from services.chat.search.telling import changes
from services.ledger import entries
from services.ledger.archive import Archive, Scanned
from services.ledger.ids import AggregateId

_PAGE: Final = 1000
_PLACE: Final = "place"
_TELL_EVERY: Final = 50_000
Tell = Callable[[str], None]


class RebuildRefused(Exception):
    """It cannot be done now; the message says why."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did: how many messages it read, and whether it went on with one that was broken off."""

    messages: int
    resumed: bool


async def rebuild(
    archive: Archive, contents: Contents, folder: Path, partitions: int, tell: Tell, *, page: int = _PAGE
) -> Rebuilt:
    """Make the index in ``folder`` anew. Processes of Chat may run meanwhile, and change over within a second of its end.

    Args:
        page: so many entries are read, and taken in, at a time.

    Raises:
        RebuildRefused: another one is under way, the store was never used, or the folder does not take it.
        StoreUnavailable: not finished; begin again, and it goes on.
    """
    identity = await archive.identity()
    if not identity:
        raise RebuildRefused("the store is new: there is nothing to search")
    source = source_of(identity, partitions)
    try:
        with _alone(folder):
            return await _rebuild(archive, contents, folder, source, tell, page)
    except (OSError, sqlite3.Error) as error:
        raise RebuildRefused(f"the index in {folder} cannot be written: {error}") from error


async def _rebuild(
    archive: Archive, contents: Contents, folder: Path, source: str, tell: Tell, at_once: int
) -> Rebuilt:
    file = await asyncio.to_thread(_begun, folder, source)
    place, count, told = file.note(_PLACE), 0, 0
    resumed = bool(place)
    try:
        while True:
            page = await archive.scan(after_seq=0, place=place, limit=at_once)
            found = await _told(contents, page)
            place = page.next_place
            await asyncio.to_thread(file.put, found, (), [(_PLACE, place)])
            count += sum(1 for change in found if isinstance(change, Said))
            if count - told >= _TELL_EVERY:
                told = count
                tell(f"{count} messages")
            if not place:
                break
    finally:
        await asyncio.to_thread(file.close)
    await asyncio.to_thread(generations.finish, folder)
    return Rebuilt(count, resumed)


def _begun(folder: Path, source: str) -> IndexFile:
    """Open the file that is being built: one that was broken off, or a new one with the places that the index has now."""
    file = generations.begin(folder)
    if file.note(SOURCE) == source:
        return file
    file.close()
    generations.drop(folder)
    file = generations.begin(folder)
    file.put((), _positions(folder, source), [(SOURCE, source)])
    return file


def _positions(folder: Path, source: str) -> Sequence[Position]:
    path = generations.newest(folder)
    if path is None:
        return ()
    old = IndexFile(path)
    try:
        if old.note(SOURCE) != source:
            return ()
        return [Position(partition, seq) for partition, seq in old.positions().items()]
    finally:
        old.close()


async def _told(contents: Contents, page: Scanned) -> list[Change]:
    found: list[Change] = []
    for key, group in groupby(page.entries, key=lambda pair: pair[0]):
        aggregate = AggregateId.from_key(key)
        if aggregate.kind == KIND:
            payloads = [event.payload for _, each in group for event in entries.recorded(entries.parse(each.data))]
            found += changes(aggregate.tenant, aggregate.id, await contents.events(aggregate.tenant, payloads))
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "building.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RebuildRefused("another rebuild is under way") from None
    finally:
        os.close(lock)
