"""A backup: all entries of one store in one file, whichever kind of store it is, and the rows that no entry writes.

All other read models, heads and snapshots are not in it, as they are functions of the entries. The format is
`tradewind.ledger.v1.BackupRecord`.
Writing and reading take bounded memory; a file that was cut or changed is refused before anything of it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from google.protobuf.message import DecodeError
from tradewind.ledger.v1 import backup_pb2, entry_pb2

from services.ledger.archive import Archive, Row, StoredEntry
from services.ledger.clock import SYSTEM, Clock
from services.ledger.earlier import MOST_LIVES, place_of
from services.ledger.earlier import TABLE as LIVES
from services.ledger.ids import AggregateId
from services.ledger.repair import role_of
from services.ledger.varint import varint

FORMAT = 2
_READABLE = (1, 2)  # the first had no rows
MOST_PARTITIONS = 256
"""No log has more."""
_PAGE = 1000
_PAGE_BYTES = 1 << 20
_RECORD_BYTES = 64 << 20
_LEVEL = 4
_AT_ONCE = 32


class BackupUnusable(Exception):
    """The file is no backup, was cut or changed, or cannot be read or written; the message says which."""


@dataclass(frozen=True)
class Contents:
    """What is in a backup file."""

    header: backup_pb2.BackupHeader
    trailer: backup_pb2.BackupTrailer


async def back_up(
    archive: Archive, service: str, roles: Sequence[tuple[str, str]], file: Path, *,
    after_seq: int = 0, kept: Sequence[str] = (), clock: Clock = SYSTEM,
) -> Contents:  # fmt: skip
    """Writes a store's entries into a new file, which has its name only when it is whole and on the disk.

    Services may go on meanwhile: of each aggregate a prefix of its history is in the file.

    Args:
        roles: (role, source) of the consumers whose places are kept.
        after_seq: only entries above this sequence; 0: all.
        kept: read models that are written by themselves, and not with entries; all their rows are in the file, whatever `after_seq` is.

    Raises:
        BackupUnusable: the file is there already or cannot be written, or the store has no registered life of a log.
        StoreUnavailable: the store did not answer; nothing was made.
    """
    header = await _header(archive, service, roles, after_seq, clock)
    writer = await asyncio.to_thread(_Writer, file, header)
    try:
        place = ""
        while True:
            page = await archive.scan(after_seq=after_seq, place=place, limit=_PAGE)
            await asyncio.to_thread(writer.add, [(AggregateId.from_key(key), entry) for key, entry in page.entries])
            place = page.next_place
            if not place:
                break
        for each in header.positions:
            whose = place_of(each.role, each.source, each.partition)
            lives = await archive.rows(LIVES, whose, limit=MOST_LIVES, descending=True)
            await asyncio.to_thread(writer.add_rows, lives)
        for table in kept:
            async for rows in _rows(archive, table):
                await asyncio.to_thread(writer.add_rows, rows)
        trailer = await asyncio.to_thread(writer.finish)
    except OSError as error:
        raise BackupUnusable(f"{file} cannot be written: {error.strerror}") from error
    finally:
        await asyncio.to_thread(writer.close)
    return Contents(header, trailer)


async def _rows(archive: Archive, table: str) -> AsyncIterator[Sequence[Row]]:
    place = ""
    while True:
        page = await archive.scan_rows(table, place=place, limit=_PAGE)
        yield page.rows
        place = page.next_place
        if not place:
            return


async def _header(
    archive: Archive, service: str, roles: Sequence[tuple[str, str]], after_seq: int, clock: Clock
) -> backup_pb2.BackupHeader:
    epoch = await archive.epoch(service)
    if epoch is None:
        raise BackupUnusable("the store has no registered life of a log: it is new, or was lost")
    header = backup_pb2.BackupHeader(
        format=FORMAT, service=service, identity=await archive.identity() or "", epoch=epoch, after_seq=after_seq,
        begun_us=clock.wall_us(),
    )  # fmt: skip
    floor = await archive.position(role_of(header.identity), service, 0)
    header.complete_epoch = floor.epoch if floor is not None else epoch
    header.complete_seq = floor.seq if floor is not None else epoch - 1
    for role, source in roles:
        for start in range(0, MOST_PARTITIONS, _AT_ONCE):
            some = range(start, start + _AT_ONCE)
            found = await asyncio.gather(*(archive.position(role, source, partition) for partition in some))
            for partition, position in zip(some, found, strict=True):
                if position is not None:
                    header.positions.add(
                        role=role, source=source, partition=partition, epoch=position.epoch, seq=position.seq
                    )
    return header


async def contents(file: Path) -> Contents:
    """Reads a whole file once, and answers what it says of itself.

    Raises:
        BackupUnusable: it is no whole backup.
    """
    return await asyncio.to_thread(_check, file)


async def entries_of(file: Path) -> AsyncIterator[list[entry_pb2.ScannedEntry]]:
    """The entries of a file, some at a time, in its order.

    Raises:
        BackupUnusable: it is no whole backup.
    """
    async for page in _pages(file):
        yield [record.entry for record in page if record.WhichOneof("record") == "entry"]


async def rows_of(file: Path) -> AsyncIterator[list[Row]]:
    """The rows of a file, some at a time, in its order.

    Raises:
        BackupUnusable: it is no whole backup.
    """
    async for page in _pages(file):
        rows = [record.row for record in page if record.WhichOneof("record") == "row"]
        if rows:
            yield [Row(row.table, row.partition, row.key, row.value, row.seq) for row in rows]


async def _pages(file: Path) -> AsyncIterator[list[backup_pb2.BackupRecord]]:
    records = _records(file)
    try:
        while page := await asyncio.to_thread(_page, records):
            yield page
    finally:
        records.close()


def _page(records: Iterator[backup_pb2.BackupRecord]) -> list[backup_pb2.BackupRecord]:
    page: list[backup_pb2.BackupRecord] = []
    size = 0
    for record in islice(records, _PAGE):
        page.append(record)
        size += len(record.entry.entry) + len(record.row.value)
        if size >= _PAGE_BYTES:
            break
    return page


def _check(file: Path) -> Contents:
    header: backup_pb2.BackupHeader | None = None
    trailer: backup_pb2.BackupTrailer | None = None
    for record in _records(file):
        which = record.WhichOneof("record")
        if which == "header":
            header = record.header
        elif which == "trailer":
            trailer = record.trailer
    assert header is not None
    assert trailer is not None
    return Contents(header, trailer)


def _records(file: Path) -> Generator[backup_pb2.BackupRecord, None, None]:
    """Every record, each checked as far as that can be done where it stands."""
    try:
        with gzip.open(file, "rb") as stream:
            yield from _Reader(stream)
    except (gzip.BadGzipFile, zlib.error, EOFError, DecodeError) as error:
        raise BackupUnusable(f"{file} is no backup, or was cut or changed") from error
    except OSError as error:
        raise BackupUnusable(f"{file} cannot be read: {error.strerror}") from error


class _Reader:
    """Iterates over a stream's records and holds them to their order, counts and digest."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._digest = hashlib.blake2b(digest_size=32)
        self._entries = self._aggregates = self._rows = 0
        self._last: tuple[str, str, str] | None = None

    def __iter__(self) -> Iterator[backup_pb2.BackupRecord]:
        first = True
        while (data := self._next()) is not None:
            record = backup_pb2.BackupRecord.FromString(data)
            which = record.WhichOneof("record")
            if first != (which == "header") or which is None:
                raise EOFError
            if first and record.header.format not in _READABLE:
                raise BackupUnusable(f"the backup has format {record.header.format}, which this version cannot read")
            first = False
            if which == "trailer":
                self._hold_to(record.trailer)
            yield record
            if which == "trailer":
                if self._stream.read(1):
                    raise EOFError
                return
            self._count(data, record)
        raise EOFError

    def _next(self) -> bytes | None:
        length = shift = 0
        while True:
            byte = self._stream.read(1)
            if not byte:
                return None
            length |= (byte[0] & 127) << shift
            shift += 7
            if byte[0] < 128:
                break
        if length > _RECORD_BYTES:
            raise EOFError
        data = self._stream.read(length)
        if len(data) != length:
            raise EOFError
        return data

    def _count(self, data: bytes, record: backup_pb2.BackupRecord) -> None:
        self._digest.update(varint(len(data)) + data)
        which = record.WhichOneof("record")
        self._rows += which == "row"
        if which == "entry":
            if self._rows:
                raise EOFError
            name = (record.entry.tenant, record.entry.kind, record.entry.id)
            self._entries += 1
            self._aggregates += name != self._last
            self._last = name

    def _hold_to(self, trailer: backup_pb2.BackupTrailer) -> None:
        found = (self._entries, self._aggregates, self._rows, self._digest.digest())
        if found != (trailer.entries, trailer.aggregates, trailer.rows, trailer.digest):
            raise EOFError


class _Writer:
    """Writes a file beside its place, and moves it there when it is whole. Blocks; readable by its owner only."""

    def __init__(self, file: Path, header: backup_pb2.BackupHeader) -> None:
        self._file, self._partial = file, file.with_name(f".{file.name}.{os.getpid()}.partial")
        if file.exists():
            raise BackupUnusable(f"{file} is there already")
        try:
            descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise BackupUnusable(f"{file} cannot be written: {error.strerror}") from error
        self._raw = os.fdopen(descriptor, "wb")
        self._stream = gzip.GzipFile("", "wb", _LEVEL, self._raw, mtime=0)
        self._digest = hashlib.blake2b(digest_size=32)
        self._trailer = backup_pb2.BackupTrailer()
        self._last: AggregateId | None = None
        self._put([backup_pb2.BackupRecord(header=header)])

    def add(self, found: Sequence[tuple[AggregateId, StoredEntry]]) -> None:
        """Writes entries."""
        records = []
        for aggregate, entry in found:
            records.append(_record(aggregate, entry))
            self._trailer.aggregates += aggregate != self._last
            self._last = aggregate
            self._trailer.newest_seq = max(self._trailer.newest_seq, records[-1].entry.seq)
        self._trailer.entries += len(records)
        self._put(records)

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Writes rows, after all entries."""
        self._trailer.rows += len(rows)
        named = (
            backup_pb2.BackupRow(table=r.table, partition=r.partition, key=r.key, value=r.value or b"", seq=r.seq)
            for r in rows
        )
        self._put([backup_pb2.BackupRecord(row=row) for row in named])

    def finish(self) -> backup_pb2.BackupTrailer:
        """Makes it whole: on the disk first, then under its name."""
        self._trailer.digest = self._digest.digest()
        self._put([backup_pb2.BackupRecord(trailer=self._trailer)])
        self._stream.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._partial.replace(self._file)
        with contextlib.suppress(OSError):  # not every system lets a folder be synced
            folder = os.open(self._file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self._trailer

    def close(self) -> None:
        """Leaves nothing behind that is not whole."""
        with contextlib.suppress(OSError):
            self._raw.close()
        self._partial.unlink(missing_ok=True)

    def _put(self, records: Sequence[backup_pb2.BackupRecord]) -> None:
        parts: list[bytes] = []
        for record in records:
            data = record.SerializeToString()
            parts += (varint(len(data)), data)
        framed = b"".join(parts)
        self._digest.update(framed)
        self._stream.write(framed)


def _record(aggregate: AggregateId, entry: StoredEntry) -> backup_pb2.BackupRecord:
    return backup_pb2.BackupRecord(
        entry=entry_pb2.ScannedEntry(
            kind=aggregate.kind, tenant=aggregate.tenant, id=aggregate.id, seq=entry.seq, entry=entry.data
        )
    )
