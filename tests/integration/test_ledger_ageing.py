"""Rule 10: a log that keeps entries for seconds only. What it lets go is stored, or was acknowledged to nobody."""

import asyncio
from pathlib import Path
from typing import Any

from services.ledger.archive import Write
from services.ledger.errors import LedgerError, StoreUnavailable
from services.ledger.ledger import Ledger
from tests.integration.ledger_world import Seen, add, append_by_hand, fresh_service, reckon, whole_history
from tests.integration.test_ledger_loading import entry, last_seq
from tests.servers import NatsServer
from tests.tally import Add, decode, eventually, fresh_request, open_ledger, request, tally

KEPT = 2.0
TILLS = [tally(f"till {number}") for number in range(3)]


async def aged_out(ledger: Ledger, below: int, timeout: float = 60.0) -> None:
    """Waits until the log begins above a sequence."""

    async def gone() -> bool:
        return (await ledger.engine.log.ends()).first > below

    await eventually(gone, timeout=timeout)


async def insist(ledger: Ledger, amount: int, which: int) -> int:
    """Counts with one request id until there is an answer; its version."""
    what = fresh_request()
    while True:
        try:
            return (await ledger.execute(TILLS[which], Add(amount), what, timeout=5.0)).first_version
        except LedgerError:
            await asyncio.sleep(0.1)


async def test_versions_fences_and_request_ids_outlive_the_log(nats_server: NatsServer, tmp_path: Path) -> None:
    service, file = fresh_service(), tmp_path / "a.db"
    async with (
        open_ledger(nats_server.url, file, service=service, max_age=KEPT) as one,
        open_ledger(nats_server.url, file, service=service, max_age=KEPT) as other,
    ):
        assert one.engine.limits.fence_zero_within == KEPT / 4
        first = await one.execute(TILLS[0], Add(7), request("seven"))
        amounts: dict[int, dict[int, int]] = {which: {} for which in range(3)}
        amounts[0][first.first_version] = 7
        begun = asyncio.get_running_loop().time()
        number = 0
        while asyncio.get_running_loop().time() - begun < 3 * KEPT:
            number += 1
            which = number % 3
            for ledger in (one, other):
                amounts[which][await insist(ledger, number, which)] = number
            await asyncio.sleep(random_pause(number))
        await aged_out(one, one.epoch)
        again = await other.execute(TILLS[0], Add(7), request("seven"))
        assert (again.first_version, again.replayed) == (first.first_version, True)
        await aged_out(one, (await one.engine.log.ends()).last)  # now it holds nothing
        for which, till in enumerate(TILLS):
            amounts[which][await add(other, till, 11)] = 11
    async with open_ledger(nats_server.url, file, service=service, max_age=KEPT) as ledger:
        again = await ledger.execute(TILLS[0], Add(7), request("seven"))
        assert (again.first_version, again.replayed) == (first.first_version, True)
        for which, till in enumerate(TILLS):
            await reckon(ledger, till)
            events = {event.version: decode(event.payload) for event in await whole_history(ledger, till)}
            assert events == amounts[which]


def random_pause(number: int) -> float:
    """Now and then longer than an append at fence 0 counts."""
    return 0.8 if number % 5 == 0 else 0.05


async def test_what_left_the_log_before_it_was_stored_stops_nobody(nats_server: NatsServer, tmp_path: Path) -> None:
    """Its writer died, and nobody could store it while it was there; it was acknowledged to nobody."""
    service, till = fresh_service(), TILLS[0]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service, max_age=KEPT) as ledger:
        await add(ledger, till, 5)
        for task in [task for task in ledger._tasks if task.get_name().startswith("repair")]:
            task.cancel()
        seq = await append_by_hand(ledger, till, entry(2, last_seq(ledger, till.id), 100))
        await aged_out(ledger, seq)
        assert await add(ledger, till, 6) == 2
        assert await reckon(ledger, till) == 11
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service, max_age=KEPT) as ledger:
        assert await reckon(ledger, till) == 11
        assert await add(ledger, till, 7) == 3


async def test_a_store_that_is_down_for_longer_than_the_log_keeps(nats_server: NatsServer, tmp_path: Path) -> None:
    service, file = fresh_service(), tmp_path / "a.db"
    async with open_ledger(nats_server.url, file, service=service, max_age=KEPT) as ledger:
        versions: dict[int, list[int]] = {which: [await insist(ledger, 1, which)] for which in range(3)}
        archive: Any = ledger.engine.archive
        store = archive.store

        async def down(_write: Write) -> None:
            raise StoreUnavailable("the disk is full")

        archive.store = down
        waiting = [asyncio.create_task(insist(ledger, 10 + which, which)) for which in range(3)]
        begun = (await ledger.engine.log.ends()).last

        async def appended() -> bool:
            return (await ledger.engine.log.ends()).last >= begun + 3

        await eventually(appended)
        await aged_out(ledger, begun + 3)
        archive.store = store
        for which, version in enumerate(await asyncio.gather(*waiting)):
            versions[which].append(version)
        for which, till in enumerate(TILLS):
            assert versions[which] == [1, 2]
            assert await reckon(ledger, till) == 11 + which
            assert await add(ledger, till) == 3


async def test_a_writer_that_slept_longer_than_the_log_keeps_its_entry_confirms_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    service, file, till = fresh_service(), tmp_path / "a.db", TILLS[0]
    async with (
        open_ledger(nats_server.url, file, service=service, max_age=KEPT) as sleeper,
        open_ledger(nats_server.url, file, service=service, max_age=KEPT) as other,
    ):
        await add(sleeper, till, 5)
        for ledger in (sleeper, other):
            for task in [task for task in ledger._tasks if task.get_name().startswith("repair")]:
                task.cancel()
        woken, asleep = asyncio.Event(), asyncio.Event()

        async def sleep(point: str) -> None:
            if point == "appended" and not woken.is_set():
                asleep.set()
                await woken.wait()

        sleeper.engine.pause = sleep
        late = asyncio.create_task(add(sleeper, till, 100))
        await asleep.wait()
        await aged_out(other, (await other.engine.log.ends()).last)
        other._residents.clear()
        assert await add(other, till, 6) == 2
        woken.set()
        assert await late == 3
        assert await reckon(other, till) == 111
        assert [decode(event.payload) for event in await whole_history(sleeper, till)] == [5, 6, 100]


async def test_a_consumer_that_was_away_longer_than_the_log_keeps_gets_everything(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    service, till, before, after = fresh_service(), TILLS[0], Seen(), Seen()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service, max_age=KEPT) as ledger:
        ledger.consume("reader", before)
        await add(ledger, till)
        assert await before.until(till, 1) == [1]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service, max_age=KEPT) as ledger:
        for _ in range(3):
            await add(ledger, till)
        await aged_out(ledger, (await ledger.engine.log.ends()).last)
        await add(ledger, till)
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service, max_age=KEPT) as ledger:
        ledger.consume("reader", after)
        assert sorted(set(await after.until(till, 5))) in ([2, 3, 4, 5], [1, 2, 3, 4, 5])
