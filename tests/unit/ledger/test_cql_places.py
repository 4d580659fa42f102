"""Where things are in the CQL archive's partitions."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from services.ledger.archive import ENTRY_OVERHEAD, Head, StoredEntry, entry_size
from services.ledger.cql_places import (
    BUCKET_BYTES,
    ID_PARTS,
    by_part,
    holds,
    part_of,
    place_of,
    valid_down,
    valid_up,
)


def entry(version: int, seq: int) -> StoredEntry:
    return StoredEntry(version, seq, b"")


@given(st.lists(st.integers(1, 900_000), min_size=1, max_size=40))
def test_buckets_follow_one_another_and_each_says_which_entry_is_its_last(sizes: list[int]) -> None:
    total, expected = 0, 0
    for number, size in enumerate(sizes, 1):
        data = bytes(size)
        total += entry_size(data)
        bucket, last = place_of(Head(number, number, 0, total), data)
        assert bucket == expected
        assert last is (total >= (bucket + 1) * BUCKET_BYTES)
        expected = bucket + last
    assert expected == total // BUCKET_BYTES


def test_an_entry_that_fills_its_bucket_to_the_byte_is_its_last() -> None:
    data = bytes(BUCKET_BYTES - ENTRY_OVERHEAD)
    assert place_of(Head(1, 1, 0, BUCKET_BYTES), data) == (0, True)
    assert place_of(Head(1, 1, 0, BUCKET_BYTES - 1), data[:-1]) == (0, False)
    assert place_of(Head(2, 2, 0, BUCKET_BYTES + ENTRY_OVERHEAD), b"") == (1, False)


def test_an_entry_whose_size_was_not_counted_is_in_the_first_bucket() -> None:
    assert place_of(Head(1, 1), b"some bytes") == (0, False)


@given(st.lists(st.uuids(version=4), unique=True))
def test_every_id_is_found_in_its_part_and_nowhere_else(ids: list[uuid.UUID]) -> None:
    parts = by_part(one.bytes for one in ids)
    assert set(parts) <= set(range(1, ID_PARTS + 1))
    assert sum(len(joined) for joined in parts.values()) == 16 * len(ids)
    for one in ids:
        assert [part for part, joined in parts.items() if holds(joined, one.bytes)] == [part_of(one.bytes)]


def test_an_id_that_only_appears_across_two_others_is_not_there() -> None:
    one, other = bytes(range(16)), bytes(range(16, 32))
    across = (one + other)[5:21]
    assert not holds(one + other, across)
    assert holds(one + other + across, across)
    assert holds(one + across + other, across)
    assert not holds(b"", one)


def test_what_a_later_life_passed_over_is_left_out() -> None:
    head = Head(9, 2005)
    kept = [entry(1, 1000), entry(2, 2000), entry(6, 2003), entry(8, 2005)]
    late = [entry(3, 1001), entry(4, 1002), entry(7, 1500)]  # 2 @ 2000 covers 2 to 5, 6 @ 2003 covers 6 and 7
    mixed = sorted([*kept, *late], key=lambda one: one.first_version)
    assert valid_up(mixed, head) == kept
    assert valid_down(reversed(mixed), head) == kept[::-1]


def test_what_is_above_the_head_does_not_count() -> None:
    above = [entry(1, 1000), entry(2, 2000), entry(3, 1001), entry(4, 3000)]
    assert valid_up(above, Head(2, 2000)) == above[:2]
    assert valid_down(reversed(above), Head(2, 2000)) == above[1::-1]


def test_the_empty_entry_that_a_head_ends_with_counts() -> None:
    opened = [entry(1, 1000), entry(2, 5000)]
    assert valid_up(opened, Head(1, 5000)) == opened
    assert valid_down(reversed(opened), Head(1, 5000)) == opened[::-1]
