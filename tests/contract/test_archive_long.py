"""What every store must do with long histories and large read models, which some stores cut into parts."""

import asyncio
import random
from collections.abc import Sequence

from services.ledger.archive import Archive, Head, Row, Snapshot, StoredEntry, Write, entry_size
from tests.contract.stores import KEY

MIB = 1 << 20


def history(sizes: Sequence[int], *, key: str = KEY, seq: int = 1000, events: int = 1) -> list[Write]:
    """Entries with so many bytes each, as the ledger stores them: counted, with an id each, dated after its place."""
    writes, total, first = [], 0, 1
    for number, size in enumerate(sizes, 1):
        seed = random.Random(f"{key} {number}")
        data = seed.randbytes(size)
        total += entry_size(data)
        ident = (seq + number).to_bytes(6, "big") + seed.randbytes(10)
        head = Head(first + events - 1, seq + number, seq + number, total)
        writes.append(Write(key, StoredEntry(first, seq + number, data), head, [ident]))
        first += events
    return writes


async def stored(archive: Archive, writes: Sequence[Write]) -> list[StoredEntry]:
    """Stores them as the ledger does, one after the other; answers the entries."""
    for each in writes:
        await archive.store(each)
    return [each.entry for each in writes]


async def paged(archive: Archive, key: str, *, limit: int, last: int, down: bool) -> list[StoredEntry]:
    """A whole history, page by page; `last`: its last version."""
    found: list[StoredEntry] = []
    place = last + 1 if down else 0
    while True:
        page = await archive.entries(key, **({"before": place} if down else {"after": place}), limit=limit)
        if not page:
            return found
        assert len(page) <= limit
        found += page
        place = page[-1].first_version if down else page[-1].first_version + 1
        if not down and place > last:
            return found


async def test_a_long_history_is_paged_both_ways(archive: Archive) -> None:
    events = 2
    writes = history([16_000] * 16, events=events)
    entries = await stored(archive, writes)
    head = writes[-1].head
    assert await archive.head(KEY) == head
    for limit in (3, 100):
        down = await paged(archive, KEY, limit=limit, last=head.version, down=True)
        assert down == entries[::-1]
        up: list[StoredEntry] = []
        while page := await archive.entries(KEY, after=len(up) * events, limit=limit):
            up += page
        assert up == entries
    for place in (0, 4, 5, 6, 10, 11, 15):  # around where it is cut
        for inside in range(events):
            after = place * events + inside
            assert list(await archive.entries(KEY, after=after, limit=1)) == [entries[place]]
            assert list(await archive.entries(KEY, before=after + 2, limit=1)) == [entries[place]]


async def test_a_long_history_is_loaded_whole(archive: Archive) -> None:
    writes = history([14_000] * 14)
    entries = await stored(archive, writes)
    loaded = await archive.load(KEY)
    found = list(loaded.entries)
    assert loaded.head == writes[-1].head
    while not loaded.complete and found[-1] != entries[-1]:
        found += await archive.entries(KEY, after=found[-1].first_version, limit=4096)
    assert found == entries
    await archive.put_snapshot(KEY, Snapshot(10, writes[9].head.seq, b"state"))
    loaded = await archive.load(KEY)
    assert loaded.snapshot is not None
    assert list(loaded.entries) == entries[10:]
    await archive.put_snapshot(KEY, Snapshot(4, writes[3].head.seq + 10_000, b"of a lost life, later"))
    assert (await archive.load(KEY)).snapshot is None


async def test_request_ids_are_found_however_long_ago_they_were(archive: Archive) -> None:
    writes = history([18_000] * 15)
    await stored(archive, writes)
    for place in (0, 1, 4, 5, 9, 10, 13, 14):
        assert await archive.find_request(KEY, writes[place].request_ids[0]) == writes[place].entry
    assert await archive.find_request(KEY, (1000).to_bytes(6, "big") + b"\1" * 10) is None
    assert await archive.find_request(KEY, (1008).to_bytes(6, "big") + b"\1" * 10) is None
    assert await archive.find_request(KEY, (9999).to_bytes(6, "big") + b"\1" * 10) is None


async def test_a_long_history_may_be_stored_in_any_order_and_again(archive: Archive) -> None:
    writes = history([16_000] * 12)
    order = [*writes, *writes[3:6], *writes[9:]]
    random.Random(7).shuffle(order)
    for some in range(0, len(order), 6):
        await asyncio.gather(*(archive.store(each) for each in order[some : some + 6]))
    assert await archive.head(KEY) == writes[-1].head
    assert await paged(archive, KEY, limit=5, last=12, down=True) == [each.entry for each in reversed(writes)]
    for each in writes:
        assert await archive.find_request(KEY, each.request_ids[0]) == each.entry


async def test_what_was_written_of_the_next_entry_is_not_seen_before_its_head(archive: Archive) -> None:
    """Every prefix of a history is whole, also where the store begins a new part."""
    writes = history([18_000] * 11)
    for number, each in enumerate(writes, 1):
        await archive.store(each)
        assert await archive.head(KEY) == each.head
        assert list(await archive.entries(KEY, after=number - 1, limit=5)) == [each.entry]
        assert list(await archive.entries(KEY, after=number, limit=5)) == []
        assert list(await archive.entries(KEY, before=number + 5, limit=1)) == [each.entry]
        assert (await archive.load(KEY)).head == each.head


async def test_a_long_history_is_scanned_in_order(archive: Archive) -> None:
    long = await stored(archive, history([16_000] * 12, key="acme/tally/long"))
    short = await stored(archive, history([10] * 3, key="acme/tally/short", seq=5000))
    for after_seq, expected in ((0, [*long, *short]), (1008, [*long[8:], *short]), (4000, short), (9000, [])):
        found: dict[str, list[StoredEntry]] = {}
        place = ""
        while True:
            page = await archive.scan(after_seq=after_seq, place=place, limit=8)
            for key, entry in page.entries:
                found.setdefault(key, []).append(entry)
            if not (place := page.next_place):
                break
        assert found.get("acme/tally/long", []) + found.get("acme/tally/short", []) == expected


async def test_a_snapshot_may_be_larger_than_any_message(archive: Archive) -> None:
    await stored(archive, history([10, 10]))
    large = Snapshot(1, 1001, random.Random(1).randbytes(3 * MIB + 1))
    await archive.put_snapshot(KEY, large)
    loaded = await archive.load(KEY)
    assert loaded.snapshot == large
    assert [entry.first_version for entry in loaded.entries] == [2]
    small = Snapshot(2, 1002, b"small again")
    await archive.put_snapshot(KEY, small)
    assert (await archive.load(KEY)).snapshot == small
    await archive.put_snapshot(KEY, large)
    assert (await archive.load(KEY)).snapshot == small


async def test_a_read_model_that_is_cut_into_slices_reads_as_one(archive: Archive) -> None:
    """`sliced` is cut by two characters where the store does that."""
    keys = sorted(["z", "", "zz", *(f"{a}{b}{n}" for a in "abcdefghij" for b in "abcdefghij" for n in range(3))])
    await archive.put_rows([Row("sliced", "p", key, key.encode() or b"-", 1) for key in reversed(keys)])
    assert [row.key for row in await archive.rows("sliced", "p", limit=1000)] == keys
    assert [row.key for row in await archive.rows("sliced", "p", limit=1000, descending=True)] == keys[::-1]
    for descending, expected in ((False, keys), (True, keys[::-1])):
        found: list[str] = []
        after = None
        while page := await archive.rows("sliced", "p", after=after, limit=17, descending=descending):
            found += [row.key for row in page]
            after = page[-1].key
        assert found == expected
    assert [row.key for row in await archive.rows("sliced", "p", after="ab", limit=2)] == ["ab0", "ab1"]
    assert [row.key for row in await archive.rows("sliced", "p", after="b", limit=1, descending=True)] == ["aj2"]
    assert list(await archive.rows("sliced", "q", limit=5)) == []
    row = await archive.row("sliced", "p", "cc1")
    assert row is not None
    await archive.put_rows([Row("sliced", "p", key, None, 2) for key in keys if key[:1] != "j"])
    assert [row.key for row in await archive.rows("sliced", "p", limit=4)] == ["ja0", "ja1", "ja2", "jb0"]


async def test_rows_that_come_and_go(archive: Archive) -> None:
    """Which aggregates wait for a timer; some stores keep such rows apart."""
    await archive.put_rows([Row("timers", "7", f"acme/tally/{n}", b"1", 10 + n) for n in range(20)])
    await archive.put_rows([Row("timers", "7", f"acme/tally/{n}", None, 50 + n) for n in range(0, 20, 2)])
    await archive.put_rows([Row("timers", "7", "acme/tally/0", b"1", 12)])  # late
    left = [row.key for row in await archive.rows("timers", "7", limit=99)]
    assert left == sorted(f"acme/tally/{n}" for n in range(1, 20, 2))


async def test_of_rows_with_one_key_in_one_write_the_last_counts(archive: Archive) -> None:
    rows = [Row("t", "p", "k", b"first", 5), Row("t", "p", "k", None, 5), Row("t", "p", "k", b"last", 5)]
    await archive.put_rows(rows)
    row = await archive.row("t", "p", "k")
    assert row is not None
    assert row.value == b"last"
    await archive.put_rows([Row("t", "p", "k", b"value", 6), Row("t", "p", "k", None, 6)])
    assert await archive.row("t", "p", "k") is None
