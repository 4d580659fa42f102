import uuid

from hypothesis import given
from hypothesis import strategies as st
from tradewind.sdk import derive_request_id, new_request_id

TIMES = st.integers(min_value=0, max_value=(1 << 48) - 1)


@given(TIMES, st.lists(st.text(), max_size=4))
def test_a_derived_id_is_a_uuid_7_that_leads_with_its_time(milliseconds: int, scope: list[str]) -> None:
    made = uuid.UUID(derive_request_id(milliseconds, *scope))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == milliseconds


@given(TIMES, TIMES, st.text())
def test_ids_sort_as_their_times_do(one: int, other: int, scope: str) -> None:
    if one < other:
        assert derive_request_id(one, scope) < derive_request_id(other, scope)


@given(TIMES, st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_the_same_scope_and_no_other_gives_the_same_id(at: int, one: list[str], other: list[str]) -> None:
    assert (derive_request_id(at, *one) == derive_request_id(at, *other)) == (one == other)


@given(st.integers(max_value=-1))
def test_a_time_before_1970_counts_as_1970(milliseconds: int) -> None:
    assert derive_request_id(milliseconds, "x") == derive_request_id(0, "x")


def test_new_ids_are_of_version_7_and_all_different() -> None:
    made = {new_request_id() for _ in range(1000)}
    assert len(made) == 1000
    assert {uuid.UUID(each).version for each in made} == {7}
