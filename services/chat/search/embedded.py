"""The embedded index: files of SQLite in one folder, that all processes of one machine share. One of them writes, all of them read."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from services.chat.search import generations
from services.chat.search.asked import Query
from services.chat.search.file import IndexFile
from services.chat.search.index import Change, Hits, Order, PlaceUnknown, Position, Replaced
from services.chat.search.searching import search
from services.ledger.errors import StoreUnavailable
from services.ledger.lane import Lane

_READERS: Final = 2
_WAITING: Final = 256
SOURCE: Final = "source"
"""The note of what the index was made from."""
_T = TypeVar("_T")
_Job = Callable[[IndexFile], Any]


class _Worker:
    """A thread with a connection of its own to whichever file counts."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._file: IndexFile | None = None
        self.lane: Lane[_Job] = Lane(name, self._do_all, capacity=_WAITING)

    async def close(self) -> None:
        await self.lane.close()
        self._let_go()

    def _do_all(self, jobs: Sequence[_Job]) -> Sequence[Any]:
        return [self._do(job) for job in jobs]

    def _do(self, job: _Job) -> Any:
        try:
            return job(self.current())
        except (PlaceUnknown, Replaced) as error:
            return error
        except (sqlite3.Error, OSError) as error:
            self._let_go()
            return StoreUnavailable(f"the index did not answer: {type(error).__name__}")

    def current(self) -> IndexFile:
        """Give the file that counts; for jobs of this thread. Raises OSError, sqlite3.Error."""
        path = generations.newest(self._folder)
        if path is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._folder))
        if self._file is None or path != self._file.path:
            self._let_go()
            try:
                self._file = IndexFile(path)
            except sqlite3.OperationalError:
                newer = generations.newest(self._folder)
                if newer is None or newer == path:
                    raise
                self._file = IndexFile(newer)  # it took the other's place in this moment
        return self._file

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class EmbeddedIndex:
    """An `Index` in a folder. Make it inside a running event loop; `open`, `prepare` and `lead` make its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None
        self._leads = False
        self._began: Path | None = None
        self._writer = _Worker(folder, "search-writer")
        self._readers = [_Worker(folder, f"search-reader-{n}") for n in range(_READERS)]
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for reader in self._readers:
            self._idle.put_nowait(reader)
        self._asking = 0

    @classmethod
    async def open(cls, folder: Path) -> EmbeddedIndex:
        """Open the folder, making it and a first file where they are missing.

        Raises:
            StoreUnavailable: it cannot be opened.
        """
        index = cls(folder)
        try:
            await index.prepare()
        except StoreUnavailable:
            await index.close()
            raise
        return index

    async def lead(self) -> bool:
        """Tell whether this process is the one that writes: the first to ask, until it ends. The system frees the lock of one that died.

        Raises:
            StoreUnavailable: the folder cannot be used now.
        """
        if not self._leads:
            self._leads = await asyncio.to_thread(_locked, await self.prepare())
        return self._leads

    async def prepare(self) -> int:
        """Make the folder and a first file where they are missing; gives the lock of who writes. Raises StoreUnavailable."""
        if self._lock is None:
            try:
                self._lock = await asyncio.to_thread(_open, self._folder)
            except (OSError, sqlite3.Error) as error:
                raise StoreUnavailable(f"cannot open the index: {error}") from error
        return self._lock

    async def begin(self, source: str, partitions: int) -> Sequence[int]:
        """See `Index.begin`."""
        self._began, found = await self._write(lambda file: self._begin(file, source_of(source, partitions)))
        return [found.get(partition, 0) for partition in range(partitions)]

    async def put(self, changes: Sequence[Change], position: Position | None = None) -> None:
        """See `Index.put`."""
        positions = () if position is None else (position,)

        def put(file: IndexFile) -> None:
            if file.path != self._began:
                raise Replaced
            file.put(changes, positions)
            if not changes:  # nothing happens: there is time
                file.tidy(time.time())

        await self._write(put)

    async def search(
        self, tenant: str, query: Query, conversations: Collection[str], order: Order, *, place: str, limit: int
    ) -> Hits:
        """See `Index.search`."""
        return await self._read(lambda file: search(file, tenant, query, conversations, order, place, limit))

    async def remove_person(self, tenant: str, user_id: str) -> int:
        """See `Index.remove_person`."""
        return await self._write(lambda file: file.remove_person(tenant, user_id))

    async def clear(self) -> None:
        """See `Index.clear`: an empty file takes the place of the one that counts."""
        await self._write(lambda _: _make_empty(self._folder))

    async def close(self) -> None:
        """See `Index.close`."""
        await asyncio.gather(self._writer.close(), *(reader.close() for reader in self._readers))
        if self._lock is not None:
            os.close(self._lock)  # and with it the lock is free

    def _begin(self, file: IndexFile, source: str) -> tuple[Path, dict[int, int]]:
        if file.note(SOURCE) not in ("", source):
            _make_empty(self._folder)
            file = self._writer.current()
        if not file.note(SOURCE):
            file.put((), (), [(SOURCE, source)])
        return file.path, file.positions()

    async def _write(self, job: Callable[[IndexFile], _T]) -> _T:
        result: _T = await self._writer.lane.submit(job)
        return result

    async def _read(self, job: Callable[[IndexFile], _T]) -> _T:
        if self._asking >= _WAITING:
            raise StoreUnavailable("too many questions wait for the index")
        self._asking += 1
        try:
            reader = await self._idle.get()
            future = reader.lane.submit(job)
            # Who leaves does not take the thread along: it is free once it has answered.
            future.add_done_callback(lambda _: self._idle.put_nowait(reader))
            result: _T = await asyncio.shield(future)
            return result
        finally:
            self._asking -= 1


def source_of(store: str, partitions: int) -> str:
    """Name what an index is made from: a store's log in so many partitions."""
    return f"{store}/{partitions}"


def _open(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    making = os.open(folder / "making.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(making, fcntl.LOCK_EX)  # of several processes one makes the first file
        if generations.newest(folder) is None:
            _make_empty(folder)
    finally:
        os.close(making)
    return os.open(folder / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _make_empty(folder: Path) -> None:
    name = "empty.db"
    generations.drop(folder, name)
    generations.begin(folder, name).close()
    generations.finish(folder, name)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
