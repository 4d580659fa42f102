"""Loading: void entries, holes, subjects that aged out, slow stores, snapshots; what the rules say of each."""

import asyncio
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import nats as nats_client
import pytest
from tradewind.ledger.v1 import entry_pb2

from services.ledger.archive import Snapshot, Write
from services.ledger.engine import Limits, NoTracer
from services.ledger.errors import Contention, HistoryGap, LogLost, StoreUnavailable
from services.ledger.ids import request_bytes
from services.ledger.ledger import Ledger
from services.ledger.log import LogSettings, stream_name
from services.ledger.sqlite import SqliteArchive
from tests.integration.ledger_world import (
    Seen,
    add,
    append_by_hand,
    decoded,
    fresh_service,
    reckon,
    whole_history,
)
from tests.servers import NatsServer
from tests.tally import TALLY, Add, encode, eventually, fresh_request, open_ledger, tally


def entry(first: int, base_seq: int, *amounts: int) -> entry_pb2.Entry:
    """An entry as another server would have written it."""
    request = fresh_request()
    return entry_pb2.Entry(
        first_version=first, base_version=first - 1, base_seq=base_seq,
        events=[encode(amount, first + n) for n, amount in enumerate(amounts)],
        commands=[entry_pb2.Command(request_id=request_bytes(request.id), events=len(amounts))],
    )  # fmt: skip


def last_seq(ledger: Ledger, name: str) -> int:
    """The log sequence of a tally's last entry, as the server knows it."""
    standing = ledger._residents[tally(name)].standing
    assert standing is not None
    return standing.last_seq


async def test_void_entries_are_skipped_by_everybody(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till, seen = fresh_service(), tally("till"), Seen()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        ledger.consume("reader", seen)
        await add(ledger, till, 5)
        first = last_seq(ledger, "till")
        await add(ledger, till, 6)
        watcher = ledger.watcher()
        await watcher.add(till, after=0)
        await append_by_hand(ledger, till, entry(2, first, 100))  # its writer had not seen the second entry
        await append_by_hand(ledger, till, entry(1, 0, 1000))
        assert (await ledger.read(till)).state.total == 11
        await add(ledger, till, 7)
        assert await seen.until(till, 3) == [1, 2, 3]
        shown: list[bytes] = []
        while len(shown) < 3:
            shown += [event for frame in await watcher.ready() for event in decoded(frame.data)]
        assert shown == [encode(5, 1), encode(6, 2), encode(7, 3)]
        assert await reckon(ledger, till) == 18
        watcher.close()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as later:
        assert await reckon(later, till) == 18


async def test_a_hole_is_refused_and_nothing_guessed(nats_server: NatsServer, tmp_path: Path) -> None:
    till, other = tally("till"), tally("other")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await add(ledger, till)
        await append_by_hand(ledger, till, entry(3, last_seq(ledger, "till") + 1, 5))
        with pytest.raises(HistoryGap):
            await ledger.read(till)
        with pytest.raises(HistoryGap):
            await add(ledger, till)
        assert await add(ledger, other) == 1
        assert len(await whole_history(ledger, till)) == 1


async def test_what_is_no_entry_is_refused_buried_and_harms_nobody_else(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    seen, till, other = Seen(), tally("till"), tally("other")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.consume("reader", seen)
        await add(ledger, till)
        await ledger._nats.jetstream().publish(ledger.engine.log.subject(till), b"\xff\xff\xff no entry")
        with pytest.raises(HistoryGap):
            await ledger.read(till)
        await add(ledger, other)
        assert await seen.until(other, 1) == [1]

        async def letters() -> list[Any]:
            return list(await ledger.dead_letters(0, 10))

        [(_, letter)] = await eventually(letters)
        assert letter.reason == "HISTORY_GAP"


async def test_an_entry_of_an_aggregate_nobody_knows_the_beginning_of_shows_a_hole(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await append_by_hand(ledger, till, entry(8, ledger.epoch + 3, 5))
        with pytest.raises(HistoryGap):
            await ledger.read(till)


async def test_a_subject_that_aged_out_goes_on_densely(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as other,
    ):
        for expected in (1, 4, 7):
            assert await add(one, till) == expected
            await one._nats.jetstream().purge_stream(
                stream_name(one.settings.service, one.epoch), subject=one.engine.log.subject(till)
            )
            assert await add(other, till) == expected + 1
            assert await add(one, till) == expected + 2
            await one._nats.jetstream().purge_stream(
                stream_name(one.settings.service, one.epoch), subject=one.engine.log.subject(till)
            )
        assert await reckon(one, till) == await reckon(other, till) == 9
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as later:
        assert await add(later, till) == 10


async def test_an_old_fence_of_zero_does_not_count(nats_server: NatsServer, tmp_path: Path) -> None:
    """Two servers hold fence 0; the winner's entry is stored and ages out; the loser, late, must look again."""
    service, till = fresh_service(), tally("till")
    strict = Limits(fence_zero_within=0.3)
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as winner,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service, limits=strict) as loser,
    ):
        assert (await loser.read(till)).version == 0
        await add(winner, till, 5)
        await winner._nats.jetstream().purge_stream(
            stream_name(winner.settings.service, winner.epoch), subject=winner.engine.log.subject(till)
        )
        resident = loser._residents[till]
        assert resident.standing is not None
        resident.current = True  # it heard nothing
        resident.standing.read_at -= 1.0  # and a long time passed
        assert await add(loser, till, 7) == 2
        assert loser.counters.fences_lost == 1
        assert await reckon(winner, till) == 12


async def test_a_server_that_can_never_be_quick_enough_at_fence_zero_refuses(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with open_ledger(
        nats_server.url, tmp_path / "a.db", service=fresh_service(), limits=Limits(fence_zero_within=-1.0)
    ) as ledger:
        with pytest.raises(Contention):
            await add(ledger, tally("till"))


async def test_a_store_slower_than_believed_is_asked_again(nats_server: NatsServer, tmp_path: Path) -> None:
    """Rule 5: an answer later than D counts only if this life of the log is still the registered one."""
    service, till = fresh_service(), tally("till")
    async with open_ledger(
        nats_server.url, tmp_path / "a.db", service=service, limits=Limits(acknowledge_within=0.2)
    ) as ledger:
        await add(ledger, till)
        archive: Any = ledger.engine.archive
        store, asked, epoch = archive.store, [], archive.epoch

        async def slowly(write: Write) -> None:
            await store(write)
            await asyncio.sleep(0.3)

        async def noted(service: str) -> Any:
            asked.append(service)
            return await epoch(service)

        async def over(service: str) -> Any:
            return ledger.epoch + 1

        ledger._guard.over.set()  # it looks by itself otherwise
        archive.store, archive.epoch = slowly, noted
        assert await add(ledger, till) == 2
        assert service in asked
        archive.epoch = over
        with pytest.raises(LogLost):
            await add(ledger, till)
        archive.store, archive.epoch = store, epoch
        assert await reckon(ledger, till) == 3


async def test_a_repair_of_a_slow_store_is_announced_by_nobody_before_its_time(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    till = tally("till")
    async with open_ledger(
        nats_server.url, tmp_path / "a.db", service=fresh_service(), limits=Limits(acknowledge_within=0.2)
    ) as ledger:
        await add(ledger, till)
        archive: Any = ledger.engine.archive
        store = archive.store

        async def slowly(write: Write) -> None:
            await store(write)
            await asyncio.sleep(0.3)

        archive.store = slowly
        seq = await append_by_hand(ledger, till, entry(2, last_seq(ledger, "till"), 5))
        assert (await ledger.read(till)).version == 2  # the second look finds it stored, in time
        assert not ledger._stored.knows(seq)
        archive.store = store


async def test_a_store_that_fails_is_made_good_by_the_next_load(nats_server: NatsServer, tmp_path: Path) -> None:
    till = tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        await add(ledger, till)
        archive: Any = ledger.engine.archive
        store = archive.store

        async def broken(_write: Write) -> None:
            raise StoreUnavailable("the disk is full")

        archive.store = broken
        request = fresh_request()
        with pytest.raises(StoreUnavailable):
            await ledger.execute(till, Add(7), request)
        archive.store = store
        receipt = await ledger.execute(till, Add(7), request)
        assert (receipt.first_version, receipt.replayed) == (2, True)
        assert await reckon(ledger, till) == 8


async def test_five_thousand_events_load_from_a_snapshot(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        await asyncio.gather(*(ledger.submit(till, Add(1), fresh_request()) for _ in range(5000)))
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as later:
        loaded = await later.engine.archive.load(till.key)
        assert loaded.snapshot is not None
        assert loaded.snapshot.version >= 3000
        assert sum(len(entry_pb2.Entry.FromString(e.data).events) for e in loaded.entries) <= 2048
        view = await later.read(till)
        assert (view.version, view.state.total, view.state.steps) == (5000, 5000, 5000)
        assert (await later.read_at(till, 1234)).state.total == 1234
        assert await reckon(later, till) == 5000


async def test_an_aggregate_that_comes_and_goes_gets_its_snapshots(nats_server: NatsServer, tmp_path: Path) -> None:
    """Loaded often and written a little each time, it is still not folded from its first event for ever."""
    service, till = fresh_service(), tally("till")
    for _ in range(5):
        async with open_ledger(
            nats_server.url, tmp_path / "a.db", service=service, limits=Limits(snapshot_every=10)
        ) as ledger:
            for _ in range(4):
                await add(ledger, till)
    archive = SqliteArchive.open(tmp_path / "a.db")
    snapshot = (await archive.load(till.key)).snapshot
    await archive.close()
    assert snapshot is not None
    assert snapshot.version >= 10


async def test_a_snapshot_that_is_not_the_row_s_own_does_not_count(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        await add(ledger, till)
        await add(ledger, till)
        seq = last_seq(ledger, "till")
        lie = b'{"total": 999, "steps": 2, "wake_at": 0}'
        await ledger.engine.archive.put_snapshot(till.key, Snapshot(2, seq - 1, lie))
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as later:
        assert await reckon(later, till) == 2


async def test_a_reader_beside_a_busy_writer_is_never_told_that_the_log_is_lost(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Between a load's two reads another server writes, again and again; the load goes on from there."""
    service, till = fresh_service(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as writer,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as reader,
    ):
        await add(writer, till)
        archive: Any = reader.engine.archive
        head, load = archive.head, archive.load

        async def late_head(key: str) -> Any:
            await add(writer, till)
            return await head(key)

        async def late_load(key: str) -> Any:
            await add(writer, till)
            return await load(key)

        archive.head, archive.load = late_head, late_load
        assert (await reader.read(till)).version >= 2
        for earlier in itertools.islice(itertools.count(2), 5):
            view = await reader.refresh(till)
            assert view.version > earlier
        archive.head, archive.load = head, load
        assert await reckon(reader, till) == await reckon(writer, till)


async def test_a_read_model_that_fails_writes_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    """A defect in a read model is found before the append, not after it."""

    def defect(*_: object) -> Any:
        raise ZeroDivisionError

    till = tally("till")
    client = await nats_client.connect(nats_server.url)
    archive = SqliteArchive.open(tmp_path / "a.db")
    kind = dataclasses.replace(TALLY, rows=defect)
    ledger = await Ledger.open(client, archive, NoTracer(), LogSettings(fresh_service(), partitions=1), [kind])
    with pytest.raises(ZeroDivisionError):
        await add(ledger, till)
    assert (await ledger.read(till)).version == 0
    await ledger.close()
    await archive.close()
    await client.close()
