"""Watchers: near or far behind, on this server or another, all see the same bytes, densely, and cost bounded memory."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from services.ledger.archive import Archive
from services.ledger.cursor import Frame, Watcher
from services.ledger.ending import end
from services.ledger.errors import StoreUnavailable
from services.ledger.ids import AggregateId
from services.ledger.ring import NotYet
from tests.integration.ledger_world import add, decoded, fresh_service, whole_history
from tests.servers import NatsServer
from tests.tally import Add, WakeAt, fresh_request, open_ledger, tally


async def read_until(watcher: Watcher, last: int, timeout: float = 60.0) -> list[bytes]:
    """Everything a watcher of one aggregate is shown until a version, checked to be dense."""
    shown: list[bytes] = []
    at = None
    async with asyncio.timeout(timeout):
        while at != last:
            for frame in await watcher.ready():
                assert at is None or frame.first == at + 1
                events = decoded(frame.data)
                assert len(events) == frame.last - frame.first + 1
                shown += events
                at = frame.last
    return shown


async def test_near_far_and_elsewhere_see_the_same(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as here,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as elsewhere,
    ):
        for _ in range(20):
            await add(here, till)
        live, distant, behind = here.watcher(), elsewhere.watcher(), here.watcher()
        for watcher in (live, distant, behind):
            assert await watcher.add(till, after=0) == 20
        readers = [asyncio.create_task(read_until(watcher, 320)) for watcher in (live, distant)]
        for _ in range(6):
            await asyncio.gather(*(add(ledger, till) for ledger in (here, elsewhere) for _ in range(25)))
        shown = [*await asyncio.gather(*readers), await read_until(behind, 320)]
        history = [event.payload for event in await whole_history(here, till)]
        assert len(history) == 320
        assert shown == [history] * 3
        late = elsewhere.watcher()
        await late.add(till, after=300)
        assert await read_until(late, 320) == history[300:]
        for watcher in (live, distant, behind, late):
            watcher.close()


async def test_a_watcher_that_never_reads_costs_bounded_memory(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        idle = ledger.watcher()
        await idle.add(till, after=0)
        big = WakeAt("0 " + "x" * 40_000)  # type: ignore[arg-type]
        await asyncio.gather(*(ledger.execute(till, big, fresh_request()) for _ in range(300)))
        ring = ledger._residents[till].ring
        assert ring is not None
        assert sum(map(len, ring._chunks)) <= 4 << 20
        assert len(idle.dirty) == 1
        await asyncio.gather(*(ledger.submit(till, Add(1), fresh_request()) for _ in range(9000)))
        assert len(ring._chunks) <= 4096
        frames = await idle.ready()
        assert sum(len(frame.data) for frame in frames) <= 1 << 20
        assert len(await read_until(idle, 9300)) + sum(len(decoded(frame.data)) for frame in frames) == 9300
        idle.close()
        assert not ledger._residents[till].watchers


async def test_many_watchers_share_one_frame(nats_server: NatsServer, tmp_path: Path) -> None:
    till, wrapped = tally("till"), 0

    def wrap(_aggregate: AggregateId, data: bytes) -> bytes:
        nonlocal wrapped
        wrapped += 1
        return data

    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        watchers = [ledger.watcher(wrap) for _ in range(50)]
        for watcher in watchers:
            await watcher.add(till, after=0)
        await add(ledger, till)
        frames = [(await watcher.ready())[0] for watcher in watchers]
        assert wrapped == 1
        assert len({id(frame.data) for frame in frames}) == 1
        for watcher in watchers:
            watcher.close()


async def test_a_wrap_that_lacks_something_is_asked_again_and_shared(nats_server: NatsServer, tmp_path: Path) -> None:
    till, asked, fetched, there = tally("till"), 0, 0, False

    async def fetch() -> None:
        nonlocal fetched, there
        fetched += 1
        await asyncio.sleep(0)
        there = True

    def wrap(_aggregate: AggregateId, data: bytes) -> bytes:
        nonlocal asked
        asked += 1
        if not there:
            raise NotYet(fetch)
        return data

    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        near, far = ledger.watcher(wrap), ledger.watcher(wrap)
        await near.add(till, after=0)
        for _ in range(5):
            await add(ledger, till)
        history = [event.payload for event in await whole_history(ledger, till)]
        assert await read_until(near, 5) == history
        assert fetched == 1
        there = False
        await far.add(till, after=0)  # what was wrapped once is shared
        assert (await read_until(far, 5), fetched) == (history, 1)
        ledger.engine.shelf.forget_runs()
        await far.add(till, after=0)
        assert (await read_until(far, 5), fetched) == (history, 2)
        ring = ledger._residents[till].ring
        assert ring is not None
        ring.clear()
        there = False
        await far.add(till, after=0)  # out of the store
        assert (await read_until(far, 5), fetched) == (history, 3)

        async def never() -> None:
            await asyncio.sleep(0)

        lacking = ledger.watcher(lambda *_: _lack(never))
        await lacking.add(till, after=0)
        with pytest.raises(StoreUnavailable):
            await lacking.ready()
        for watcher in (near, far, lacking):
            watcher.close()


def _lack(ready: Callable[[], Awaitable[None]]) -> bytes:
    raise NotYet(ready)


async def test_a_cancelled_reader_loses_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    """A stream cancels its wait for the cursor whenever it has something else to send."""
    tills = [tally(f"till {n}") for n in range(5)]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        for till in tills:
            for _ in range(10):
                await add(ledger, till)
        watcher = ledger.watcher()
        for till in tills:
            await watcher.add(till, after=0)
        shown: dict[AggregateId, list[bytes]] = {till: [] for till in tills}
        rounds = 0
        while sum(map(len, shown.values())) < 50:
            task = asyncio.create_task(watcher.ready())
            for _ in range(rounds % 12):
                await asyncio.sleep(0.0003)
            rounds += 1
            task.cancel()
            try:
                frames = await task
            except asyncio.CancelledError:
                continue
            for frame in frames:
                shown[frame.aggregate] += decoded(frame.data)
            assert rounds < 2_000
        for till in tills:
            assert shown[till] == [event.payload for event in await whole_history(ledger, till)]
        watcher.close()


async def test_a_store_that_fails_for_a_moment_costs_a_watcher_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    tills = [tally(f"till {n}") for n in range(3)]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        for till in tills:
            await add(ledger, till)
        watcher = ledger.watcher()
        for till in tills:
            await watcher.add(till, after=0)
        archive = watcher._archive
        watcher._archive = _Once(archive, fail_at=2)  # type: ignore[assignment]
        with pytest.raises(StoreUnavailable):
            await watcher.ready()
        frames = await watcher.ready()
        assert sorted(frame.aggregate.id for frame in frames) == ["till 0", "till 1", "till 2"]
        watcher.close()


class _Once:
    """A store whose n-th page fails."""

    def __init__(self, archive: Archive, fail_at: int) -> None:
        self._archive, self._fail_at, self._asked = archive, fail_at, 0

    async def entries(self, key: str, *, after: int, limit: int) -> object:
        self._asked += 1
        if self._asked == self._fail_at:
            raise StoreUnavailable("away for a moment")
        return await self._archive.entries(key, after=after, limit=limit)


async def test_a_watcher_moves_and_leaves(nats_server: NatsServer, tmp_path: Path) -> None:
    till, other = tally("till"), tally("other")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        watcher = ledger.watcher()
        for _ in range(5):
            await add(ledger, till)
        await watcher.add(till, after=5)
        assert await watcher.collect() == []
        await watcher.add(till, after=3)
        [frame] = await watcher.ready()
        assert (frame.first, frame.last) == (4, 5)
        assert watcher.place(till) == 5
        watcher.remove(till)
        assert watcher.place(till) is None
        await watcher.add(other, after=0)
        await add(ledger, till)
        await add(ledger, other)
        [frame] = await watcher.ready()
        assert frame.aggregate == other
        watcher.flag.set()
        assert await asyncio.wait_for(watcher.ready(), 60) == []
        watcher.close()


async def test_a_watcher_elsewhere_hears_what_was_announced_while_the_log_was_away(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    """Announcements are not kept: after a reconnect, who watches looks for itself."""
    service, url, till = fresh_service(), own_nats_server.url, tally("till")
    async with (
        open_ledger(url, tmp_path / "a.db", service=service) as here,
        open_ledger(url, tmp_path / "a.db", service=service) as elsewhere,
    ):
        await add(here, till)
        watcher = elsewhere.watcher()
        await watcher.add(till, after=0)
        await read_until(watcher, 1)
        here._announcer.announce = lambda *_: None  # type: ignore[method-assign]
        await end(task for task in elsewhere._tasks if task.get_name().startswith("repair"))
        await add(here, till)
        own_nats_server.kill()
        own_nats_server.start()
        assert len(await read_until(watcher, 2)) == 1
        watcher.close()


async def test_a_pace_gathers_what_comes_close_together(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        for _ in range(300):
            await add(ledger, till)
        watcher = ledger.watcher(pace=2.0)
        await watcher.add(till, after=0)
        await read_until(watcher, 300)  # who is behind is not held back: a page is 128 entries
        frames: list[Frame] = []
        for _ in range(5):
            await add(ledger, till)
        async with asyncio.timeout(60):
            while not frames:
                frames = await watcher.ready()
        assert [(frame.first, frame.last) for frame in frames] == [(301, 305)]
        # Whoever has something else to say takes along what is there.
        await add(ledger, till)
        assert [(frame.first, frame.last) for frame in await watcher.collect()] == [(306, 306)]
        watcher.flag.set()
        await add(ledger, till)
        assert await watcher.ready() == []  # the flag of others is no reason to deliver
        watcher.close()
        assert watcher._timer is None
