"""Who uses the servers: clients with their retries, readers, and watchers that go where a server is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from nats.errors import Error as NatsError

from services.ledger.decider import Receipt, Request
from services.ledger.errors import HistoryGap, LedgerError, RequestIdReused
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from tests.integration.ledger_world import decoded
from tests.simulation.plan import Ask, Look
from tests.simulation.servers import WALL_US, Gone, Server
from tests.simulation.truth import Trace, Truth
from tests.tally import Add, tally

_PATIENCE = 8.0
_ALL = 1_000_000
_OUTAGES = (Gone, TimeoutError, LedgerError, NatsError)


class People:
    """All of them.

    Args:
        chance: decides where they go next.
    """

    def __init__(self, servers: Sequence[Server], truth: Truth, trace: Trace, chance: random.Random) -> None:
        self._servers, self._truth, self._trace, self._chance = servers, truth, trace, chance
        self._loop = asyncio.get_running_loop()

    def request(self, ask: Ask) -> Request:
        """What names a request."""
        made = WALL_US + int(ask.made_at * 1e6)
        return Request(derive_request_id(made, str(ask.number)), fingerprint(str(ask.number)))

    async def ask(self, ask: Ask) -> None:
        """Sends a request as often as the plan says, whether an answer came or not."""
        await asyncio.gather(*(self._send_at(ask, at, server) for at, server in ask.sent))

    async def _send_at(self, ask: Ask, at: float, server: int) -> None:
        await self._until(at)
        await self.send(ask, self._servers[server % len(self._servers)])

    async def send(self, ask: Ask, server: Server) -> Receipt | None:
        """Sends a request once; None where no answer came."""
        aggregate, request = tally(f"t{ask.tally}"), self.request(ask)
        who = f"ask {ask.number}"

        async def execute(ledger: Ledger) -> Receipt:
            receipt = await ledger.execute(aggregate, Add(ask.number + 1), request, _PATIENCE)
            if self._alive(server, ledger):
                self._trace.add(
                    self._loop.time(), server.name, f"answers {who}: v{receipt.first_version}",
                    "again" if receipt.replayed else "",
                )  # fmt: skip
                self._truth.answered(aggregate, request.id, receipt, server.name)
            return receipt

        self._trace.add(self._loop.time(), who, f"sent to {server.name}")
        try:
            return await server.call(execute, _PATIENCE + 1.0)
        except RequestIdReused:
            self._truth.breaks(f"{who} was refused as used for another content")
        except HistoryGap as error:
            self._gap(aggregate, error)
        except _OUTAGES as error:
            self._trace.add(self._loop.time(), who, f"no answer of {server.name}: {error!r}")
        except Exception as error:  # noqa: BLE001 - a defect, and a finding
            self._truth.breaks(f"{server.name} answers {who} with {error!r}")
        return None

    async def look(self, look: Look) -> None:
        """Reads, as the plan says."""
        await self._until(look.at)
        server = self._servers[look.server % len(self._servers)]
        if look.history:
            await self.history(tally(f"t{look.tally}"), server)
        else:
            await self.read(tally(f"t{look.tally}"), server)

    async def read(self, aggregate: AggregateId, server: Server) -> bool:
        """Reads the state."""

        async def read(ledger: Ledger) -> None:
            floor = self._truth.floor.get(aggregate, 0)
            view = await ledger.read(aggregate)
            if self._alive(server, ledger):
                self._trace.add(self._loop.time(), server.name, f"shows {aggregate.id} v{view.version}")
                self._truth.viewed(aggregate, view, floor, server.name)

        return await self._reads(server, aggregate, read)

    async def history(self, aggregate: AggregateId, server: Server) -> bool:
        """Reads the whole history."""

        async def read(ledger: Ledger) -> None:
            floor = self._truth.floor.get(aggregate, 0)
            events = await ledger.history(aggregate, limit=_ALL)
            if self._alive(server, ledger):
                self._trace.add(self._loop.time(), server.name, f"lists {aggregate.id} v1-{len(events)}")
                self._truth.listed(aggregate, events, floor, server.name)

        return await self._reads(server, aggregate, read)

    async def _reads(self, server: Server, aggregate: AggregateId, work: Any) -> bool:
        try:
            await server.call(work, _PATIENCE)
        except HistoryGap as error:
            self._gap(aggregate, error)
        except _OUTAGES as error:
            self._trace.add(self._loop.time(), "reader", f"no answer of {server.name}: {error!r}")
        except Exception as error:  # noqa: BLE001 - a defect, and a finding
            self._truth.breaks(f"{server.name} answers a reader with {error!r}")
        else:
            return True
        return False

    async def watch(self, aggregate: AggregateId) -> None:
        """Watches from the first event on, for ever, on whichever server is there."""
        place = 0
        while True:
            server = self._chance.choice(self._servers)

            async def watch(ledger: Ledger, server: Server = server) -> None:
                nonlocal place
                watcher = ledger.watcher()
                try:
                    await watcher.add(aggregate, after=place)
                    while not ledger.over.is_set():
                        for frame in await watcher.ready():
                            if self._alive(server, ledger):
                                place = self._shown(server, aggregate, place, frame)
                finally:
                    watcher.close()

            try:
                await server.call(watch, self._chance.choice((2.0, 20.0)))
            except HistoryGap as error:
                self._gap(aggregate, error)
            except _OUTAGES as error:
                self._trace.add(self._loop.time(), "watcher", f"left {server.name}: {error!r}")
            except Exception as error:  # noqa: BLE001 - a defect, and a finding
                self._truth.breaks(f"{server.name} ends a watcher with {error!r}")
            await asyncio.sleep(0.2)

    def _shown(self, server: Server, aggregate: AggregateId, place: int, frame: Any) -> int:
        if frame.first != place + 1 and frame.last > place:
            self._truth.breaks(f"{server.name}: a watcher at v{place} was shown v{frame.first}-{frame.last}")
        self._trace.add(self._loop.time(), server.name, f"watched {aggregate.id} v{frame.first}-{frame.last}")
        payloads = decoded(frame.data)
        if len(payloads) != frame.last - frame.first + 1:
            self._truth.breaks(f"{server.name}: a frame v{frame.first}-{frame.last} holds {len(payloads)} events")
        self._truth.saw(aggregate, frame.first, payloads, server.name)
        return max(place, int(frame.last))

    def _gap(self, aggregate: AggregateId, error: HistoryGap) -> None:
        if aggregate not in self._truth.forgiven and aggregate not in self._truth.replaying:
            self._truth.breaks(f"{aggregate.id} is refused: {error}")

    def _alive(self, server: Server, ledger: Ledger) -> bool:
        """False: the process that did this is no more, and nobody hears it."""
        return server.process is not None and server.serves(ledger)

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self._loop.time()))
