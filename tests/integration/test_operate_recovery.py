"""A lost log is replaced by an operator's command (rule 11), whoever still runs, and whoever dies on the way."""

import asyncio
import shutil
from pathlib import Path

import pytest

from services.ledger.backup import back_up
from services.ledger.ending import end
from services.ledger.errors import LogLost
from services.ledger.recovery import LogState, NotNow, Superseded, look, recover_log
from services.ledger.restoring import restore
from services.ledger.verifying import Report, verify
from tests.integration.ledger_world import add, fresh_service, reckon
from tests.integration.operate_world import SERVICE, all_is_there, crowd, operators
from tests.servers import NatsServer
from tests.tally import TALLY, eventually, open_ledger, tally


def quiet(_line: str) -> None:
    """Says nothing."""


@pytest.mark.parametrize("how", ["gone", "shorter"])
async def test_a_log_lost_under_load_loses_nothing(own_nats_server: NatsServer, tmp_path: Path, how: str) -> None:
    server = own_nats_server
    async with crowd(server.url, tmp_path, 3) as world:
        await world.until("acknowledged", 100)
        if how == "shorter":
            server.stop()
            shutil.copytree(server.store, tmp_path / "copy")
            await asyncio.to_thread(server.start)
            await world.until("acknowledged", 200)
        server.kill()
        server.wipe()
        if how == "shorter":
            shutil.copytree(tmp_path / "copy", server.store)
        await asyncio.to_thread(server.start)
        async with operators(server.url, tmp_path / "tallies.db") as (lives, archive, settings):
            found = await look(lives, archive, SERVICE)
            assert found.state is (LogState.GONE if how == "gone" else LogState.SHORTER)
            epoch = await recover_log(lives, archive, settings, quiet)
            assert found.registered is not None
            assert epoch > found.registered
            assert (await look(lives, archive, SERVICE)).state is LogState.WHOLE
        await world.until("acknowledged", 100)
        await world.until("woken", 3)
        assert world.again >= 1  # those that were still starting begin in the new life at once
    async with open_ledger(server.url, tmp_path / "tallies.db", service=SERVICE) as ledger:
        assert ledger.epoch == epoch
        assert await all_is_there(world, ledger) >= 200  # what was waited for


async def test_a_store_lost_under_load_loses_nothing(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Whoever had it open goes on with a file that nobody else sees, until it notices."""
    server, store = own_nats_server, tmp_path / "tallies.db"
    async with crowd(server.url, tmp_path, 3) as world:
        await world.until("acknowledged", 100)
        async with operators(server.url, store) as (lives, archive, _):
            await back_up(archive, SERVICE, [("seen", SERVICE)], tmp_path / "backup")
            epoch = await archive.epoch(SERVICE)
        await world.until("acknowledged", 100)
        for name in ("tallies.db", "tallies.db-wal", "tallies.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        async with operators(server.url, store) as (lives, archive, _):
            assert (await look(lives, archive, SERVICE)).state is LogState.UNREGISTERED
            done = await restore(archive, lives, SERVICE, [TALLY], [tmp_path / "backup"], quiet)
            assert (done.epoch, done.loss) == (epoch, None)
        await world.until("acknowledged", 100)
        await world.until("woken", 3)
        assert world.again >= 1  # those that were still starting begin in the new life at once
    async with open_ledger(server.url, store, service=SERVICE) as ledger:
        assert await all_is_there(world, ledger) >= 300  # what was waited for
        assert await verify(ledger.engine.archive, [TALLY], Report()) == []


async def test_a_log_that_is_not_lost_is_left_alone(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with operators(nats_server.url, tmp_path / "a.db", service) as (lives, archive, settings):
        with pytest.raises(NotNow):
            await recover_log(lives, archive, settings, quiet)
        assert (await look(lives, archive, service)).state is LogState.NEW
        async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
            assert await add(ledger, till, 5) == 1
            with pytest.raises(NotNow):
                await recover_log(lives, archive, settings, quiet)
            assert await add(ledger, till, 6) == 2
            epoch = await recover_log(lives, archive, settings, quiet, force=True, quiet=0.1)
            await asyncio.wait_for(ledger.over.wait(), 60)
            with pytest.raises(LogLost):
                await add(ledger, till, 7)
        async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
            assert ledger.epoch == epoch
            assert await reckon(ledger, till) == 11
            assert await add(ledger, till, 7) == 3


async def test_a_recovery_killed_on_its_way_is_finished_by_the_next(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with (
        operators(nats_server.url, tmp_path / "a.db", service) as (lives, archive, settings),
    ):
        async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
            await add(ledger, till, 5)
            await lives.end(ledger.epoch)
        killed = asyncio.create_task(recover_log(lives, archive, settings, quiet, quiet=60.0))

        async def registered() -> bool:
            return await archive.epoch(service) != ledger.epoch

        await eventually(registered)
        await end([killed])  # a cancellation may be lost to what ends in the same moment
        first = await archive.epoch(service)
        assert (await look(lives, archive, service)).state is LogState.UNMADE
        epoch = await recover_log(lives, archive, settings, quiet, quiet=0.1)
        assert first is not None
        assert epoch > first
        async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
            assert await add(ledger, till, 6) == 2
            assert await reckon(ledger, till) == 11


async def test_of_two_operators_one_decides_and_the_other_says_so(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with operators(nats_server.url, tmp_path / "a.db", service) as (lives, archive, settings):
        async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
            await add(ledger, till, 5)
            await lives.end(ledger.epoch)
        outcomes = await asyncio.gather(
            *(recover_log(lives, archive, settings, quiet, quiet=1.0) for _ in range(3)), return_exceptions=True
        )
        epochs = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert len(epochs) == 1
        assert sum(isinstance(outcome, Superseded) for outcome in outcomes) == 2
        assert epochs == [await archive.epoch(service)] == [await lives.newest()]
        async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
            assert await add(ledger, till, 6) == 2


async def test_a_process_that_slept_through_a_recovery_confirms_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Whoever still answers in the name of the old life: what it says no longer counts."""
    service, till = fresh_service(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as sleeper:
        await add(sleeper, till, 5)
        sleeper._guard.over.set()  # it looks no more
        sleeper.engine.sure_at -= 60
        await sleeper.engine.archive.register_epoch(service, sleeper.epoch + 1_000_000_000)
        with pytest.raises(LogLost):
            await add(sleeper, till, 6)
        sleeper.engine.sure_at -= 60
        with pytest.raises(LogLost):
            await sleeper.read(till)
