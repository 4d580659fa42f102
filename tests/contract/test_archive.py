"""What every store must do for the ledger (`services.ledger.archive.Archive`): entries, request ids, rows, snapshots."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ledger.archive import Archive, Head, Row, Snapshot, Write
from tests.contract.stores import KEY, store_run, write


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


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
async def test_the_higher_sequence_wins_in_any_order_and_any_number_of_times(
    archive: Archive, history: tuple[list[Write], list[int]]
) -> None:
    """On one store: each example has aggregates and rows of its own."""
    writes, order = history
    straight, shuffled = (_elsewhere(writes, uuid.uuid4().hex) for _ in range(2))
    for each in straight:
        await archive.store(each)
    await asyncio.gather(*(archive.store(shuffled[place]) for place in order))
    for answer in (_loaded, _found, _rows):
        assert await answer(archive, straight) == await answer(archive, shuffled)


def _elsewhere(writes: Sequence[Write], key: str) -> list[Write]:
    """The same writes to another aggregate and another partition of the read model."""
    return [
        replace(each, key=key, rows=[replace(row, partition=f"acme {key}") for row in each.rows]) for each in writes
    ]


async def test_the_newest_sequence_is_the_highest_whatever_came_last(archive: Archive) -> None:
    await asyncio.gather(*(archive.store(write(1, 1, seq, key=f"acme/tally/{seq}")) for seq in (100, 300, 200)))
    assert await archive.newest_seq() == 300


async def _loaded(archive: Archive, writes: Sequence[Write]) -> object:
    loaded = await archive.load(writes[0].key)
    return loaded.head, list(loaded.entries)


async def _found(archive: Archive, writes: Sequence[Write]) -> object:
    return [await archive.find_request(each.key, each.request_ids[0]) for each in writes]


async def _rows(archive: Archive, writes: Sequence[Write]) -> object:
    found = await archive.rows("totals", writes[0].rows[0].partition, limit=9)
    return [(row.key, row.value, row.seq) for row in found]


async def test_request_ids_lead_to_their_entries(archive: Archive) -> None:
    await archive.store(write(1, 1, 100, ids=[b"a" * 16, b"b" * 16]))
    await archive.store(write(2, 1, 101, ids=[b"c" * 16]))
    for ident, seq in ((b"a", 100), (b"b", 100), (b"c", 101)):
        found = await archive.find_request(KEY, ident * 16)
        assert found is not None
        assert found.seq == seq
    assert await archive.find_request(KEY, b"d" * 16) is None


async def test_the_newest_request_id_s_time_is_kept_with_the_head(archive: Archive) -> None:
    """It never falls from entry to entry, whatever order they are stored in."""
    await archive.store(write(2, 1, 101, newest_request_ms=500))
    await archive.store(write(1, 1, 100, newest_request_ms=400))
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
        (12, b"twelve", b"twelve"), (12, b"twelve", b"twelve"), (11, None, b"twelve"),
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


@pytest.mark.parametrize("kept", ["kept", "kept_keys"])
async def test_all_rows_of_a_read_model_are_scanned_page_by_page(archive: Archive, kept: str) -> None:
    rows = [
        Row(kept, f"acme/{who}", f"{key:02}", b"%d" % key, key) for who in ("ann", "bob", "cy") for key in range(1, 6)
    ]
    await archive.put_rows([*rows, Row("other", "acme/ann", "01", b"x", 1)])
    await archive.put_rows([Row(kept, "acme/bob", "03", None, 9)])
    wanted = {(row.partition, row.key): row for row in rows if (row.partition, row.key) != ("acme/bob", "03")}
    for limit in (1, 4, 100):
        found: list[Row] = []
        place = ""
        while True:
            page = await archive.scan_rows(kept, place=place, limit=limit)
            assert len(page.rows) <= limit
            found += page.rows
            place = page.next_place
            if not place:
                break
        assert {(row.partition, row.key): row for row in found} == wanted
        assert len(found) == len(wanted)
    assert list((await archive.scan_rows("none", limit=5)).rows) == []
    await archive.scrub()
    assert await archive.row(kept, "acme/bob", "02") == rows[6]


async def test_a_page_of_scanned_rows_is_bounded_by_bytes_too(archive: Archive) -> None:
    large = 100_000
    rows = [Row("kept", f"acme/{who}", f"{key:02}", bytes(large), key) for who in ("ann", "bob") for key in range(1, 9)]
    rows.append(Row("kept", "acme/cy", "01", bytes(7 * large), 1))
    rows += [Row("kept", "acme/dan", f"{key:02}", b"%d" % key, key) for key in range(1, 60)]
    for start in range(0, len(rows), 4):
        await archive.put_rows(rows[start : start + 4])
    found: list[Row] = []
    place = ""
    while True:
        page = await archive.scan_rows("kept", place=place, limit=100)
        assert len(page.rows) <= 1 or sum(len(row.value or b"") for row in page.rows) <= 512 << 10
        found += page.rows
        place = page.next_place
        if not place:
            break
    assert sorted(found, key=lambda row: (row.partition, row.key)) == rows
