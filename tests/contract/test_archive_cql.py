"""What is the CQL archive's own: copies that may lack what another has, writers that die between two steps, servers that fail."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cassandra.query import BatchStatement, BatchType
from tradewind.ledger.v1 import entry_pb2

from services.ledger import cql_scan
from services.ledger.archive import Head, Row, StoredEntry, Write, entry_size
from services.ledger.cql import CqlArchive
from services.ledger.cql_places import part_of
from services.ledger.errors import StoreUnavailable
from services.migrate.apply import apply
from services.migrate.files import read
from services.runtime.cql import CqlSettings, _Batch
from tests.contract.stores import KEY, store_run, write
from tests.keyspaces import BUCKET_BYTES, Keyspaces
from tests.servers import CassandraServer, ServerFailed

ID = (1000).to_bytes(6, "big") + b"\7" * 10


@pytest.fixture
async def cql(keyspaces: Keyspaces, tmp_path: Path) -> AsyncIterator[CqlArchive]:
    """An empty archive."""
    archive = await keyspaces.open(tmp_path)
    yield archive
    await archive.close()
    keyspaces.give_back()


@pytest.fixture
async def other(cql: CqlArchive, keyspaces: Keyspaces, tmp_path: Path) -> AsyncIterator[CqlArchive]:
    """Another process on the same archive."""
    archive = await keyspaces.open(tmp_path)
    yield archive
    await archive.close()


def real_entry(seq: int, ident: bytes = ID) -> Write:
    """An entry as the ledger writes it, whose ids can be read from its bytes."""
    entry = entry_pb2.Entry(
        first_version=1, events=[b"event"], commands=[entry_pb2.Command(request_id=ident, events=1)]
    )
    data = entry.SerializeToString()
    return Write(KEY, StoredEntry(1, seq, data), Head(1, seq, 1000, entry_size(data)), [ident])


async def run(archive: CqlArchive, name: str, *values: object) -> list[tuple[object, ...]]:
    """A statement of the archive's, alone: what a writer that died there left, or one copy lacks."""
    return await archive._session.execute(archive._session[name], values)


async def test_what_is_read_is_written_back_whole_before_it_is_answered(cql: CqlArchive, other: CqlArchive) -> None:
    """Entry and head are there, the ids are not: as if the copies that have them all were asked by nobody else."""
    whole = real_entry(1000)
    head, entry = whole.head, whole.entry
    await run(
        cql, "put_entry", KEY, 0, 1, entry.seq, entry.data, head.version, head.seq, 1000, head.size, entry.seq
    )  # fmt: skip
    assert await run(cql, "ids", KEY, 0, part_of(ID)) == []
    assert await other.head(KEY) == head
    assert await run(cql, "ids", KEY, 0, part_of(ID)) == [(1, 1000, ID, 1000)]
    assert await other.find_request(KEY, ID) == entry


async def test_what_is_known_to_be_stored_is_not_written_back(cql: CqlArchive, other: CqlArchive) -> None:
    whole = real_entry(1000)
    await cql.store(whole)
    written: list[int] = []
    put = other._history.put

    async def counted(again: Write) -> None:
        written.append(again.entry.seq)
        await put(again)

    other._history.put = counted  # type: ignore[method-assign, assignment]
    other.trust(lambda seq: seq == 1000)
    assert await other.head(KEY) == whole.head
    assert written == []
    later = write(2, 1, 1001)
    await cql.store(later)
    assert (await other.load(KEY)).head == later.head
    assert written == [1001]
    assert [entry.seq for entry in await other.entries(KEY, limit=9)] == [1000, 1001]
    assert written == [1001]  # its own write-back is known to it


async def test_a_bucket_whose_writer_died_before_its_first_entry_is_passed_over(
    cql: CqlArchive, other: CqlArchive
) -> None:
    first = write(1, 1, 1000, size=BUCKET_BYTES - 1, ids=[ID])
    await cql.store(first)
    await run(cql, "put_bucket", KEY, 1, 3, 1001)
    await run(cql, "put_last_bucket", 1001, 1, KEY)
    for archive in (cql, other):
        assert await archive.head(KEY) == first.head
        assert list(await archive.entries(KEY, limit=5)) == [first.entry]
        assert list(await archive.entries(KEY, before=9, limit=5)) == [first.entry]
        assert list((await archive.load(KEY)).entries) == [first.entry]
        assert await archive.find_request(KEY, ID) == first.entry
    second = write(2, 1, 2000, size=BUCKET_BYTES + 10)  # a later life went on otherwise
    third = write(3, 1, 2001, size=BUCKET_BYTES + 200)
    await other.store(second)
    await cql.store(third)
    assert await other.head(KEY) == third.head
    assert list(await cql.entries(KEY, limit=9)) == [first.entry, second.entry, third.entry]
    assert list(await cql.entries(KEY, before=9, limit=9)) == [third.entry, second.entry, first.entry]


async def test_a_late_entry_of_a_lost_life_in_a_later_bucket_does_not_count(cql: CqlArchive) -> None:
    """It is the first of bucket 1; the next life is still in bucket 0, and then reaches bucket 1 by entries of other sizes."""
    total = BUCKET_BYTES - 500
    chain = [write(1, 1, 1000, size=total)]
    await cql.store(chain[0])
    late_end = write(2, 1, 1001, size=BUCKET_BYTES + 1, data=b"l" * (501 - 128))
    late = write(3, 1, 1002, size=BUCKET_BYTES + 300, ids=[ID])
    for number in range(2, 6):  # the next life
        total += 150
        chain.append(write(number, 1, 2000 + number, data=b"n" * (150 - 128), size=total))
        await cql.store(chain[-1])
        if number == 3:
            await cql.store(late_end)
            await cql.store(late)
        assert await cql.head(KEY) == chain[-1].head
        expected = [each.entry for each in chain]
        assert list(await cql.entries(KEY, limit=20)) == expected
        assert list(await cql.entries(KEY, before=99, limit=20)) == expected[::-1]
        assert list((await cql.load(KEY)).entries) == expected
        assert await cql.find_request(KEY, ID) is None


@pytest.mark.parametrize("version", [3, 4, 5])
async def test_a_late_entry_that_a_larger_one_covers_does_not_count(cql: CqlArchive, version: int) -> None:
    """A lost life leaves one at most: an entry is appended only after the one before it was stored."""
    await cql.store(write(1, 1, 1000))
    await cql.store(write(2, 4, 2000))
    await cql.store(write(6, 1, 2001))
    await cql.store(write(version, 1, 1001, ids=[ID]))
    assert [entry.seq for entry in await cql.entries(KEY, limit=9)] == [1000, 2000, 2001]
    assert [entry.seq for entry in await cql.entries(KEY, before=99, limit=9)] == [2001, 2000, 1000]
    for after, seq in ((1, 2000), (2, 2000), (3, 2000), (4, 2000), (5, 2001)):
        assert [entry.seq for entry in await cql.entries(KEY, after=after, limit=1)] == [seq]
        assert [entry.seq for entry in await cql.entries(KEY, before=after + 2, limit=1)] == [seq]
    assert await cql.find_request(KEY, ID) is None


async def test_a_value_it_cannot_hold_fails_alone(cql: CqlArchive) -> None:
    answers = await asyncio.gather(
        cql.store(write(1, 1, 100)),
        cql.store(write(1, 1, 1 << 70, key="acme/tally/too far")),
        cql.put_rows([Row("t", "p", "\ud800", b"no text")]),
        cql.store(write(1, 1, 101, key="acme/tally/other")),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == [
        "NoneType", "StoreUnavailable", "StoreUnavailable", "NoneType",
    ]  # fmt: skip


async def test_more_than_may_be_under_way_waits_and_more_than_may_wait_is_refused(
    keyspaces: Keyspaces, tmp_path: Path
) -> None:
    settings = keyspaces.settings(await asyncio.to_thread(keyspaces.take, tmp_path), in_flight=4, waiting=20)
    archive = await CqlArchive.open(settings, patience=60.0)
    answers = await asyncio.gather(
        *(archive.store(write(1, 1, 100 + n, key=f"acme/tally/{n}")) for n in range(100)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, StoreUnavailable)]
    assert len(refused) == 76
    assert all(answer is None or isinstance(answer, StoreUnavailable) for answer in answers)
    assert await archive.head("acme/tally/23") == Head(1, 123)
    await archive.close()
    keyspaces.give_back()


async def test_who_gives_up_is_not_waited_for(cql: CqlArchive) -> None:
    """A caller whose deadline passed: its cancelled wait takes nothing from the others."""
    tasks = [asyncio.create_task(cql.head(f"acme/tally/{n}")) for n in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    assert await asyncio.gather(*tasks[1::2]) == [None] * 25
    await cql.store(write(1, 1, 100))
    assert await cql.head(KEY) == Head(1, 100)


async def test_values_and_partition_keys_are_packed_as_the_driver_packs_them(cql: CqlArchive) -> None:
    """By which a write goes to a replica of its row first, on ScyllaDB to the shard that holds it."""
    session = cql._session
    entry = ("acme/tally/é", 3, 7, 1_700_000_000_000_000, b"\0data", 7, 8, 9, 10, 1_700_000_000_000_000)
    ids = ("acme/tally/é", 3, 16, 7, 1_700_000_000_000_000, ID, 1_700_000_000_000_000)
    ours = _Batch([(session["put_entry"], entry), (session["put_ids"], ids)])
    theirs = BatchStatement(batch_type=BatchType.UNLOGGED)
    theirs.add(session["put_entry"].prepared, entry)
    theirs.add(session["put_ids"].prepared, ids)
    assert ours._statements_and_parameters == theirs._statements_and_parameters
    assert (ours.routing_key, ours.keyspace) == (theirs.routing_key, theirs.keyspace)
    assert ours.is_idempotent
    alone = _Batch([(session["put_life"], ("chat", 5, 5))])
    assert alone.routing_key == b"chat"
    metadata = session._cluster.metadata
    assert len(metadata.get_replicas(ours.keyspace, ours.routing_key)) == 1


def settings_of(server: CassandraServer, **changes: object) -> CqlSettings:
    return CqlSettings((server.contact_point,), "dc1", "outage", **{"timeout": 20.0, **changes})  # type: ignore[arg-type]


@pytest.mark.timeout(900)
async def test_a_store_that_fails_refuses_in_time_and_is_found_again(
    own_cql_server: CassandraServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Slow, frozen, killed, started again, wiped: one server through all of it, and two archives on it."""
    caplog.set_level(logging.CRITICAL, "cassandra")
    server = own_cql_server
    opening = asyncio.create_task(CqlArchive.open(settings_of(server)))  # before its tables are there: it waits
    await asyncio.to_thread(apply, settings_of(server), read())
    archive = await opening
    impatient = await CqlArchive.open(settings_of(server, timeout=0.5))
    await store_run(archive, [1, 1])

    server.pause()
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as refusal:
        await impatient.head(KEY)
    assert time.monotonic() - started >= 0.4
    assert refusal.value.retry_after is not None
    waiting = asyncio.create_task(archive.store(write(3, 1, 200)))  # as long as it is only slow, nobody is refused
    await asyncio.sleep(0.3)
    server.resume()
    await waiting
    assert (await archive.head(KEY)) == Head(3, 200)

    await asyncio.to_thread(server.kill)
    for one in (archive, impatient):
        with pytest.raises(StoreUnavailable):
            while True:  # what was under way fails at once; so does what comes
                await one.store(write(4, 1, 300))
    with pytest.raises(StoreUnavailable):
        await CqlArchive.open(settings_of(server), patience=0.1)
    late = asyncio.create_task(CqlArchive.open(settings_of(server)))
    await asyncio.to_thread(server.start)
    for one in (archive, impatient, await late):
        assert await _answers(one, within=300.0) in (Head(3, 200), Head(4, 300))
    await archive.store(write(4, 1, 300))

    with pytest.raises(ServerFailed):
        server.wipe()  # never under its feet
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.wipe)
    await asyncio.to_thread(server.start)
    reasons: set[str] = set()
    while not any("tables" in reason for reason in reasons):  # found again, but they are gone: never an empty store
        with pytest.raises(StoreUnavailable) as refusal:
            await archive.head(KEY)
        reasons.add(str(refusal.value))
        await asyncio.sleep(0.05)
    await asyncio.to_thread(apply, settings_of(server), read())
    assert await _answers(archive, within=300.0) is None
    assert await archive.identity() is None  # by which the ledger sees that it is another store
    for one in (archive, impatient, await late):
        await one.close()


async def _answers(archive: CqlArchive, within: float) -> Head | None:
    """Waits until the archive answers again, which it does by itself; gives what it says."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await archive.head(KEY)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_a_scan_that_takes_its_time_comes_back_and_goes_on(
    cql: CqlArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many aggregates few may be wanted: who asks is answered soon, though with nothing, and asks on."""
    monkeypatch.setattr(cql_scan, "LONGEST_S", -1.0)
    for n in range(40):
        await cql.store(write(1, 1, n + 1, key=f"acme/tally/{n}"))
    found, place, empty = [], "", 0
    while True:
        page = await cql.scan(after_seq=38, place=place, limit=10)
        found += [entry.seq for _, entry in page.entries]
        empty += not page.entries
        if not (place := page.next_place):
            break
    assert sorted(found) == [39, 40]
    assert empty
