"""A store that lost its beginning while somebody still wrote: what the log holds fills it."""

from pathlib import Path

import pytest

from services.ledger.archive import Archive, Write
from services.ledger.errors import HistoryGap
from services.ledger.ledger import Ledger
from services.ledger.log import stream_name
from tests.integration.ledger_world import add, fresh_service, reckon
from tests.servers import NatsServer
from tests.tally import open_ledger, tally


async def beheaded(ledger: Ledger, archive: Archive, name: str) -> None:
    """The newest entry alone in another store, as a process stores it that does not know yet that the store is new."""
    found = await ledger.engine.archive.load(tally(name).key)
    assert found.head is not None
    await archive.store(Write(tally(name).key, found.entries[-1], found.head))


@pytest.mark.parametrize("aged_out", [False, True])
async def test_a_hole_below_the_head_is_filled_where_the_log_holds_it(
    nats_server: NatsServer, tmp_path: Path, aged_out: bool
) -> None:
    service, till = fresh_service(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        for amount in range(1, 6):
            await add(ledger, till, amount)
        async with open_ledger(nats_server.url, tmp_path / "b.db", service=f"{service}x") as other:
            archive = other.engine.archive
            await beheaded(ledger, archive, "till")
            await archive.put_identity("another")
            await archive.register_epoch(service, ledger.epoch)
        if aged_out:
            await ledger._nats.jetstream().purge_stream(stream_name(service, ledger.epoch), seq=ledger.epoch + 2)
    async with open_ledger(nats_server.url, tmp_path / "b.db", service=service) as ledger:
        if aged_out:
            with pytest.raises(HistoryGap):
                await ledger.read(till)
            with pytest.raises(HistoryGap):
                await add(ledger, till)
        else:
            assert await reckon(ledger, till) == 15
            assert await add(ledger, till) == 6
