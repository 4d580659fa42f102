"""A process's archive on the simulated store (`cluster`).

One entry is one mutation on each copy. What `load`, `head` and `entries` show last is written back first, unless it is known to be on a
quorum (`Archive.trust`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from services.ledger import entries as codec
from services.ledger.archive import Head, Loaded, Position, Row, Scanned, ScannedRows, Snapshot, StoredEntry, Write
from services.ledger.errors import HistoryGap, StoreUnavailable
from tests.simulation.cluster import Cluster
from tests.simulation.loop import Process
from tests.simulation.replicas import Copy, Part, ends_at, merged_part, merged_rows, pages

_LOAD_PAGE = 4096
_PAGE_BYTES = 1 << 20
_SCAN_BYTES = 512 << 10
_KEEP_NEWEST = 0.25


class SimulatedArchive:
    """One process's `archive.Archive` on the cluster.

    Attributes:
        write_back: whether what is read last is made durable before it is shown (rule 1); for mutants.
    """

    write_back = True

    def __init__(self, cluster: Cluster, process: Process) -> None:
        self._cluster, self._process = cluster, process
        self._stored_elsewhere: Callable[[int], bool] = lambda _seq: False
        self._sure: set[int] = set()
        self._newest = 0
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._closed = False
        self._strict = len(cluster.copies) > 1

    async def close(self) -> None:
        """See `Archive.close`."""
        self._closed = True
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._timer is not None:
            self._timer.cancel()

    def trust(self, stored: Callable[[int], bool]) -> None:
        """See `Archive.trust`."""
        self._stored_elsewhere = stored

    async def identity(self) -> str | None:
        """See `Archive.identity`."""
        found = await self._cell(("identity",))
        return found[1] if found else None

    async def put_identity(self, identity: str) -> None:
        """See `Archive.put_identity`."""
        stamp = int(self._cluster.network.loop.time() * 1e6)
        await self._put_cell(("identity",), (stamp, identity))

    async def epoch(self, service: str) -> int | None:
        """See `Archive.epoch`."""
        found = await self._cell(("epoch", service))
        return found[0] if found else None

    async def register_epoch(self, service: str, epoch: int) -> int:
        """See `Archive.register_epoch`."""
        await self._put_cell(("epoch", service), (epoch, epoch))
        registered = await self.epoch(service)
        assert registered is not None
        return registered

    async def newest_seq(self) -> int:
        """See `Archive.newest_seq`."""
        found = await self._cell(("newest",))
        return max(self._newest, found[0] if found else 0)

    async def store(self, write: Write) -> None:
        """See `Archive.store`."""
        if write.rows:
            seq = write.entry.seq
            await self._write(lambda copy: copy.put_rows(write.rows, seq))
        await self._put(write)

    async def _put(self, write: Write) -> None:
        await self._write(lambda copy: copy.part(write.key).put(write), write.key)
        self._sure.add(write.entry.seq)
        self._note(write.entry.seq)

    async def load(self, key: str) -> Loaded:
        """See `Archive.load`."""
        part = await self._read_part(key, lambda found: found.shown(strict=self._strict))
        await self._make_sure(key, part)
        found = part.shown(strict=self._strict)
        head, snapshot = part.known_head(), part.snapshot
        if head is None:
            return Loaded(None, None, ())
        if snapshot is not None and not self._counts(found, snapshot, head):
            snapshot = None
        if snapshot is not None:
            found = _after(found, snapshot.version, head)
        page = found[:_LOAD_PAGE]
        return Loaded(head, snapshot, page, complete=len(page) < _LOAD_PAGE)

    async def head(self, key: str) -> Head | None:
        """See `Archive.head`."""
        part = await self._read_part(key, lambda found: [last] if (last := found.last()) is not None else [])
        await self._make_sure(key, part)
        return part.known_head()

    async def entries(
        self, key: str, *, after: int = 0, before: int | None = None, limit: int
    ) -> Sequence[StoredEntry]:
        """See `Archive.entries`."""

        def page(found: Part) -> list[StoredEntry]:
            shown = found.shown(strict=self._strict)
            if found.head is None:
                return []
            if before is None:
                wanted = _after(shown, after, found.head)
            else:
                highest = min(before, found.head.version + 1)
                wanted = [entry for entry in reversed(shown) if entry.first_version < highest]
            return list(pages(wanted, limit, _PAGE_BYTES))

        part = await self._read_part(key, page)
        answer = page(part)
        if part.head is not None and any(entry.seq == part.head.seq for entry in answer):
            await self._make_sure(key, part)
        return answer

    async def find_request(self, key: str, request_id: bytes) -> StoredEntry | None:
        """See `Archive.find_request`."""
        part = await self._read_part(key, lambda found: found.shown(strict=self._strict), ids=[request_id])
        await self._make_sure(key, part)
        seq, first = part.ids.get(request_id, (0, 0))
        shown = part.shown(strict=self._strict)
        return next((entry for entry in shown if (entry.seq, entry.first_version) == (seq, first)), None)

    async def put_snapshot(self, key: str, snapshot: Snapshot) -> None:
        """See `Archive.put_snapshot`."""
        await self._write(lambda copy: copy.part(key).put_snapshot(snapshot))

    async def row(self, table: str, partition: str, key: str) -> Row | None:
        """See `Archive.row`."""
        found = (await self._rows(table, partition)).get(key)
        return Row(table, partition, key, found[1], found[0]) if found and found[1] is not None else None

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> Sequence[Row]:
        """See `Archive.rows`."""
        found = await self._rows(table, partition)
        keys = sorted((key for key, cell in found.items() if cell[1] is not None), key=str.encode, reverse=descending)
        if after is not None:
            place = after.encode()
            keys = [key for key in keys if (key.encode() < place if descending else key.encode() > place)]
        return [Row(table, partition, key, found[key][1], found[key][0]) for key in keys[:limit]]

    async def put_rows(self, rows: Sequence[Row]) -> None:
        """See `Archive.put_rows`."""
        await self._write(lambda copy: copy.put_rows(rows))

    async def position(self, role: str, source: str, partition: int) -> Position | None:
        """See `Archive.position`."""
        found = await self._cell(("position", role, source, partition))
        return Position(found[0][0], found[0][1]) if found else None

    async def put_position(self, role: str, source: str, partition: int, position: Position) -> None:
        """See `Archive.put_position`."""
        await self._put_cell(("position", role, source, partition), ((position.epoch, position.seq), None))

    async def scan(self, *, after_seq: int, place: str = "", limit: int) -> Scanned:
        """See `Archive.scan`."""
        version, _, after_key = place.partition(":")
        keys: list[str] = await self._read(lambda copy: set(copy.parts), lambda found: sorted(set().union(*found)))
        found: list[tuple[str, StoredEntry]] = []
        size = 0
        for key in keys:
            if key < after_key:
                continue
            part = await self._read_part(key, lambda whole: whole.shown(strict=self._strict))
            await self._make_sure(key, part)
            for entry in part.shown(strict=self._strict):
                if entry.seq <= after_seq or (key == after_key and entry.first_version <= int(version or 0)):
                    continue
                size += len(entry.data)
                if found and (len(found) == limit or size > _SCAN_BYTES):
                    return Scanned(found, f"{found[-1][1].first_version}:{found[-1][0]}")
                found.append((key, entry))
        return Scanned(found, "")

    async def scan_rows(self, table: str, *, place: str = "", limit: int) -> ScannedRows:
        """See `Archive.scan_rows`."""
        places: list[tuple[str, str]] = await self._read(
            lambda copy: set(copy.rows), lambda found: sorted(set().union(*found))
        )
        begun = tuple(json.loads(place)) if place else ("", "")
        found: list[Row] = []
        size = 0
        for name, partition in places:
            if name != table or partition < begun[0]:
                continue
            after = begun[1] if partition == begun[0] else None
            for row in await self.rows(table, partition, after=after, limit=limit + 1):
                size += len(row.value or b"")
                if found and (len(found) == limit or size > _SCAN_BYTES):
                    return ScannedRows(found, json.dumps([found[-1].partition, found[-1].key]))
                found.append(row)
        return ScannedRows(found, "")

    async def scrub(self) -> None:
        """See `Archive.scrub`: there are no files."""

    def _counts(self, found: Sequence[StoredEntry], snapshot: Snapshot, head: Head) -> bool:
        """Rule 7."""
        return snapshot.version <= head.version and snapshot.seq <= head.seq and ends_at(found, snapshot)

    async def _make_sure(self, key: str, part: Part) -> None:
        """Rule 1: what is shown is on a quorum first, with all that its writer wrote with it."""
        head, last = part.known_head(), part.last()
        if head is None or len(self._cluster.copies) == 1 or not self.write_back:
            return
        if last is None:
            raise HistoryGap("the store holds a head without its entry")
        if head.seq in self._sure or self._stored_elsewhere(head.seq):
            return
        await self._put(Write(key, last, head, _ids(last)))

    async def _read_part(
        self, key: str, read: Callable[[Part], Sequence[StoredEntry]], ids: Sequence[bytes] = ()
    ) -> Part:
        """An aggregate as a quorum has it; what `read` takes of it is repaired with the head."""

        def look(copy: Copy) -> Part | None:
            part = copy.parts.get(key)
            return part.copy() if part is not None else None

        def repair(merged: Part) -> Callable[[Copy], None]:
            lines = read(merged)
            head = merged.known_head()

            def change(copy: Copy) -> None:
                part = copy.part(key)
                for entry in lines:
                    part.put_entry(entry.first_version, (entry.seq, entry.data))
                for request_id in ids:
                    if request_id in merged.ids:
                        known = merged.ids[request_id]
                        part.ids[request_id] = max(known, part.ids.get(request_id, known))
                if head is not None:
                    part.put_head(head, head.seq)

            return change

        found: Part = await self._read(look, merged_part, repair, key)
        return found

    async def _rows(self, table: str, partition: str) -> dict[str, tuple[int, bytes | None]]:
        place = (table, partition)
        found: dict[str, tuple[int, bytes | None]] = await self._read(
            lambda copy: dict(copy.rows.get(place, {})),
            merged_rows,
            lambda merged: (
                lambda copy: copy.put_rows(
                    [Row(table, partition, key, cell[1], cell[0]) for key, cell in merged.items()]
                )
            ),
        )
        return found

    async def _cell(self, name: tuple[Any, ...]) -> tuple[Any, Any] | None:
        def repair(found: tuple[Any, Any] | None) -> Callable[[Copy], None]:
            return lambda copy: copy.put(name, found) if found is not None else None

        found: tuple[Any, Any] | None = await self._read(
            lambda copy: copy.cells.get(name), lambda cells: max(filter(None, cells), default=None), repair
        )
        return found

    async def _put_cell(self, name: tuple[Any, ...], cell: tuple[Any, Any]) -> None:
        await self._write(lambda copy: copy.put(name, cell))

    async def _read(self, *question: Any) -> Any:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return await self._cluster.read(self._process, *question)

    async def _write(self, change: Callable[[Copy], None], key: str | None = None) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        task = asyncio.ensure_future(self._cluster.write(self._process, change, key))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await task

    def _note(self, seq: int) -> None:
        """The newest sequence is kept now and then, as the CQL archive does it."""
        self._newest = max(self._newest, seq)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_KEEP_NEWEST, self._keep_newest)

    def _keep_newest(self) -> None:
        self._timer = None
        if self._process.alive and not self._closed:
            task = asyncio.ensure_future(self._try_to_keep())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _try_to_keep(self) -> None:
        try:
            await self._cluster.write(self._process, _newest_is(self._newest))
        except StoreUnavailable:
            return  # kept with the next entry


def _newest_is(seq: int) -> Callable[[Copy], None]:
    return lambda copy: copy.put(("newest",), (seq, None))


def _after(found: Sequence[StoredEntry], after: int, head: Head) -> list[StoredEntry]:
    """From the entry that holds version `after + 1` on."""
    if after >= head.version:
        return []
    start = 0
    for place, entry in enumerate(found):
        if entry.first_version <= after + 1:
            start = place
    return list(found[start:])


def _ids(entry: StoredEntry) -> list[bytes]:
    try:
        return [command.request_id for command in codec.parse(entry.data).commands]
    except HistoryGap:
        return []  # what cannot be read has no ids that could be told
