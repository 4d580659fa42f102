"""Several servers write one aggregate: versions are dense, nothing is lost, nothing is doubled, whoever stops, sleeps or dies."""

import asyncio
import itertools
from pathlib import Path

import pytest

from services.ledger.engine import Limits
from services.ledger.errors import Contention, RequestIdReused
from tests.integration.ledger_world import (
    Seen,
    add,
    decoded,
    fresh_service,
    lose_answers,
    reckon,
    server_process,
    whole_history,
)
from tests.servers import NatsServer
from tests.tally import Add, Refused, decode, eventually, fresh_request, open_ledger, request, tally

pytestmark = pytest.mark.usefixtures("each_store")


async def test_two_servers_count_on_one_tally(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as other,
    ):

        async def count(ledger: object, times: int) -> list[int]:
            return [await add(ledger, till) for _ in range(times)]  # type: ignore[arg-type]

        versions = await asyncio.gather(*(count(ledger, 25) for ledger in (one, other) for _ in range(4)))
        assert sorted(itertools.chain(*versions)) == list(range(1, 201))
        assert await reckon(one, till) == await reckon(other, till) == 200
        assert one.counters.events + other.counters.events == 200


async def test_two_processes_count_on_one_tally(nats_server: NatsServer, tmp_path: Path) -> None:
    service, file = fresh_service(), tmp_path / "a.db"
    async with (
        server_process(nats_server.url, file, service) as one,
        server_process(nats_server.url, file, service) as other,
        open_ledger(nats_server.url, file, service=service) as ledger,
    ):
        for number in range(150):
            one.ask("till", 1, f"one {number}")
            other.ask("till", 1, f"other {number}")
        versions = [(await server.answer() or {})["last"] for server in (one, other) for _ in range(150)]
        assert sorted(versions) == list(range(1, 301))
        assert await reckon(ledger, tally("till")) == 300


async def test_a_server_that_slept_through_its_turn_decides_again(nats_server: NatsServer, tmp_path: Path) -> None:
    service, file, till = fresh_service(), tmp_path / "a.db", tally("till")
    async with (
        open_ledger(nats_server.url, file, service=service) as awake,
        server_process(nats_server.url, file, service, at="decided", signal_name="SIGSTOP") as sleeper,
    ):
        await add(awake, till, 5)
        sleeper.ask("till", -5, "the last five")
        await sleeper.stopped()  # decided on 5, not yet appended
        await add(awake, till, -3)
        await add(awake, till, 7)
        sleeper.resume()
        await sleeper.stopped()  # refused by the fence, decided again on 9
        sleeper.resume()
        assert await sleeper.answer() == {"request": "the last five", "first": 4, "last": 4, "replayed": False}
        sleeper.done()
        assert await sleeper.answer() == {"fences_lost": 1, "appends": 1}
        assert await reckon(awake, till) == 4


async def test_a_sleeper_is_refused_by_the_domain_where_others_took_what_it_wanted(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    service, till = fresh_service(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as other,
    ):
        await add(one, till, 5)
        asleep, awake = asyncio.Event(), asyncio.Event()

        async def sleep(point: str) -> None:
            if point == "decided" and not asleep.is_set():
                asleep.set()
                await awake.wait()

        other.engine.pause = sleep
        late = asyncio.create_task(add(other, till, -5))
        await asleep.wait()
        await add(one, till, -3)
        awake.set()
        with pytest.raises(Refused):
            await late
        assert await reckon(one, till) == 2


async def test_a_lost_answer_is_counted_once(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await add(ledger, till)
        lose_answers(ledger)
        receipt = await ledger.execute(till, Add(7), request("seven", 7))
        assert (receipt.first_version, receipt.last_version) == (2, 2)
        assert [decode(payload) for payload in receipt.payloads] == [7]
        assert ledger.counters.repaired == 1
        assert await ledger.execute(till, Add(7), request("seven", 7)) == receipt
        assert await reckon(ledger, till) == 8


async def test_many_commands_whose_answer_is_lost_are_counted_once_each(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await add(ledger, till)
        lose_answers(ledger)
        receipts = await asyncio.gather(*(ledger.execute(till, Add(n), request(n, n)) for n in range(1, 51)))
        assert [receipt.last_version for receipt in receipts] == list(range(2, 52))
        assert await reckon(ledger, till) == 1 + sum(range(1, 51))


@pytest.mark.parametrize("point", ["appended", "stored"])
async def test_a_server_dies_before_its_answer(nats_server: NatsServer, tmp_path: Path, point: str) -> None:
    """In the log only, or in log and store: another server completes it, the retry gets the first versions."""
    service, file, till = fresh_service(), tmp_path / "a.db", tally("till")
    seen = Seen()
    async with open_ledger(nats_server.url, file, service=service) as survivor:
        survivor.consume("reader", seen)
        watcher = survivor.watcher()
        await add(survivor, till, 5)
        await watcher.add(till, after=0)
        async with server_process(nats_server.url, file, service, at=point) as mortal:
            mortal.ask("till", 7, "seven")
            assert await mortal.answer() is None
            assert await mortal.died() == -9
        assert await seen.until(till, 2) == [1, 2]
        receipt = await survivor.execute(till, Add(7), request("seven"))
        assert (receipt.first_version, receipt.last_version, receipt.replayed) == (2, 2, True)
        assert [decode(payload) for payload in receipt.payloads] == [7]
        await add(survivor, till)
        assert await seen.until(till, 3) == [1, 2, 3]
        shown: list[bytes] = []
        while len(shown) < 3:
            shown += [event for frame in await watcher.ready() for event in decoded(frame.data)]
        assert shown == [event.payload for event in await whole_history(survivor, till)]
        assert await reckon(survivor, till) == 13
        watcher.close()


async def test_what_a_dead_server_left_is_stored_without_anybody_asking(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    service, file, till = fresh_service(), tmp_path / "a.db", tally("till")
    async with server_process(nats_server.url, file, service, at="appended") as mortal:
        mortal.ask("till", 7, "seven")
        assert await mortal.answer() is None
    async with open_ledger(nats_server.url, file, service=service) as survivor:

        async def stored() -> bool:
            head = await survivor.engine.archive.head(till.key)
            return head is not None and head.version == 1

        await eventually(stored)
        assert await reckon(survivor, till) == 7


async def test_five_hundred_queued_commands_go_out_in_few_appends(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await add(ledger, till)
        futures = [ledger.submit(till, Add(1), fresh_request()) for _ in range(500)]
        receipts = await asyncio.gather(*futures)
        assert [receipt.last_version for receipt in receipts] == list(range(2, 502))
        assert ledger.counters.appends <= 4
        assert await reckon(ledger, till) == 501


async def test_a_refused_command_among_many_harms_nobody(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        amounts = [3, -5, 4, -8, -7, 1]
        answers = await asyncio.gather(
            *(ledger.execute(till, Add(amount), fresh_request()) for amount in amounts), return_exceptions=True
        )
        assert [type(answer).__name__ for answer in answers] == [
            "Receipt", "Refused", "Receipt", "Refused", "Receipt", "Receipt",
        ]  # fmt: skip
        assert await reckon(ledger, till) == 1


async def test_two_servers_in_eternal_dispute_refuse_honestly(nats_server: NatsServer, tmp_path: Path) -> None:
    """A server that is always second says so after bounded tries, and has written nothing."""
    service, till = fresh_service(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as quick,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service, limits=Limits(attempts=6)) as slow,
    ):

        async def always_second(point: str) -> None:
            if point == "decided":
                await add(quick, till)

        slow.engine.pause = always_second
        with pytest.raises(Contention):
            await slow.execute(till, Add(100), fresh_request())
        assert await reckon(quick, till) == slow.engine.limits.attempts


async def test_servers_that_come_and_go_from_memory_lose_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    """More tallies than a server keeps in memory, written from two sides at once."""
    service, few = fresh_service(), Limits(residents=3)
    names = [f"till {n}" for n in range(12)]
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service, limits=few) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service, limits=few) as other,
    ):
        watcher = one.watcher()
        await watcher.add(tally(names[0]), after=0)
        rounds = [(ledger, tally(name)) for _ in range(8) for name in names for ledger in (one, other)]
        await asyncio.gather(*(add(ledger, till) for ledger, till in rounds))
        for name in names:
            assert await reckon(one, tally(name)) == 16
        await one.read(tally("another"))
        assert len(one._residents) <= few.residents
        shown = 0
        while shown < 16:
            shown += sum(len(decoded(frame.data)) for frame in await asyncio.wait_for(watcher.ready(), 60))
        assert shown == 16
        watcher.close()


async def test_the_same_request_with_other_content_is_refused(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await ledger.execute(till, Add(1), request("one", "as meant"))
        with pytest.raises(RequestIdReused):
            await ledger.execute(till, Add(2), request("one", "otherwise"))
        assert await reckon(ledger, till) == 1


async def test_nobody_is_refused_by_a_memory_that_another_process_made_old(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A refusal is written nowhere, so no fence would notice that what it rests on is past."""
    service, till = fresh_service(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as other,
    ):
        for _ in range(20):
            with pytest.raises(Refused):
                await add(other, till, -1)
            await add(one, till, 1)
            await add(other, till, -1)
        assert await reckon(one, till) == 0
