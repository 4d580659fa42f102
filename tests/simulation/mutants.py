"""The protocol with one of its rules broken, each on purpose: the simulation must notice every one of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from services.ledger import entries as codec
from services.ledger import log
from services.ledger.aggregate import Aggregate
from services.ledger.archive import Head, StoredEntry, Write
from services.ledger.desk import LocalDesk
from services.ledger.engine import Engine
from services.ledger.guard import Guard
from services.ledger.jetstream import JetStreamLog
from services.ledger.ledger import Ledger
from services.ledger.loading import Loader
from services.ledger.log import aggregate_of
from services.ledger.repair import Repair
from services.ledger.requests import RequestMemory
from services.ledger.stored import StoredEntries
from tests.simulation import recovery
from tests.simulation.cluster import Cluster
from tests.simulation.replicas import Copy, Part
from tests.simulation.store import SimulatedArchive
from tests.simulation.world import World

_FOR_EVER = 1e9


@dataclass(frozen=True)
class Mutant:
    """One rule broken.

    Attributes:
        rule: its number in the protocol.
        broken: what is done instead.
        applied: breaks it for as long as it is entered.
        caught: a seed that shows it.
    """

    name: str
    rule: str
    broken: str
    applied: Callable[[], AbstractContextManager[object]]
    caught: int = 0


MUTANTS: dict[str, Mutant] = {}


def _mutant(name: str, rule: str, broken: str, *, caught: int = 0) -> Callable[[Any], Any]:
    def add(applied: Callable[[], AbstractContextManager[object]]) -> Callable[[], AbstractContextManager[object]]:
        MUTANTS[name] = Mutant(name, rule, broken, applied, caught)
        return applied

    return add


@_mutant("store_before_log", "1", "a load reads the store first, and the log's answer after it")
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


@_mutant("no_write_back", "1", "what a load shows is not made durable first")
@contextmanager
def _no_write_back() -> Iterator[None]:
    read = Cluster.read

    async def without_repair(
        self: Any, process: Any, look: Any, answer: Any, _repair: Any = None, key: Any = None
    ) -> Any:
        return await read(self, process, look, answer, None, key)

    with patch.object(SimulatedArchive, "write_back", False), patch.object(Cluster, "read", without_repair):
        yield


@_mutant("void_entries_count", "1", "an entry counts whatever its base_seq is")
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


@_mutant(
    "shown_before_opened", "2", "what an earlier life left is served before this life holds an entry that continues it"
)
def _shown_before_opened() -> AbstractContextManager[object]:
    async def nothing(_self: Any, _aggregate: Any, _subject: str, _found: Any) -> None:
        return

    return patch.object(Loader, "_open_in_new_life", nothing)


@_mutant("no_fence", "3", "appends carry no fence")
def _no_fence() -> AbstractContextManager[object]:
    async def append(self: Any, subject: str, data: bytes, _fence: int) -> int:
        return int(await self._publisher.publish(subject, data, {}))

    return patch.object(JetStreamLog, "append", append)


@_mutant("fence_without_void", "3", "the fence is the last valid entry's sequence, void ones left out")
def _fence_without_void() -> AbstractContextManager[object]:
    load = Loader.load

    async def loaded(self: Any, *args: Any, **words: Any) -> Any:
        found = await load(self, *args, **words)
        if found.fence:
            found.fence = found.last_seq
        return found

    return patch.object(Loader, "load", loaded)


@_mutant("fence_zero_for_ever", "3", "an append at fence 0 counts however long ago the log was read")
def _fence_zero_for_ever() -> AbstractContextManager[object]:
    return _limits(fence_zero_within=_FOR_EVER)


@_mutant("head_beside_rows", "4", "head and entry reach the store's copies each for itself")
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


@_mutant("answer_before_stored", "4, 5", "the answer, and the next entry, do not wait for the store")
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


@_mutant("version_as_timestamp", "4", "in the store the higher version wins, not the higher log sequence")
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


@_mutant("no_comparison_with_d", "5", "an answer of the store counts however late it comes")
def _no_comparison_with_d() -> AbstractContextManager[object]:
    return _limits(acknowledge_within=_FOR_EVER)


@_mutant("life_not_confirmed", "5", "a late answer of the store counts without asking whether this life is over")
def _life_not_confirmed() -> AbstractContextManager[object]:
    async def confirmed(_self: Engine) -> None:
        return

    return patch.object(Engine, "confirm_life", confirmed)


@_mutant("forgotten_is_new", "6", "a request id that was evicted from memory is taken for new")
def _forgotten_is_new() -> AbstractContextManager[object]:
    def surely_new(self: Any, request_id: bytes, _made_ms: int) -> bool:
        return self.find(request_id) is None

    return patch.object(RequestMemory, "surely_new", surely_new)


@_mutant("hint_believed", "6", "an id found in the store is believed, whether its entry counts or not")
def _hint_believed() -> AbstractContextManager[object]:
    async def find(self: Any, key: str, request_id: bytes) -> StoredEntry | None:
        part = await self._read_part(key, lambda found: found.shown(strict=False), ids=[request_id])
        _, first = part.ids.get(request_id, (0, 0))
        cell = part.entries.get(first)
        return StoredEntry(first, *cell) if cell is not None else None

    return patch.object(SimulatedArchive, "find_request", find)


@_mutant("snapshot_unchecked", "7", "a snapshot of what is not stored yet counts by its version alone")
@contextmanager
def _snapshot_unchecked() -> Iterator[None]:
    write = Aggregate._write

    def counts(_self: Any, _found: Any, snapshot: Any, head: Head) -> bool:
        return bool(snapshot.version <= head.version)

    async def too_early(self: Any, draft: Any) -> None:
        snapshot = self._loader.replay.snapshot(draft.version, self.standing.last_seq + 1, draft.state)
        await self._engine.archive.put_snapshot(self.id.key, snapshot)
        await write(self, draft)

    with patch.object(SimulatedArchive, "_counts", counts), patch.object(Aggregate, "_write", too_early):
        yield


@_mutant("blind_repair", "8", "repair upserts what the log says, without loading")
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


@_mutant("consumed_before_stored", "9", "consumers hand on what nobody announced as stored")
def _consumed_before_stored() -> AbstractContextManager[object]:
    async def wait(_self: Any, _seq: int, _timeout: float) -> bool:
        return True

    return patch.object(StoredEntries, "wait", wait)


@_mutant("no_repair", "9", "nobody loads what was appended and not announced")
def _no_repair() -> AbstractContextManager[object]:
    async def settle(self: Any, _until: int) -> None:
        self._floor = max(self._floor, _until)

    async def wait(_self: Any, _seq: int, _timeout: float) -> bool:
        return False

    async def settled(_self: Any, _aggregate: Any, _first: int, _seq: int) -> bool:
        return False

    stack = ExitStack()
    stack.enter_context(patch.object(Repair, "_settle", settle))
    stack.enter_context(patch.object(StoredEntries, "wait", wait))
    stack.enter_context(patch.object(LocalDesk, "settle", settled))
    return stack


@_mutant("ages_out_unstored", "10", "entries leave the log before they are stored")
def _ages_out_unstored() -> AbstractContextManager[object]:
    return patch.object(World, "_may_leave", lambda _self, _message: True)


@_mutant("no_wait_for_new_life", "11", "the operator begins the new life at once")
def _no_wait_for_new_life() -> AbstractContextManager[object]:
    return patch.object(recovery, "WAIT", 0.0)


@_mutant("process_outlives_its_life", "11", "a process goes on when another life was registered")
def _process_outlives_its_life() -> AbstractContextManager[object]:
    async def look(self: Guard) -> None:
        await self._compare()

    return patch.object(Guard, "look", look)


@_mutant("empty_store_accepted", "12", "a process serves on a store that knows nothing of the log's life")
def _empty_store_accepted() -> AbstractContextManager[object]:
    async def begin(lives_: Any, archive: Any, settings: Any, clock: Any) -> int:
        epoch = await lives_.newest() or await lives_.claim(clock.wall_us())
        await archive.put_identity(f"{epoch:x}")
        await archive.register_epoch(settings.service, epoch)
        await lives_.begin(epoch)
        return int(epoch)

    return patch("services.ledger.epoch._begin_first", begin)


@_mutant("other_store_trusted", "12", "a restored store is taken for the one that was lost")
def _other_store_trusted() -> AbstractContextManager[object]:
    async def look(self: Guard) -> None:
        registered = await self._archive.epoch(self._life.service)
        if registered is not None and registered != self._life.epoch:
            self._end("another life of the log")

    return patch.object(Guard, "look", look)


@_mutant("names_without_epoch", "words", "streams and subjects are the same in every life of the log")
@contextmanager
def _names_without_epoch() -> Iterator[None]:
    name, wanted, of = log.stream_name, log.subject_filter, log.subject_of
    same = {
        "stream_name": lambda service, _epoch: name(service, 1),
        "subject_filter": lambda service, _epoch, *rest: wanted(service, 1, *rest),
        "subject_of": lambda service, _epoch, *rest: of(service, 1, *rest),
    }
    with ExitStack() as stack:
        for module in [module for name, module in sys.modules.items() if name.startswith("services.ledger.")]:
            for known, other in same.items():
                if hasattr(module, known):
                    stack.enter_context(patch.object(module, known, other))
        yield


def _limits(**changed: float) -> AbstractContextManager[object]:
    made = Ledger.__init__

    def make(self: Any, *args: Any, **words: Any) -> None:
        made(self, *args, **words)
        self.engine.limits = replace(self.engine.limits, **changed)

    return patch.object(Ledger, "__init__", make)
