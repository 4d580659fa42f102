"""What happens when the log, or the store, is lost: nothing acknowledged goes, versions stay dense, timers fire, operators are asked."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from services.ledger.errors import LedgerError, LogLost, LogUnavailable, StoreLost
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.ledger.log import stream_name
from tests.integration.ledger_world import Seen, add, append_by_hand, fresh_service, reckon, whole_history
from tests.integration.test_ledger_loading import entry, last_seq
from tests.servers import NatsServer
from tests.tally import Add, WakeAt, eventually, fresh_request, open_ledger, request, tally

pytestmark = pytest.mark.usefixtures("each_store")


async def kept_positions(ledger: Ledger, role: str, seqs: list[int]) -> None:
    """Waits until a role's positions in the store cover some sequences."""

    async def kept() -> bool:
        found = [await ledger.engine.archive.position(role, ledger.settings.service, n) for n in range(2)]
        return max(position.seq for position in found if position is not None) >= max(seqs)

    await eventually(kept, timeout=60)


async def test_a_start_after_the_log_folder_was_deleted(own_nats_server: NatsServer, tmp_path: Path) -> None:
    server, file, service = own_nats_server, tmp_path / "a.db", fresh_service()
    tills = [tally(f"till {n}") for n in range(4)]
    before, after, fired = Seen(), Seen(), asyncio.Queue[AggregateId]()
    async with open_ledger(server.url, file, service=service, exclusive=True) as ledger:
        epoch = ledger.epoch
        ledger.consume("reader", before)
        for till in tills:
            await add(ledger, till, 5)
            assert await before.until(till, 1) == [1]
        await kept_positions(ledger, "reader", [last_seq(ledger, till.id) for till in tills])
        before.failure = _Away("later")  # from now on nothing is taken
        for till in tills:
            await add(ledger, till, 6)
        first = await ledger.execute(tills[0], Add(7), request("seven"))
        due = time.time_ns() // 1000 + 700_000
        await ledger.execute(tills[1], WakeAt(due), fresh_request())
        await ledger.arm(tills[1])
        histories = [await whole_history(ledger, till) for till in tills]
    server.kill()
    server.wipe()
    server.start()
    async with open_ledger(server.url, file, service=service, exclusive=True) as ledger:
        assert ledger.epoch > epoch
        assert [await whole_history(ledger, till) for till in tills] == histories
        assert [(await ledger.read(till)).version for till in tills] == [3, 3, 2, 2]
        again = await ledger.execute(tills[0], Add(7), request("seven"))
        assert (again.first_version, again.payloads, again.replayed) == (first.first_version, first.payloads, True)

        async def wake(aggregate: AggregateId, name: str) -> None:
            assert name == "wake"
            assert time.time_ns() // 1000 >= due
            fired.put_nowait(aggregate)

        ledger.consume("reader", after)
        ledger.on_timer(wake)
        assert await asyncio.wait_for(fired.get(), 60) == tills[1]
        assert await add(ledger, tills[0], 1) == 4
        assert await add(ledger, tills[3], 1) == 3
        assert await after.until(tills[0], 4) == [2, 3, 4]
        assert await after.until(tills[1], 3) == [2, 3]
        assert await after.until(tills[2], 2) == [2]
        assert await after.until(tills[3], 3) == [2, 3]
        assert [await reckon(ledger, till) for till in tills] == [19, 11, 11, 12]
        await asyncio.sleep(0)
        assert fired.empty()
    second = Seen()
    async with open_ledger(server.url, file, service=service, exclusive=True) as ledger:
        ledger.consume("second", second)
        assert await add(ledger, tills[0], 1) == 5
        assert [await reckon(ledger, till) for till in tills] == [20, 11, 11, 12]


class _Away(Exception):
    """What the handler needs is away."""

    reason = "DEPENDENCY_UNAVAILABLE"
    retry_after = 0.1


async def test_a_log_lost_again_and_again(own_nats_server: NatsServer, tmp_path: Path) -> None:
    server, service, till = own_nats_server, fresh_service(), tally("till")
    epochs = []
    for life in range(4):
        async with open_ledger(server.url, tmp_path / "a.db", service=service, exclusive=True) as ledger:
            epochs.append(ledger.epoch)
            assert await add(ledger, till) == life + 1
            assert await reckon(ledger, till) == life + 1
        server.kill()
        server.wipe()
        server.start()
    assert epochs == sorted(set(epochs))


async def test_only_who_owns_all_begins_a_new_life(own_nats_server: NatsServer, tmp_path: Path) -> None:
    server, service, till = own_nats_server, fresh_service(), tally("till")
    async with open_ledger(server.url, tmp_path / "a.db", service=service) as ledger:
        await add(ledger, till)
    server.kill()
    server.wipe()
    server.start()
    with pytest.raises(LogLost):
        async with open_ledger(server.url, tmp_path / "a.db", service=service):
            pass


async def test_a_lost_store_is_noticed(nats_server: NatsServer, tmp_path: Path) -> None:
    service = fresh_service()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        await add(ledger, tally("till"))
    for exclusive in (False, True):
        with pytest.raises(StoreLost):
            async with open_ledger(nats_server.url, tmp_path / "new.db", service=service, exclusive=exclusive):
                pass


async def test_a_log_wiped_under_a_running_server_confirms_nothing(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """The stream is gone, the server lives: writes fail, what is stored can be read."""
    server, service, till = own_nats_server, fresh_service(), tally("till")
    async with open_ledger(server.url, tmp_path / "a.db", service=service) as ledger:
        await add(ledger, till, 5)
        server.kill()
        server.wipe()
        server.start()
        with pytest.raises(LogUnavailable):
            await eventually(_adds_or_raises_twice(ledger, till))
        assert (await ledger.read(till)).state.total == 5
        assert len(await whole_history(ledger, till)) == 1


def _adds_or_raises_twice(ledger: Ledger, till: AggregateId) -> object:
    tried = 0

    async def attempt() -> bool:
        nonlocal tried
        tried += 1
        try:
            await add(ledger, till)
        except LogUnavailable:
            if tried > 3:
                raise
        return False

    return attempt


async def test_what_only_the_lost_log_held_never_was(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Appended but not stored when the log went: it was acknowledged to nobody, and its version is given anew."""
    server, service, till = own_nats_server, fresh_service(), tally("till")
    async with open_ledger(server.url, tmp_path / "a.db", service=service, exclusive=True) as ledger:
        await add(ledger, till, 5)
        resident_seq = last_seq(ledger, "till")
    async with open_ledger(server.url, tmp_path / "a.db", service=service, exclusive=True) as ledger:
        for task in [task for task in ledger._tasks if task.get_name().startswith("repair")]:
            task.cancel()
        await append_by_hand(ledger, till, entry(2, resident_seq, 100))
    server.kill()
    server.wipe()
    server.start()
    async with open_ledger(server.url, tmp_path / "a.db", service=service, exclusive=True) as ledger:
        assert (await ledger.read(till)).version == 1
        assert await add(ledger, till, 6) == 2
        assert await reckon(ledger, till) == 11


async def test_a_lost_log_of_another_service_is_caught_up_from_its_store(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    """More than one message holds: the owner answers in pages."""
    server, order, mail = own_nats_server, fresh_service(), fresh_service()
    tills = [tally(f"till {n}") for n in range(3)]
    seen = Seen()
    async with (
        open_ledger(server.url, tmp_path / "order.db", service=order, exclusive=True) as writer,
        open_ledger(server.url, tmp_path / "mail.db", service=mail, exclusive=True) as reader,
    ):
        away = Seen()
        away.failure = _Away()
        reader.consume("receipts", away, source=order)
        big = WakeAt("0 " + "x" * 100_000)  # type: ignore[arg-type]
        for till in tills:
            for _ in range(16):
                await writer.execute(till, big, fresh_request())

        async def begun() -> bool:
            found = [await reader.engine.archive.position("receipts", order, n) for n in range(2)]
            return None not in found

        await eventually(begun)
    server.kill()
    server.wipe()
    server.start()
    async with (
        open_ledger(server.url, tmp_path / "order.db", service=order, exclusive=True) as writer,
        open_ledger(server.url, tmp_path / "mail.db", service=mail, exclusive=True) as reader,
    ):
        reader.consume("receipts", seen, source=order)
        for till in tills:
            assert await seen.until(till, 16, timeout=60) == list(range(1, 17))


async def test_a_consumer_that_never_stopped_follows_another_service_into_its_new_life(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """What was stored when the log went, and not yet taken, comes first."""
    order, mail, seen, till = fresh_service(), fresh_service(), Seen(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "mail.db", service=mail) as reader:
        async with open_ledger(nats_server.url, tmp_path / "order.db", service=order, exclusive=True) as writer:
            reader.consume("receipts", seen, source=order)
            await add(writer, till)
            assert await seen.until(till, 1) == [1]
            seen.failure = _Away()
            await add(writer, till)
            await writer._nats.jetstream().delete_stream(stream_name(writer.settings.service, writer.epoch))
        seen.failure = None
        async with open_ledger(nats_server.url, tmp_path / "order.db", service=order, exclusive=True) as writer:
            assert await add(writer, till) == 3
            versions = await seen.until(till, 3)
            assert sorted(set(versions)) == [1, 2, 3]  # its place is kept every two seconds: some may come again
            assert versions[-2:] == [2, 3]


async def test_a_log_killed_and_started_again_under_load(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Callers get an answer or an honest refusal; with the same request they get there, and all is there once."""
    server, service = own_nats_server, fresh_service()
    tills = [tally(f"till {n}") for n in range(5)]
    async with (
        open_ledger(server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(server.url, tmp_path / "a.db", service=service) as other,
    ):
        refused = 0

        async def insist(ledger: Ledger, till: AggregateId, number: int) -> None:
            nonlocal refused
            what = fresh_request()
            for _ in range(400):
                try:
                    await ledger.execute(till, Add(number), what, timeout=5.0)
                    return
                except LedgerError as error:
                    assert error.retry_after is not None or error.reason == "DEADLINE_EXCEEDED"
                    refused += 1
                    await asyncio.sleep(0.05)
            raise AssertionError("never answered")

        async def load() -> None:
            for number in range(1, 31):
                await asyncio.gather(*(insist(ledger, till, number) for ledger in (one, other) for till in tills))

        under_load = asyncio.create_task(load())
        for _ in range(2):
            await asyncio.sleep(0.15)
            server.kill()
            await asyncio.to_thread(server.start)
        await under_load
        for till in tills:
            assert await reckon(one, till) == 2 * sum(range(1, 31))


async def test_reads_go_on_while_the_log_is_down(own_nats_server: NatsServer, tmp_path: Path) -> None:
    till, strange = tally("till"), tally("strange")
    async with open_ledger(own_nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await add(ledger, till, 5)
        own_nats_server.kill()
        assert (await ledger.read(till)).state.total == 5
        assert (await ledger.read(strange)).version == 0
        assert (await ledger.read_at(till, 1)).state.total == 5
        assert [event.version for event in await ledger.history(till, limit=10)] == [1]
        with pytest.raises(LogUnavailable):
            await add(ledger, till, 6)
        own_nats_server.start()

        async def back() -> int:
            try:
                return await add(ledger, till, 7)
            except LogUnavailable:
                return 0

        assert await eventually(back) == 2
        assert await reckon(ledger, till) == 12


async def test_who_wrote_nothing_lately_sees_before_it_writes_that_the_log_lost_its_end(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    """Power fails: the servers lose what they had not synced, and would give its sequences anew."""
    server, file, service = own_nats_server, tmp_path / "a.db", fresh_service()
    quiet_one, busy_one = tally("quiet"), tally("busy")
    async with (
        open_ledger(server.url, file, service=service) as busy,
        open_ledger(server.url, file, service=service) as quiet,
    ):
        assert await add(quiet, quiet_one, 5) == 1
        await asyncio.to_thread(server.stop)
        shutil.copytree(server.store, tmp_path / "synced")
        await asyncio.to_thread(server.start)

        async def written() -> bool:
            try:
                await add(busy, busy_one, 7)
            except LogUnavailable:
                return False
            return True

        await eventually(written)
        assert (await quiet.read(quiet_one)).version == 1
        last = (await busy.engine.log.ends()).last

        async def kept() -> bool:
            return await quiet.engine.archive.newest_seq() >= last

        await eventually(kept)  # a CQL store is told how far the log is now and then
        server.kill()
        server.wipe()
        shutil.copytree(tmp_path / "synced", server.store)
        await asyncio.to_thread(server.start)

        async def refused() -> bool:
            try:
                await add(quiet, quiet_one, 6)
            except LogLost:
                return True
            except LogUnavailable:
                return False
            raise AssertionError("it was written under a sequence that was given before")

        await eventually(refused)
