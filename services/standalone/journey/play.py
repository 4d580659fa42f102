"""Plays the journey, step by step on the screen, and goes on where an earlier run was killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from tradewind.cli.traces import drawing
from tradewind.sdk import TradewindError, new_request_id

from services.runtime.spans import Span
from services.runtime.telemetry import Telemetry
from services.standalone.home import Home
from services.standalone.journey import memory, trail
from services.standalone.journey.buying import confirm, place
from services.standalone.journey.delivering import deliver, open_receipt
from services.standalone.journey.expect import Unmet
from services.standalone.journey.failing import go_wrong
from services.standalone.journey.letters import Inbox
from services.standalone.journey.memory import Memory
from services.standalone.journey.numbers import StatsWatch
from services.standalone.journey.people import Credentials
from services.standalone.journey.stage import CUSTOMER, SHOP, Scene, Stage
from services.standalone.journey.talking import converse
from services.standalone.journey.tracing import current
from services.standalone.keys import Keys
from services.standalone.screen import Screen

_SCENES = (
    Scene("1. A shop puts three items in stock, a customer orders two", place),
    Scene("2. Stock reserved, payment authorised, order confirmed", confirm),
    Scene("3. Customer, shop and courier in the order's conversation", converse),
    Scene("4. Dispatched, delivered, captured; confirmation and receipt by mail", deliver),
    Scene("5. The customer opens the receipt", open_receipt),
    Scene("6. A declined card, an empty shelf, a change of mind, a repeated request", go_wrong),
)
_LAST = "7. One trace through all of it"


class Journey:
    """One order's way through Chat, Order and Mail, seen through the public API alone."""

    def __init__(self, home: Home, telemetry: Telemetry, screen: Screen, disturbed: Callable[[], bool]) -> None:
        """Play in the standalone of ``home``; ``disturbed`` says whether a process died meanwhile."""
        self._home = home
        self._telemetry = telemetry
        self._screen = screen
        self._disturbed = disturbed
        self._resumed = False
        self.order_id = ""
        """The order that travelled; empty before."""
        self.trace_id = ""
        """Its trace, as hexadecimal text; empty before."""

    async def play(self) -> bool:
        """Play all steps; returns whether each was seen to hold. Raises OSError, ValueError."""
        recalled = await asyncio.to_thread(memory.recall, self._home.journey)
        self._resumed = recalled is not None
        if recalled is not None:
            self._screen.say("An earlier journey is not complete; going on with it.", style="dim")
        span = self._telemetry.root("journey", parent=recalled.traceparent if recalled else None)
        try:
            with current(span):
                await self._steps(recalled or await self._begin(span))
            await self._show_trail()
        except (Unmet, TradewindError) as error:
            self._screen.say(f"This step did not hold: {error}", style="bold red")
            held = False
        else:
            held = True
        # Seen to its end, whichever: only one that was cut off by a crash is gone on with.
        await asyncio.to_thread(memory.forget, self._home.journey)
        return held

    async def _begin(self, span: Span) -> Memory:
        return await asyncio.to_thread(memory.begin, self._home.journey, new_request_id(), span.traceparent)

    async def _steps(self, remembered: Memory) -> None:
        self.trace_id = (remembered.traceparent or "")[3:35]
        async with AsyncExitStack() as stack:
            stage = await self._set(stack, remembered)
            for scene in _SCENES:
                with self._screen.step(scene.title) as step, current(self._telemetry.span(f"step {scene.title[0]}")):
                    await scene.play(stage, step)
                self.order_id = stage.first.order_id

    async def _set(self, stack: AsyncExitStack, remembered: Memory) -> Stage:
        credentials = await asyncio.to_thread(Credentials.read, self._home.credentials)
        customer = await stack.enter_async_context(credentials.client(CUSTOMER))
        shop = await stack.enter_async_context(credentials.client(SHOP))
        domain = f"{remembered.short}.example"
        return Stage(
            memory=remembered,
            credentials=credentials,
            customer=customer,
            shop=shop,
            domain=domain,
            inbox=Inbox(self._home.inbox, domain),
            stats=await stack.enter_async_context(StatsWatch(shop, domain)),
            dkim_public=Keys(self._home.keys).dkim_public,
        )

    def _interrupted(self) -> bool:
        return self._resumed or self._disturbed()

    async def _show_trail(self) -> None:
        with self._screen.step(_LAST) as step:
            # What a killed process took along will not come, however long one waits.
            patience = 2.0 if self._interrupted() else 10.0
            found = await trail.gather(self._home.traces, self.trace_id, patience)
            missing = trail.missing(found)
            if missing and not self._interrupted():
                raise Unmet("the trace", f"all of {', '.join(trail.PARTS)}", f"no {', no '.join(missing)}")
            step.saw(trail.summary(found))
            if missing:
                step.saw(f"no {', no '.join(missing)}: a process that is killed takes its latest spans along")
        self._screen.say(drawing(self.trace_id, found))
