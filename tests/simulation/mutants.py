"""Rules 1 to 8 of the protocol broken, one at a time: the simulation must notice every one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from services.ledger import entries as codec
from services.ledger.aggregate import Aggregate
from services.ledger.archive import Head, Snapshot, StoredEntry, Write
from services.ledger.engine import Engine
from services.ledger.ids import fingerprint
from services.ledger.jetstream import JetStreamLog
from services.ledger.ledger import Ledger
from services.ledger.loading import Loader
from services.ledger.log import aggregate_of
from services.ledger.repair import Repair
from services.ledger.requests import Answered, RequestMemory
from tests.simulation import stories
from tests.simulation.breaking import Mutants
from tests.simulation.cluster import Cluster
from tests.simulation.mutants_around import AROUND
from tests.simulation.replicas import Copy, Part
from tests.simulation.store import SimulatedArchive

_FOR_EVER = 1e9


MUTANTS = Mutants()
"""All of them."""


@MUTANTS.add(
    "store_before_log", "1", "a load reads the store first, and the log's answer after it", stories.old_zero, 1
)
def _store_before_log() -> AbstractContextManager[object]:
    attempted = Loader._attempt

    async def attempt(self: Any, aggregate: Any, known: Any, _read_at: float, *, sure: bool) -> Any:
        found, head_seq = await self._base(aggregate, known)
        log = self._engine.log
        read_at = self._engine.clock.monotonic()
        last = await log.last(log.subject(aggregate), sure=sure)

        async def as_before(_aggregate: Any, _known: Any) -> Any:
            return found, min(head_seq, last.seq if last is not None else 0)

        changed = copy(self)
        changed._base = as_before
        return await attempted(changed, aggregate, known, read_at, sure=sure)

    return patch.object(Loader, "_attempt", attempt)


@MUTANTS.add("no_write_back", "1", "what a load shows is not made durable first", stories.minority, 33)
@contextmanager
def _no_write_back() -> Iterator[None]:
    read = Cluster.read

    async def without_repair(
        self: Any, process: Any, look: Any, answer: Any, _repair: Any = None, key: Any = None
    ) -> Any:
        return await read(self, process, look, answer, None, key)

    with patch.object(SimulatedArchive, "write_back", False), patch.object(Cluster, "read", without_repair):
        yield


@MUTANTS.add("void_entries_count", "1", "an entry counts whatever its base_seq is", stories.old_zero, 9)
def _void_entries_count() -> AbstractContextManager[object]:
    followed = Loader._follow

    async def follow(self: Any, aggregate: Any, found: Any, tail: Any, until: int) -> None:
        believed, base = [], found.last_seq
        for message in tail:
            entry = codec.parse(message.data)
            entry.base_seq = base
            believed.append(replace(message, data=entry.SerializeToString()))
            base = message.seq
        await followed(self, aggregate, found, believed, until)

    return patch.object(Loader, "_follow", follow)


@MUTANTS.add(
    "shown_before_opened",
    "2",
    "what an earlier life left is served before this life holds an entry that continues it",
    stories.late_row,
)
def _shown_before_opened() -> AbstractContextManager[object]:
    async def nothing(_self: Any, _aggregate: Any, _subject: str, _found: Any) -> None:
        return

    return patch.object(Loader, "_open_in_new_life", nothing)


@MUTANTS.add(
    "late_entry_beside_first",
    "2",
    "what an earlier life's writer stored late stands, though this life's first entry does not continue it",
    stories.between,
    16,
)
def _late_entry_beside_first() -> AbstractContextManager[object]:
    async def nothing(*_args: Any) -> None:
        return

    return patch.object(Loader, "_cut_back", nothing)


@MUTANTS.add(
    "late_entry_listed",
    "2",
    "what an earlier life's writer stores where nothing was is listed at once",
    stories.between,
)
def _late_entry_listed() -> AbstractContextManager[object]:
    async def stands(self: Ledger, aggregate: Any) -> bool:
        await self.refresh(aggregate)
        return True

    return patch.object(Ledger, "_stands", stands)


@MUTANTS.add("no_fence", "3", "appends carry no fence", stories.minority)
def _no_fence() -> AbstractContextManager[object]:
    async def append(self: Any, subject: str, data: bytes, _fence: int) -> int:
        return int(await self._publisher.publish(subject, data, {}))

    return patch.object(JetStreamLog, "append", append)


@MUTANTS.add(
    "fence_without_void", "3", "the fence is the last valid entry's sequence, void ones left out", stories.old_zero, 9
)
def _fence_without_void() -> AbstractContextManager[object]:
    load = Loader.load

    async def loaded(self: Any, *args: Any, **words: Any) -> Any:
        found = await load(self, *args, **words)
        if found.fence:
            found.fence = found.last_seq
        return found

    return patch.object(Loader, "load", loaded)


@MUTANTS.add(
    "fence_zero_for_ever", "3", "an append at fence 0 counts however long ago the log was read", stories.old_zero, 25
)
def _fence_zero_for_ever() -> AbstractContextManager[object]:
    return _limits(fence_zero_within=_FOR_EVER)


@MUTANTS.add("head_beside_rows", "4", "head and entry reach the store's copies each for itself", stories.minority, 11)
def _head_beside_rows() -> AbstractContextManager[object]:
    async def put(self: Any, write: Write) -> None:
        def head(copy: Copy) -> None:
            copy.part(write.key).put_head(write.head, write.head.seq)

        def rows(copy: Copy) -> None:
            part = copy.part(write.key)
            part.put_entry(write.entry.first_version, (write.entry.seq, write.entry.data))
            part.ids.update(dict.fromkeys(write.request_ids, (write.entry.seq, write.entry.first_version)))

        await asyncio.gather(self._write(head, write.key), self._write(rows, write.key))
        self._sure.add(write.entry.seq)
        self._note(write.entry.seq)

    return patch.object(SimulatedArchive, "_put", put)


@MUTANTS.add(
    "answer_before_stored", "4, 5", "the answer, and the next entry, do not wait for the store", stories.minority
)
def _answer_before_stored() -> AbstractContextManager[object]:
    store = SimulatedArchive.store

    async def at_once(self: Any, write: Write) -> None:
        async def aside() -> None:
            try:
                await store(self, write)
            except Exception:  # noqa: BLE001 - nobody asks
                return

        self._aside = getattr(self, "_aside", [])
        self._aside.append(asyncio.ensure_future(aside()))

    return patch.object(SimulatedArchive, "store", at_once)


@MUTANTS.add(
    "version_as_timestamp", "4", "in the store the higher version wins, not the higher log sequence", stories.sleeper
)
@contextmanager
def _version_as_timestamp() -> Iterator[None]:
    def put_head(self: Part, head: Head, _stamp: int) -> None:
        self.newest_ms = max(self.newest_ms, head.newest_request_ms)
        if self.head is None or head.version >= self.head.version:
            self.head = head

    def put_entry(self: Part, first: int, cell: tuple[int, bytes]) -> None:
        known = self.entries.get(first)
        if known is None or cell[1] >= known[1]:
            self.entries[first] = cell

    with patch.object(Part, "put_head", put_head), patch.object(Part, "put_entry", put_entry):
        yield


@MUTANTS.add("no_comparison_with_d", "5", "an answer of the store counts however late it comes", stories.sleeper, 13)
def _no_comparison_with_d() -> AbstractContextManager[object]:
    return _limits(acknowledge_within=_FOR_EVER)


@MUTANTS.add(
    "life_not_confirmed",
    "5",
    "a late answer of the store counts without asking whether this life is over",
    stories.sleeper,
    13,
)
def _life_not_confirmed() -> AbstractContextManager[object]:
    async def confirmed(_self: Engine) -> None:
        return

    return patch.object(Engine, "confirm_life", confirmed)


@MUTANTS.add("forgotten_is_new", "6", "a request id that was evicted from memory is taken for new", stories.minority)
def _forgotten_is_new() -> AbstractContextManager[object]:
    def surely_new(self: Any, request_id: bytes, _made_ms: int) -> bool:
        return self.find(request_id) is None

    return patch.object(RequestMemory, "surely_new", surely_new)


@MUTANTS.add(
    "hint_believed",
    "6",
    "an id found in the store is believed, whatever the row at its version carries",
    stories.late_row,
)
@contextmanager
def _hint_believed() -> Iterator[None]:
    async def find_request(self: Any, key: str, request_id: bytes) -> StoredEntry | None:
        part = await self._read_part(key, lambda found: found.shown(strict=False), ids=[request_id])
        _, first = part.ids.get(request_id, (0, 0))
        cell = part.entries.get(first)
        return StoredEntry(first, *cell) if cell is not None else None

    async def look_up(self: Any, request_id: bytes) -> Answered | None:
        stored = await self._engine.archive.find_request(self.id.key, request_id)
        if stored is None:
            return None
        found = codec.find(codec.parse(stored.data), request_id)
        return found or Answered(stored.first_version, 1, fingerprint())

    with patch.object(SimulatedArchive, "find_request", find_request), patch.object(Aggregate, "_look_up", look_up):
        yield


@MUTANTS.add(
    "snapshot_unchecked", "7", "a snapshot of what is not stored yet counts by its version alone", stories.dead_draft, 1
)
@contextmanager
def _snapshot_unchecked() -> Iterator[None]:
    write = Aggregate._write

    def counts(_self: Any, _found: Any, snapshot: Any, head: Head) -> bool:
        return bool(snapshot.version <= head.version)

    def put_snapshot(self: Part, snapshot: Snapshot) -> None:
        if self.snapshot is None or snapshot.version > self.snapshot.version:
            self.snapshot = snapshot

    async def too_early(self: Any, draft: Any) -> None:
        snapshot = self._loader.replay.snapshot(draft.version, 0, draft.state)
        await self._engine.archive.put_snapshot(self.id.key, snapshot)
        await write(self, draft)

    with ExitStack() as stack:
        stack.enter_context(patch.object(SimulatedArchive, "_counts", counts))
        stack.enter_context(patch.object(Part, "put_snapshot", put_snapshot))
        stack.enter_context(patch.object(Aggregate, "_write", too_early))
        yield


@MUTANTS.add("blind_repair", "8", "repair upserts what the log says, without loading", stories.old_zero, 9)
def _blind_repair() -> AbstractContextManager[object]:
    async def read(self: Any, start: int, until: int) -> int:
        for message in await self._entries.page(start, until):
            entry = codec.parse(message.data)
            if not entry.events:
                continue
            ids = [command.request_id for command in entry.commands]
            head = Head(codec.last_version(entry), message.seq, 0, 0)
            stored = StoredEntry(entry.first_version, message.seq, message.data)
            await self._archive.store(Write(aggregate_of(message.subject).key, stored, head, ids))
        return until

    return patch.object(Repair, "_read", read)


def _limits(**changed: float) -> AbstractContextManager[object]:
    made = Ledger.__init__

    def make(self: Any, *args: Any, **words: Any) -> None:
        made(self, *args, **words)
        self.engine.limits = replace(self.engine.limits, **changed)

    return patch.object(Ledger, "__init__", make)


MUTANTS.update(AROUND)
