"""Timers: once when due, never before, changed by arming again, and they outlive every process."""

import asyncio
import time
from pathlib import Path

from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from tests.integration.ledger_world import fresh_service
from tests.servers import NatsServer
from tests.tally import Tally, WakeAt, fresh_request, open_ledger, tally


def now_us() -> int:
    """Now, in microseconds since the Unix epoch."""
    return time.time_ns() // 1000


async def wake_at(ledger: Ledger, till: AggregateId, due: int) -> None:
    """Makes a tally want to be woken, and arms it."""
    await ledger.execute(till, WakeAt(due), fresh_request())
    await ledger.arm(till)


class Woken:
    """A timer's handler that keeps what fired, and when."""

    def __init__(self) -> None:
        self.fired: asyncio.Queue[tuple[str, str, int]] = asyncio.Queue()
        self.failures = 0

    async def __call__(self, aggregate: AggregateId, name: str) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise RuntimeError
        self.fired.put_nowait((aggregate.id, name, now_us()))

    async def next(self, timeout: float = 60.0) -> tuple[str, str, int]:
        """The next that fired: whose, which, when."""
        return await asyncio.wait_for(self.fired.get(), timeout)


async def test_timers_fire_once_and_never_early(nats_server: NatsServer, tmp_path: Path) -> None:
    woken = Woken()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.on_timer(woken)
        start = now_us()
        due = {f"till {n}": start + 1_500_000 + n * 123_457 for n in range(6)}
        for name, at in due.items():
            await wake_at(ledger, tally(name), at)
            await ledger.arm(tally(name))
        past = tally("past")
        await wake_at(ledger, past, start - 5_000_000)
        fired = [await woken.next() for _ in range(7)]
        assert sorted(name for name, _, _ in fired) == ["past", *sorted(due)]
        for name, timer, at in fired:
            assert timer == "wake"
            assert at >= due.get(name, 0)
        await wake_at(ledger, tally("last"), now_us() + 300_000)
        assert (await woken.next())[0] == "last"  # and nothing else meanwhile
        assert woken.fired.empty()


async def test_a_timer_armed_again_fires_at_its_new_time_only(nats_server: NatsServer, tmp_path: Path) -> None:
    woken, sooner, later = Woken(), tally("sooner"), tally("later")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.on_timer(woken)
        start = now_us()
        await wake_at(ledger, sooner, start + 60_000_000)
        await wake_at(ledger, sooner, start + 1_500_000)
        await wake_at(ledger, later, start + 2_000_000)
        await wake_at(ledger, later, start + 3_000_000)
        assert (await woken.next())[0] == "sooner"
        name, _, at = await woken.next()
        assert name == "later"
        assert at >= start + 3_000_000
        assert woken.fired.empty()


async def test_a_timer_outlives_its_server(nats_server: NatsServer, tmp_path: Path) -> None:
    service, woken, till = fresh_service(), Woken(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        due = now_us() + 500_000
        await wake_at(ledger, till, due)
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as later:
        later.on_timer(woken)
        name, _, at = await woken.next()
        assert name == "till"
        assert at >= due
        assert (await later.read(till)).state == Tally(0, 1, due)


async def test_a_timer_outlives_the_log_s_server(own_nats_server: NatsServer, tmp_path: Path) -> None:
    woken, till = Woken(), tally("till")
    async with open_ledger(own_nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.on_timer(woken)
        await wake_at(ledger, till, now_us() + 600_000)
        own_nats_server.kill()
        own_nats_server.start()
        assert (await woken.next())[0] == "till"


async def test_two_servers_share_timers(nats_server: NatsServer, tmp_path: Path) -> None:
    service, woken = fresh_service(), Woken()
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as other,
    ):
        one.on_timer(woken)
        other.on_timer(woken)
        for n in range(10):
            await wake_at((one, other)[n % 2], tally(f"till {n}"), now_us() + 200_000)
        fired = sorted([(await woken.next())[0] for _ in range(10)])
        assert fired == [f"till {n}" for n in range(10)]
        assert woken.fired.empty()


async def test_a_handler_that_fails_is_called_again(nats_server: NatsServer, tmp_path: Path) -> None:
    woken = Woken()
    woken.failures = 3
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.on_timer(woken)
        await wake_at(ledger, tally("till"), now_us())
        assert (await woken.next())[0] == "till"
        assert woken.failures == 0


async def test_a_due_timer_that_nobody_took_is_armed_again_as_often_as_asked(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The same time after it fired is a new wish: a handler that gave up is helped by arming again."""
    woken, till = Woken(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.on_timer(woken)
        await wake_at(ledger, till, now_us() + 100_000)
        for _ in range(3):
            assert (await woken.next())[0] == "till"
            await ledger.arm(till)
        assert (await woken.next())[0] == "till"


async def test_a_time_that_another_server_replaced_is_armed_again(nats_server: NatsServer, tmp_path: Path) -> None:
    """One server armed a late time, another an early one in its place; who takes the early one arms the late one anew."""
    service, woken, till = fresh_service(), Woken(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as other,
    ):
        one.on_timer(woken)
        late = now_us() + 2_000_000
        await wake_at(one, till, late)
        await wake_at(other, till, now_us() + 200_000)
        assert (await woken.next())[0] == "till"
        await wake_at(one, till, late)
        _, _, at = await woken.next()
        assert at >= late
