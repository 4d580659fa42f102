"""A request id is applied at most once, and every answer to it is the same, however late it comes again."""

import asyncio
import time
from pathlib import Path

import pytest

from services.ledger.decider import Receipt, Request
from services.ledger.engine import Limits
from services.ledger.errors import DeadlineExceeded, InvalidRequestId, Overloaded, RequestIdReused, TooLarge
from services.ledger.ids import derive_request_id, fingerprint, milliseconds_of, request_bytes
from services.ledger.requests import Answered, RequestMemory
from tests.integration.ledger_world import add, fresh_service, reckon, whole_history
from tests.servers import NatsServer
from tests.tally import Add, Refused, WakeAt, fresh_request, open_ledger, request, tally

pytestmark = pytest.mark.usefixtures("each_store")


def facts(receipt: Receipt) -> tuple[int, int, tuple[bytes, ...]]:
    """What a receipt says, but for whether it was said before."""
    return receipt.first_version, receipt.last_version, receipt.payloads


async def test_a_hundred_callers_send_the_same_request(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as other,
    ):
        await add(one, till)
        callers = [(one, other)[n % 2].execute(till, Add(5), request("five")) for n in range(100)]
        answers = await asyncio.gather(*callers)
        assert len({facts(answer) for answer in answers}) == 1
        assert answers[0].first_version == 2
        assert sum(not answer.replayed for answer in answers) == 1
        assert await reckon(one, till) == 6

    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as later:
        again = await later.execute(till, Add(5), request("five"))
        assert facts(again) == facts(answers[0])
        assert again.replayed
        with pytest.raises(RequestIdReused):
            await later.execute(till, Add(6), request("five", "something else"))
        assert await reckon(later, till) == 6


async def test_an_id_far_older_than_what_is_remembered_is_looked_up(nats_server: NatsServer, tmp_path: Path) -> None:
    till, old = tally("till"), request("the oldest", at_us=1_600_000_000_000_000)
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        first = await ledger.execute(till, Add(5), old)
        ledger._residents[till]._memory = RequestMemory(ledger._residents[till]._memory.horizon_ms, capacity=8)
        remembered = [(request_bytes(old.id), _answered(first, old))]
        ledger._residents[till]._memory.add(remembered, milliseconds_of(request_bytes(old.id)))
        for _ in range(20):
            await add(ledger, till)
        assert ledger._residents[till]._memory.find(request_bytes(old.id)) is None
        again = await ledger.execute(till, Add(5), old)
        assert facts(again) == facts(first)
        assert ledger.counters.look_ups >= 1
        with pytest.raises(RequestIdReused):
            await ledger.execute(till, Add(6), Request(old.id, fingerprint("something else")))
        assert await reckon(ledger, till) == 25


def _answered(receipt: Receipt, what: Request) -> Answered:
    return Answered(receipt.first_version, len(receipt.payloads), what.fingerprint)


async def test_new_ids_cost_no_look_up(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        for _ in range(10):
            await add(ledger, till)
            await asyncio.sleep(0.001)
        assert ledger.counters.look_ups == 0


async def test_a_request_that_wrote_nothing_writes_nothing_again(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await add(ledger, till)
        for _ in range(2):
            receipt = await ledger.execute(till, Add(0), request("nothing"))
            assert receipt.last_version < receipt.first_version
            assert receipt.payloads == ()
        assert await reckon(ledger, till) == 1


async def test_a_refusal_binds_nobody(nats_server: NatsServer, tmp_path: Path) -> None:
    """A refused request wrote nothing: sent again when it can be done, it is done."""
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        with pytest.raises(Refused):
            await ledger.execute(till, Add(-5), request("take five"))
        await add(ledger, till, 8)
        assert (await ledger.execute(till, Add(-5), request("take five"))).last_version == 2
        assert await reckon(ledger, till) == 3


@pytest.mark.parametrize(
    "ident",
    [
        "",
        "no id",
        "00000000-0000-4000-8000-000000000000",
        derive_request_id((int(time.time()) + 2 * 86400) * 10**6, "x"),
    ],
    ids=["empty", "no uuid", "version 4", "the day after tomorrow"],
)
async def test_an_id_that_is_none_or_from_the_future_is_refused(
    nats_server: NatsServer, tmp_path: Path, ident: str
) -> None:
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        with pytest.raises(InvalidRequestId):
            await ledger.execute(tally("till"), Add(1), Request(ident, b""))


async def test_a_command_past_its_deadline_is_not_decided(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await add(ledger, till)
        with pytest.raises(DeadlineExceeded):
            await ledger.submit(till, Add(1), fresh_request(), timeout=-1.0)
        hold, held = asyncio.Event(), asyncio.Event()

        async def pause(_point: str) -> None:
            held.set()
            await hold.wait()

        ledger.engine.pause = pause
        slow = asyncio.create_task(add(ledger, till))
        await held.wait()
        with pytest.raises(DeadlineExceeded):
            await ledger.execute(till, Add(1), fresh_request(), timeout=0.05)
        hold.set()
        await slow
        assert await reckon(ledger, till) == 2


async def test_a_full_queue_refuses_at_once(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(
        nats_server.url, tmp_path / "a.db", service=fresh_service(), limits=Limits(queue=10)
    ) as ledger:
        accepted = [ledger.submit(till, Add(1), fresh_request()) for _ in range(10)]
        with pytest.raises(Overloaded):
            ledger.submit(till, Add(1), fresh_request())
        await asyncio.gather(*accepted)
        assert await reckon(ledger, till) == 10


async def test_one_command_too_large_for_the_log_fails_alone(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        answers = await asyncio.gather(
            ledger.execute(till, Add(1), fresh_request()),
            ledger.execute(till, _Large(2_000_000), fresh_request()),
            ledger.execute(till, _Large(600_000), fresh_request()),
            ledger.execute(till, _Large(600_000), fresh_request()),
            ledger.execute(till, Add(1), fresh_request()),
            return_exceptions=True,
        )
        assert isinstance(answers[1], TooLarge)
        assert [a.last_version for a in answers if isinstance(a, Receipt)] == [1, 2, 3, 4]
        assert len(await whole_history(ledger, till)) == 4


class _Large(WakeAt):
    """Writes one event of so many bytes."""

    def __init__(self, size: int) -> None:
        object.__setattr__(self, "time_us", "0 " + "x" * size)


async def test_a_hot_tally_leaves_big_commands_to_the_next_entry(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        futures = [ledger.submit(till, _Large(50_000), request(n)) for n in range(40)]
        assert [(await future).last_version for future in futures] == list(range(1, 41))
        assert 5 <= ledger.counters.appends <= 8
        again = await asyncio.gather(*(ledger.execute(till, _Large(50_000), request(n)) for n in range(40)))
        assert [receipt.last_version for receipt in again] == list(range(1, 41))
        assert all(receipt.replayed for receipt in again)
