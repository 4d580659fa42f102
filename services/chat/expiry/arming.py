"""Sets a conversation's timer soon after a message was written that ends before all others.

A process that dies between the two leaves a timer unset. So a process that starts looks once for all conversations that wait. Until then
nobody sees what has ended all the same: only its telling is late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog

from services.chat import domain
from services.chat.commands import KIND
from services.ledger.errors import LedgerError
from services.ledger.ids import AggregateId
from services.ledger.lasting import patiently
from services.ledger.ledger import Ledger
from services.ledger.timers import SLOTS, TABLE

_MOST_WANTED: Final = 100_000
_MOST_SET: Final = 100_000
_PAGE: Final = 200
_PAUSE: Final = 0.001
_log = structlog.get_logger(__name__)


class Arming:
    """Conversations whose timers are to be set, each once, in the order of being heard of."""

    def __init__(self, ledger: Ledger) -> None:
        """Set timers in ``ledger``."""
        self._ledger = ledger
        self._wanted: dict[AggregateId, None] = {}
        self._set: dict[AggregateId, int] = {}
        self._flag = asyncio.Event()
        self._taken = asyncio.Event()
        ledger.engine.hearers.on_written(self.wrote)

    def wrote(self, aggregate: AggregateId, events: Sequence[tuple[int, Any]]) -> None:
        """Hear of an entry that this process wrote."""
        if aggregate.kind != KIND:
            return
        first_us, at_us = 0, 0
        for _, event in events:
            if type(event) is domain.MessageSent and event.about is not None and event.about.expires_us:
                at_us, ends_us = event.at_us, event.about.expires_us
                first_us = min(first_us or ends_us, ends_us)
        # A timer that stands for an earlier message does for all that end later: who takes it sets the next.
        if first_us and not at_us < self._set.get(aggregate, 0) <= first_us:
            self._want(aggregate)

    def _want(self, aggregate: AggregateId) -> None:
        # Over the limit it is left to the next message that ends, or to the next process that starts, which waits for room.
        if len(self._wanted) < _MOST_WANTED:
            self._wanted[aggregate] = None
            self._flag.set()

    async def run(self) -> None:
        """Set timers for ever."""
        wait = 0.1
        while True:
            while self._wanted:
                aggregate = next(iter(self._wanted))
                del self._wanted[aggregate]
                self._taken.set()
                try:
                    await self._arm(aggregate)
                    wait = 0.1
                except LedgerError as error:
                    _log.warning("arming_waits", reason=error.reason)
                    if error.retry_after is not None:
                        self._want(aggregate)
                    await asyncio.sleep(wait)
                    wait = min(2.0, wait * 2)
            self._flag.clear()
            await self._flag.wait()

    async def _room(self) -> None:
        """Wait until there is room: those that wait are found here alone."""
        while len(self._wanted) >= _MOST_WANTED:
            self._taken.clear()
            await self._taken.wait()

    async def _arm(self, aggregate: AggregateId) -> None:
        view = await self._ledger.read(aggregate, fresh=False)
        await self._ledger.arm(aggregate)
        if len(self._set) >= _MOST_SET:
            self._set.clear()
        # What was written since may end sooner, and is then wanted again.
        self._set[aggregate] = view.state.expiring.next_us

    async def catch_up(self) -> None:
        """Have the timers set of all conversations that wait, one after the other and in no haste."""
        for slot in range(SLOTS):
            after: str | None = None
            while True:
                page = await patiently(
                    "arming_waits", partial(self._ledger.rows, TABLE, str(slot), after=after, limit=_PAGE)
                )
                for row in page:
                    aggregate = AggregateId.from_key(row.key)
                    if aggregate.kind == KIND:
                        await self._room()
                        self._want(aggregate)
                if len(page) < _PAGE:
                    break
                after = page[-1].key
            await asyncio.sleep(_PAUSE)
