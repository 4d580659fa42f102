"""What every store must do for the ledger (`services.ledger.archive.Archive`). Adding an adapter is adding a line to ADAPTERS."""

import asyncio
import os
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ledger.archive import Archive, Head, Position, Row, Snapshot, StoredEntry, Write
from services.ledger.errors import StoreUnavailable
from services.ledger.lane import Lane
from services.ledger.sqlite import SqliteArchive

KEY = "acme/tally/till"


async def open_sqlite(folder: Path) -> Archive:
    """The embedded default."""
    return SqliteArchive.open(folder / "archive.db")


ADAPTERS: dict[str, Callable[[Path], Awaitable[Archive]]] = {"sqlite": open_sqlite}


@pytest.fixture(params=list(ADAPTERS.values()), ids=list(ADAPTERS))
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    """An empty store."""
    opened: Archive = await request.param(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(params=list(ADAPTERS.values()), ids=list(ADAPTERS))
def opener(request: pytest.FixtureRequest) -> Callable[[Path], Awaitable[Archive]]:
    """How to open a store."""
    chosen: Callable[[Path], Awaitable[Archive]] = request.param
    return chosen


def write(
    first: int, events: int, seq: int, *, key: str = KEY, data: bytes | None = None, ids: Sequence[bytes] = (),
    rows: Sequence[Row] = (), newest_request_ms: int = 0,
) -> Write:  # fmt: skip
    """An entry of some events, as the ledger stores it."""
    content = data if data is not None else f"{first}@{seq}".encode()
    head = Head(first + events - 1, seq, newest_request_ms)
    return Write(key, StoredEntry(first, seq, content), head, list(ids), list(rows))


async def store_run(archive: Archive, sizes: Sequence[int], *, key: str = KEY, seq: int = 100) -> list[StoredEntry]:
    """Entries of these sizes, one after the other; answers them."""
    stored = []
    first = 1
    for size in sizes:
        one = write(first, size, seq, key=key)
        await archive.store(one)
        stored.append(one.entry)
        first += size
        seq += 3
    return stored


async def test_an_empty_store_answers_nothing(archive: Archive) -> None:
    loaded = await archive.load(KEY)
    assert (loaded.head, loaded.snapshot, list(loaded.entries), loaded.complete) == (None, None, [], True)
    assert await archive.head(KEY) is None
    assert list(await archive.entries(KEY, limit=5)) == []
    assert list(await archive.entries(KEY, before=9, limit=5)) == []
    assert await archive.find_request(KEY, b"x" * 16) is None
    assert await archive.row("t", "p", "k") is None
    assert list(await archive.rows("t", "p", limit=5)) == []
    assert await archive.position("r", "s", 0) is None
    assert await archive.epoch("chat") is None
    assert await archive.newest_seq() == 0
    scanned = await archive.scan(after_seq=0, limit=5)
    assert (list(scanned.entries), scanned.next_place) == ([], "")


async def test_what_is_stored_is_loaded_in_order(archive: Archive) -> None:
    stored = await store_run(archive, [1, 3, 1, 2])
    loaded = await archive.load(KEY)
    assert list(loaded.entries) == stored
    assert loaded.head == Head(7, 109)
    assert loaded.complete
    assert await archive.head(KEY) == Head(7, 109)
    assert await archive.newest_seq() == 109


async def test_entries_are_paged_both_ways_in_whole_entries(archive: Archive) -> None:
    one, two, three, four = await store_run(archive, [2, 3, 1, 4])  # versions 1-2, 3-5, 6, 7-10
    assert list(await archive.entries(KEY, limit=2)) == [one, two]
    assert list(await archive.entries(KEY, after=1, limit=1)) == [one]
    assert list(await archive.entries(KEY, after=2, limit=2)) == [two, three]
    assert list(await archive.entries(KEY, after=3, limit=2)) == [two, three]
    assert list(await archive.entries(KEY, after=5, limit=9)) == [three, four]
    assert list(await archive.entries(KEY, after=9, limit=9)) == [four]
    assert list(await archive.entries(KEY, after=10, limit=9)) == []
    assert list(await archive.entries(KEY, before=11, limit=2)) == [four, three]
    assert list(await archive.entries(KEY, before=10, limit=1)) == [four]
    assert list(await archive.entries(KEY, before=7, limit=2)) == [three, two]
    assert list(await archive.entries(KEY, before=6, limit=9)) == [two, one]
    assert list(await archive.entries(KEY, before=4, limit=9)) == [two, one]
    assert list(await archive.entries(KEY, before=1, limit=9)) == []
    assert list(await archive.entries(KEY, before=1000, limit=1)) == [four]


async def test_aggregates_do_not_mix(archive: Archive) -> None:
    other = "acme/tally/till 2"
    stored = await store_run(archive, [1, 1])
    elsewhere = await store_run(archive, [2], key=other, seq=200)
    assert list((await archive.load(KEY)).entries) == stored
    assert list((await archive.load(other)).entries) == elsewhere
    await archive.store(write(3, 1, 300, ids=[b"a" * 16]))
    assert await archive.find_request(other, b"a" * 16) is None


async def test_nothing_above_the_head_is_answered(archive: Archive) -> None:
    """The entry of a lost life: the head of the next one passed it by, or it came late."""
    await archive.store(write(1, 1, 1000))
    await archive.store(write(2, 3, 1001, ids=[b"l" * 16]))
    await archive.store(write(2, 1, 2000, ids=[b"n" * 16]))
    loaded = await archive.load(KEY)
    assert [entry.seq for entry in loaded.entries] == [1000, 2000]
    assert loaded.head == Head(2, 2000)
    assert await archive.find_request(KEY, b"l" * 16) is None
    found = await archive.find_request(KEY, b"n" * 16)
    assert found is not None
    assert found.seq == 2000


async def test_an_entry_without_events_moves_the_head_only(archive: Archive) -> None:
    """The opening of an aggregate in a new life of the log."""
    await archive.store(write(1, 2, 100))
    await archive.store(write(3, 0, 5000))
    assert await archive.head(KEY) == Head(2, 5000)
    assert [e.seq for e in await archive.entries(KEY, limit=9)][:1] == [100]
    assert [e.seq for e in await archive.entries(KEY, before=3, limit=9)] == [100]
    await archive.store(write(3, 1, 5001))
    assert [e.seq for e in (await archive.load(KEY)).entries] == [100, 5001]
    assert [e.seq for e in await archive.entries(KEY, before=9, limit=9)] == [5001, 100]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Write], list[int]]:
    """Writes of one aggregate with ever higher sequences, some versions twice, and an order with repetitions."""
    writes: list[Write] = []
    first, seq = 1, 100
    for number in range(draw(st.integers(1, 5))):
        size = draw(st.integers(1, 3))
        rows = [Row("totals", "acme", draw(st.sampled_from("ab")), draw(st.sampled_from([b"1", b"2", None])))]
        if draw(st.booleans()):  # a late writer of a lost life wrote the same version before
            writes.append(write(first, size, seq, ids=[b"%016d" % seq], rows=rows))
            seq += 7
        rows = [Row("totals", "acme", draw(st.sampled_from("ab")), b"%d" % number)]
        writes.append(write(first, size, seq, ids=[b"%016d" % seq], rows=rows, newest_request_ms=seq))
        first, seq = first + size, seq + 5
    order = draw(st.permutations(range(len(writes))))
    repeated = draw(st.lists(st.sampled_from(range(len(writes))), max_size=6))
    return writes, [*order, *repeated]


@settings(max_examples=15)
@given(history=histories())
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_the_higher_sequence_wins_in_any_order_and_any_number_of_times(
    adapter: str, history: tuple[list[Write], list[int]]
) -> None:
    writes, order = history
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        straight, shuffled = await ADAPTERS[adapter](Path(one)), await ADAPTERS[adapter](Path(other))
        for each in writes:
            await straight.store(each)
        await asyncio.gather(*(shuffled.store(writes[place]) for place in order))
        for answer in (_loaded, _found, _rows):
            assert await answer(straight, writes) == await answer(shuffled, writes)
        assert await straight.newest_seq() == await shuffled.newest_seq() == writes[-1].entry.seq
        await straight.close()
        await shuffled.close()


async def _loaded(archive: Archive, _writes: Sequence[Write]) -> object:
    loaded = await archive.load(KEY)
    return loaded.head, list(loaded.entries)


async def _found(archive: Archive, writes: Sequence[Write]) -> object:
    return [await archive.find_request(KEY, each.request_ids[0]) for each in writes]


async def _rows(archive: Archive, _writes: Sequence[Write]) -> object:
    return list(await archive.rows("totals", "acme", limit=9))


async def test_request_ids_lead_to_their_entries(archive: Archive) -> None:
    await archive.store(write(1, 1, 100, ids=[b"a" * 16, b"b" * 16]))
    await archive.store(write(2, 1, 101, ids=[b"c" * 16]))
    for ident, seq in ((b"a", 100), (b"b", 100), (b"c", 101)):
        found = await archive.find_request(KEY, ident * 16)
        assert found is not None
        assert found.seq == seq
    assert await archive.find_request(KEY, b"d" * 16) is None


async def test_the_newest_request_id_s_time_is_kept_with_the_head(archive: Archive) -> None:
    await archive.store(write(1, 1, 100, newest_request_ms=500))
    await archive.store(write(2, 1, 101, newest_request_ms=400))
    head = await archive.head(KEY)
    assert head is not None
    assert head.newest_request_ms == 500


async def test_rows_are_paged_by_key_both_ways(archive: Archive) -> None:
    keys = ["", "a", "a/b", "aa", "b", "z", "é", "\U0001f600", "\U0010ffff", "\U0010ffffa"]
    assert keys == sorted(keys, key=str.encode)
    await archive.put_rows([Row("t", "p", key, key.encode(), seq=1) for key in reversed(keys)])
    await archive.put_rows([Row("t", "q", "a", b"other"), Row("u", "p", "a", b"other")])
    assert [row.key for row in await archive.rows("t", "p", limit=99)] == keys
    assert [row.key for row in await archive.rows("t", "p", limit=99, descending=True)] == keys[::-1]
    for descending, expected in ((False, keys), (True, keys[::-1])):
        paged: list[str] = []
        after = None
        while page := await archive.rows("t", "p", after=after, limit=3, descending=descending):
            assert len(page) <= 3
            paged += [row.key for row in page]
            after = page[-1].key
        assert paged == expected
    assert [row.key for row in await archive.rows("t", "p", after="aaa", limit=2)] == ["b", "z"]
    assert [row.key for row in await archive.rows("t", "p", after="aaa", limit=2, descending=True)] == ["aa", "a/b"]


async def test_the_last_writer_of_a_row_wins_and_none_deletes(archive: Archive) -> None:
    async def value() -> bytes | None:
        row = await archive.row("t", "p", "k")
        return row.value if row else None

    for seq, given_value, expected in (
        (10, b"ten", b"ten"), (5, b"five", b"ten"), (5, None, b"ten"), (11, None, None), (10, b"ten", None),
        (12, b"twelve", b"twelve"), (12, b"same sequence", b"same sequence"),
    ):  # fmt: skip
        await archive.put_rows([Row("t", "p", "k", given_value, seq)])
        assert await value() == expected
        assert [row.value for row in await archive.rows("t", "p", limit=9)] == ([expected] if expected else [])
    await archive.store(write(1, 1, 13, rows=[Row("t", "p", "k", b"thirteen")]))
    row = await archive.row("t", "p", "k")
    assert row == Row("t", "p", "k", b"thirteen", 13)


async def test_large_values_come_back_whole(archive: Archive) -> None:
    large = bytes(range(256)) * 4096
    await archive.store(write(1, 1, 100, data=large, rows=[Row("t", "p", "k", large)]))
    await archive.put_snapshot(KEY, Snapshot(1, 100, large))
    loaded = await archive.load(KEY)
    assert loaded.entries == [] or loaded.entries[0].data == large
    assert loaded.snapshot == Snapshot(1, 100, large)
    assert (await archive.entries(KEY, limit=1))[0].data == large
    row = await archive.row("t", "p", "k")
    assert row is not None
    assert row.value == large


async def test_a_page_of_large_entries_is_short_and_never_empty(archive: Archive) -> None:
    for number in range(1, 7):
        await archive.store(write(number, 1, 100 + number, data=b"x" * 1_000_000))
    for way in ({"after": 0}, {"before": 7}):
        page = await archive.entries(KEY, limit=100, **way)
        assert 1 <= len(page) <= 6
    seen: list[int] = []
    while page := await archive.entries(KEY, after=len(seen), limit=100):
        seen += [entry.first_version for entry in page]
    assert seen == [1, 2, 3, 4, 5, 6]
    place, keys = "", 0
    while True:
        scanned = await archive.scan(after_seq=0, place=place, limit=100)
        assert sum(len(entry.data) for _, entry in scanned.entries) <= 1_000_000
        keys += len(scanned.entries)
        if not (place := scanned.next_place):
            break
    assert keys == 6


async def test_a_long_history_is_loaded_in_pages(archive: Archive) -> None:
    await asyncio.gather(*(archive.store(write(number, 1, 100 + number)) for number in range(1, 6001)))
    loaded = await archive.load(KEY)
    seen = [entry.first_version for entry in loaded.entries]
    complete = loaded.complete
    while not complete:
        page = await archive.entries(KEY, after=seen[-1], limit=4096)
        seen += [entry.first_version for entry in page]
        complete = seen[-1] == 6000
    assert seen == list(range(1, 6001))


async def test_a_snapshot_counts_only_where_the_entry_that_ends_there_has_its_sequence(archive: Archive) -> None:
    await store_run(archive, [2, 3, 1])  # 1-2 @100, 3-5 @103, 6 @106
    for snapshot, counts in (
        (Snapshot(2, 100, b"two"), True), (Snapshot(5, 102, b"lost life"), False), (Snapshot(5, 103, b"five"), True),
        (Snapshot(6, 106, b"six"), True), (Snapshot(7, 110, b"above"), False),
    ):  # fmt: skip
        await archive.put_snapshot(KEY, snapshot)
        loaded = await archive.load(KEY)
        assert (loaded.snapshot == snapshot) is counts
        if counts:
            assert loaded.entries == [] or loaded.entries[0].first_version == snapshot.version + 1
        else:
            assert loaded.snapshot is None
            assert [entry.first_version for entry in loaded.entries] == [1, 3, 6]


async def test_an_older_snapshot_does_not_replace_a_newer_one(archive: Archive) -> None:
    await store_run(archive, [2, 3, 1])
    await archive.put_snapshot(KEY, Snapshot(6, 106, b"six"))
    await archive.put_snapshot(KEY, Snapshot(2, 100, b"two"))
    assert (await archive.load(KEY)).snapshot == Snapshot(6, 106, b"six")


async def test_a_position_never_goes_back(archive: Archive) -> None:
    for given_position, expected in (
        (Position(100, 110), Position(100, 110)), (Position(100, 105), Position(100, 110)),
        (Position(200, 199), Position(200, 199)), (Position(100, 900), Position(200, 199)),
        (Position(200, 210), Position(200, 210)),
    ):  # fmt: skip
        await archive.put_position("saga", "order", 1, given_position)
        assert await archive.position("saga", "order", 1) == expected
    assert await archive.position("saga", "order", 0) is None
    assert await archive.position("mail", "order", 1) is None
    assert await archive.position("saga", "chat", 1) is None


async def test_an_epoch_is_registered_by_comparison(archive: Archive) -> None:
    assert await archive.register_epoch("chat", 100, None) == 100
    assert await archive.register_epoch("chat", 101, None) == 100
    assert await archive.register_epoch("chat", 200, 99) == 100
    assert await archive.register_epoch("chat", 200, 100) == 200
    assert await archive.register_epoch("chat", 300, 100) == 200
    assert await archive.epoch("chat") == 200
    assert await archive.epoch("mail") is None


async def test_of_many_who_register_an_epoch_one_wins(
    opener: Callable[[Path], Awaitable[Archive]], tmp_path: Path
) -> None:
    """Every opened store is a server of its own; they agree."""
    servers = [await opener(tmp_path) for _ in range(4)]
    first = await asyncio.gather(*(s.register_epoch("chat", 10 + n, None) for n, s in enumerate(servers)))
    assert len(set(first)) == 1
    second = await asyncio.gather(*(s.register_epoch("chat", 20 + n, first[0]) for n, s in enumerate(servers)))
    assert len(set(second)) == 1
    assert second[0] >= 20
    for server in servers:
        assert await server.epoch("chat") == second[0]
        await server.close()


async def test_of_processes_that_register_an_epoch_one_wins(tmp_path: Path) -> None:
    """The embedded default may be shared by processes."""
    program = (
        "import asyncio, pathlib, sys\n"
        "from services.ledger.sqlite import SqliteArchive\n"
        "async def main():\n"
        "    archive = SqliteArchive.open(pathlib.Path(sys.argv[1]))\n"
        "    print(await archive.register_epoch('chat', int(sys.argv[2]), None))\n"
        "    await archive.close()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    servers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(tmp_path / "a.db"), str(10 + n), cwd=root,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "clients" / "python")])},
            stdout=asyncio.subprocess.PIPE,
        )
        for n in range(3)
    ]  # fmt: skip
    answers = [(await server.communicate())[0] for server in servers]
    assert len(set(answers)) == 1
    assert int(answers[0]) in (10, 11, 12)


async def test_two_servers_share_a_store(opener: Callable[[Path], Awaitable[Archive]], tmp_path: Path) -> None:
    one, other = await opener(tmp_path), await opener(tmp_path)
    await asyncio.gather(
        *((one, other)[n % 2].store(write(1, 1, 100 + n, key=f"acme/tally/{n}")) for n in range(100))
    )
    for n in range(100):
        assert await (other, one)[n % 2].head(f"acme/tally/{n}") == Head(1, 100 + n)
    await one.close()
    await other.close()


async def test_what_was_answered_is_there_after_opening_again(
    opener: Callable[[Path], Awaitable[Archive]], tmp_path: Path
) -> None:
    first = await opener(tmp_path)
    stored = await store_run(first, [1, 2])
    await first.close()
    second = await opener(tmp_path)
    assert list((await second.load(KEY)).entries) == stored
    await second.close()


async def test_a_scan_gives_every_entry_above_a_sequence_once(archive: Archive) -> None:
    expected = []
    for n, key in enumerate(("acme/tally/a", "acme/tally/a:b", "acme/tally/b", "beta/tally/a")):
        stored = await store_run(archive, [1, 2, 1], key=key, seq=100 + 10 * n)
        expected += [(key, entry) for entry in stored if entry.seq > 105]
    for limit in (1, 2, 3, 100):
        found, place = [], ""
        while True:
            page = await archive.scan(after_seq=105, place=place, limit=limit)
            assert len(page.entries) <= limit
            found += list(page.entries)
            if not (place := page.next_place):
                break
        assert found == expected


async def test_a_closed_store_says_so(archive: Archive) -> None:
    await archive.store(write(1, 1, 100))
    await archive.close()
    with pytest.raises(StoreUnavailable):
        await archive.store(write(2, 1, 101))
    with pytest.raises(StoreUnavailable):
        await archive.load(KEY)
    with pytest.raises(StoreUnavailable):
        await archive.row("t", "p", "k")


async def test_what_is_queued_is_done_before_closing(
    opener: Callable[[Path], Awaitable[Archive]], tmp_path: Path
) -> None:
    first = await opener(tmp_path)
    waiting = asyncio.gather(*(first.store(write(n, 1, 100 + n)) for n in range(1, 51)))
    await asyncio.sleep(0)
    await first.close()
    await waiting
    second = await opener(tmp_path)
    assert await second.head(KEY) == Head(50, 150)
    await second.close()


class TestSqlite:
    """What is SQLite's own: one file that can fail, and the lanes before it."""

    async def test_no_archive_is_refused_at_opening(self, tmp_path: Path) -> None:
        (tmp_path / "a.db").write_bytes(b"this is no database, but it is long enough to be looked at" * 100)
        with pytest.raises(StoreUnavailable):
            SqliteArchive.open(tmp_path / "a.db")

    async def test_a_file_that_is_locked_refuses_and_recovers(self, tmp_path: Path) -> None:
        archive = SqliteArchive.open(tmp_path / "a.db")
        archive._writer_connection.execute("PRAGMA busy_timeout=50")
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await archive.store(write(1, 1, 100))
        assert await archive.head(KEY) is None  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        await archive.store(write(1, 1, 100))
        assert await archive.head(KEY) == Head(1, 100)
        await archive.close()

    async def test_a_full_disk_refuses_and_recovers(self, tmp_path: Path) -> None:
        archive = SqliteArchive.open(tmp_path / "a.db")
        c = archive._writer_connection
        pages = c.execute("PRAGMA page_count").fetchone()[0]
        c.execute(f"PRAGMA max_page_count={pages + 20}")
        with pytest.raises(StoreUnavailable):
            await archive.store(write(1, 1, 100, data=b"x" * 1_000_000))
        await archive.store(write(1, 1, 100, data=b"small"))
        c.execute("PRAGMA max_page_count=100000")
        await archive.store(write(2, 1, 101, data=b"x" * 1_000_000))
        assert [entry.seq for entry in (await archive.load(KEY)).entries] == [100, 101]
        await archive.close()

    async def test_a_read_only_file_refuses_and_still_reads(self, tmp_path: Path) -> None:
        archive = SqliteArchive.open(tmp_path / "a.db")
        await archive.store(write(1, 1, 100))
        archive._writer_connection.execute("PRAGMA query_only=ON")
        for attempt in (
            archive.store(write(2, 1, 101)),
            archive.put_rows([Row("t", "p", "k", b"v")]),
            archive.put_snapshot(KEY, Snapshot(1, 100, b"")),
            archive.put_position("r", "s", 0, Position(1, 1)),
            archive.register_epoch("chat", 1, None),
        ):
            with pytest.raises(StoreUnavailable):
                await attempt
        assert await archive.head(KEY) == Head(1, 100)
        archive._writer_connection.execute("PRAGMA query_only=OFF")
        await archive.store(write(2, 1, 101))
        await archive.close()

    async def test_a_value_it_cannot_hold_fails_alone(self, tmp_path: Path) -> None:
        archive = SqliteArchive.open(tmp_path / "a.db")
        answers = await asyncio.gather(
            archive.store(write(1, 1, 100)),
            archive.store(write(1, 1, 1 << 70, key="acme/tally/too far")),
            archive.put_rows([Row("t", "p", "\ud800", b"no text")]),
            archive.store(write(1, 1, 101, key="acme/tally/other")),
            return_exceptions=True,
        )
        assert [type(answer).__name__ for answer in answers] == [
            "NoneType", "StoreUnavailable", "StoreUnavailable", "NoneType",
        ]  # fmt: skip
        await archive.store(write(2, 1, 102))
        assert await archive.head(KEY) == Head(2, 102)
        await archive.close()

    async def test_a_full_lane_refuses_at_once_and_recovers(self) -> None:
        gate: asyncio.Queue[None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def work(jobs: Sequence[int]) -> Sequence[int]:
            asyncio.run_coroutine_threadsafe(gate.get(), loop).result()
            return [job * 2 for job in jobs]

        lane: Lane[int] = Lane("test", work, batch=2, capacity=4)
        first = lane.submit(1)
        while lane._jobs:
            await asyncio.sleep(0.001)
        waiting = [lane.submit(n) for n in range(2, 6)]
        with pytest.raises(StoreUnavailable):
            lane.submit(6)
        for _ in range(4):
            gate.put_nowait(None)
        assert await asyncio.gather(first, *waiting) == [2, 4, 6, 8, 10]
        last = lane.submit(7)
        assert await last == 14
        await lane.close()
        with pytest.raises(StoreUnavailable):
            lane.submit(8)
