"""Rules 9 to 12 of the protocol broken, one at a time: the simulation must notice every one."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from services.ledger import log
from services.ledger.desk import LocalDesk
from services.ledger.earlier import Earlier
from services.ledger.guard import Guard
from services.ledger.repair import Repair
from services.ledger.stored import StoredEntries
from tests.simulation import recovery, stories
from tests.simulation.breaking import Mutants
from tests.simulation.world import World

AROUND = Mutants()


@AROUND.add("consumed_before_stored", "9", "consumers hand on what nobody announced as stored", stories.lost_store, 1)
def _consumed_before_stored() -> AbstractContextManager[object]:
    async def wait(_self: Any, _seq: int, _timeout: float) -> bool:
        return True

    return patch.object(StoredEntries, "wait", wait)


@AROUND.add(
    "opened_unread", "9", "consumers pass over what the entry that opened an aggregate continues", stories.late_hand, 3
)
def _opened_unread() -> AbstractContextManager[object]:
    async def left(_self: Any, _aggregate: Any, _base_seq: int) -> AsyncIterator[Any]:
        nothing: tuple[Any, ...] = ()
        for one in nothing:
            yield one

    return patch.object(Earlier, "left", left)


@AROUND.add(
    "last_loss_only",
    "11",
    "consumers remember how far they were when this life began, and of no life before it",
    stories.lost_again,
    57,
)
@contextmanager
def _last_loss_only() -> Iterator[None]:
    begun = Earlier.begin

    async def begin(self: Any, after: int | None) -> None:
        await begun(self, after)
        self._stretches = [stretch for stretch in self._stretches if stretch.ends == self._epoch]

    with patch.object(Earlier, "begin", begin):
        yield


@AROUND.add("no_repair", "9", "nobody loads what was appended and not announced", stories.lost_store, 1)
@contextmanager
def _no_repair() -> Iterator[None]:
    async def settle(self: Any, _until: int) -> None:
        self._floor = max(self._floor, _until)

    async def wait(_self: Any, _seq: int, _timeout: float) -> bool:
        return False

    async def settled(_self: Any, _aggregate: Any, _first: int, _seq: int) -> bool:
        return False

    with ExitStack() as stack:
        stack.enter_context(patch.object(Repair, "_settle", settle))
        stack.enter_context(patch.object(StoredEntries, "wait", wait))
        stack.enter_context(patch.object(LocalDesk, "settle", settled))
        yield


@AROUND.add("ages_out_unstored", "10", "entries leave the log before they are stored", stories.forgotten)
def _ages_out_unstored() -> AbstractContextManager[object]:
    return patch.object(World, "_may_leave", lambda _self, _message: True)


@AROUND.add("no_wait_for_new_life", "11", "the operator begins the new life at once", stories.quick_operator, 58)
def _no_wait_for_new_life() -> AbstractContextManager[object]:
    return patch.object(recovery, "WAIT", 0.0)


@AROUND.add("process_outlives_its_life", "11", "a process goes on when another life was registered", stories.sleeper)
def _process_outlives_its_life() -> AbstractContextManager[object]:
    async def look(self: Guard) -> None:
        await self._compare()

    return patch.object(Guard, "look", look)


@AROUND.add(
    "empty_store_accepted",
    "12",
    "a process serves on a store that knows nothing of the log's life",
    stories.lost_store,
    2,
)
def _empty_store_accepted() -> AbstractContextManager[object]:
    async def begin(lives_: Any, archive: Any, settings: Any, clock: Any) -> int:
        epoch = await lives_.newest() or await lives_.claim(clock.wall_us())
        await archive.put_identity(f"{epoch:x}")
        await archive.register_epoch(settings.service, epoch)
        await lives_.begin(epoch)
        return int(epoch)

    return patch("services.ledger.epoch._begin_first", begin)


@AROUND.add("other_store_trusted", "12", "a restored store is taken for the one that was lost", stories.lost_store)
def _other_store_trusted() -> AbstractContextManager[object]:
    async def look(self: Guard) -> None:
        registered = await self._archive.epoch(self._life.service)
        if registered is not None and registered != self._life.epoch:
            self._end("another life of the log")

    return patch.object(Guard, "look", look)


@AROUND.add(
    "names_without_epoch", "words", "streams and subjects are the same in every life of the log", stories.late_name
)
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
