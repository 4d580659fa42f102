"""No tenant's calls take all the places of a server."""

from hypothesis import given
from hypothesis import strategies as st

from services.runtime.room import Room


def test_a_flood_leaves_place_for_another() -> None:
    room = Room(places=8, share=0.75)
    while room.has_place("flood"):
        room.enter("flood")
    assert room.inside == 6
    assert room.has_place("other")
    room.enter("other")
    room.enter("other")
    assert not room.has_place("other")  # full
    room.leave("flood")
    assert not room.has_place("flood")
    assert room.has_place("other")


def test_who_acts_for_the_house_is_held_to_the_room_alone() -> None:
    room = Room(places=4, share=0.5)
    for _ in range(4):
        assert room.has_place("flood", limited=False)
        room.enter("flood")
    assert not room.has_place("flood", limited=False)


def test_the_smallest_rooms_can_be_used() -> None:
    for places in (1, 2, 3):
        room = Room(places, 0.75)
        assert room.has_place("one")
        room.enter("one")
        assert room.inside == 1


@given(st.integers(1, 12), st.floats(0.1, 1.0), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=80))
def test_the_books_balance(places: int, share: float, steps: list[tuple[str, bool]]) -> None:
    room, held = Room(places, share), dict.fromkeys("abc", 0)
    for tenant, comes in steps:
        if comes and room.has_place(tenant):
            room.enter(tenant)
            held[tenant] += 1
        elif not comes and held[tenant]:
            room.leave(tenant)
            held[tenant] -= 1
        assert room.inside == sum(held.values()) <= places
        for other in "abc":
            if not held[other] and room.inside < places:
                assert room.has_place(other)
