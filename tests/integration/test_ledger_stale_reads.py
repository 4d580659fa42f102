"""A consumer may hear of an entry before the process that writes it has taken it over: what it then reads must not be older."""

import asyncio
from pathlib import Path

from services.ledger.decider import Delivered
from tests.integration.ledger_world import add, fresh_service
from tests.servers import NatsServer
from tests.tally import open_ledger, tally


async def test_what_a_handler_reads_is_never_older_than_what_it_was_handed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The writer is held between store and answer, so that the entry is settled by asking the store."""
    till, go_on = tally("till"), asyncio.Event()
    read: asyncio.Queue[int] = asyncio.Queue()

    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:

        async def handle(delivered: Delivered) -> None:
            last = delivered.events[-1].version
            loop.call_later(0.2, go_on.set)
            view = await ledger.read(delivered.aggregate, fresh=False, at_least=last)
            read.put_nowait(view.version)

        async def hold(point: str) -> None:
            if point == "stored":
                await go_on.wait()

        loop = asyncio.get_running_loop()
        ledger.consume("reader", handle)
        await ledger.read(till)
        ledger.engine.pause = hold
        adding = asyncio.create_task(add(ledger, till))
        assert await asyncio.wait_for(read.get(), 60) == 1
        assert await adding == 1
