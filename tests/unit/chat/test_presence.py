"""Presence's rules: many devices, leases, what is remembered, and who is told how often."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.chat.presence import domain, words
from services.chat.presence.domain import Person, State
from services.chat.presence.homes import holdings
from services.chat.presence.shelf import MOST_REMEMBERED, Shelf
from services.chat.presence.slots import COPIES, SLOTS, homes, slot_of
from services.chat.presence.words import Report, Seen

KEY = ("acme", "ada")
DEVICES = st.sampled_from(["phone", "laptop", "watch"])
SHOWN = st.sampled_from([State.ONLINE, State.AWAY, State.OFFLINE])


def test_online_comes_before_away_and_away_before_offline() -> None:
    person = Person()
    assert domain.state_of(person) is State.OFFLINE
    domain.report(person, "phone", State.AWAY, 60, 0.0, 1)
    assert domain.state_of(person) is State.AWAY
    domain.report(person, "laptop", State.ONLINE, 60, 0.0, 2)
    assert domain.state_of(person) is State.ONLINE
    domain.report(person, "laptop", State.AWAY, 60, 0.0, 3)
    assert domain.state_of(person) is State.AWAY
    domain.report(person, "laptop", State.OFFLINE, 0, 0.0, 4)
    domain.report(person, "phone", State.OFFLINE, 0, 0.0, 5)
    assert domain.state_of(person) is State.OFFLINE
    assert person.seen_us == 5


def test_one_device_too_many_takes_the_place_of_the_one_that_ends_first() -> None:
    person = Person()
    for number in range(domain.MOST_DEVICES):
        domain.report(person, f"d{number}", State.ONLINE, 300 - number, 0.0, 1)
    domain.report(person, "new", State.AWAY, 60, 0.0, 2)
    assert len(person.devices) == domain.MOST_DEVICES
    assert f"d{domain.MOST_DEVICES - 1}" not in person.devices
    assert "new" in person.devices


def test_who_is_signed_off_is_gone_with_all_devices_also_where_its_slot_is_still_being_filled() -> None:
    shelf, other = Shelf(), Person()
    shelf.report(Report(KEY, domain.ALL_DEVICES, State.OFFLINE, 0), 0.0, 7)
    assert shelf.seen(KEY) == Seen(State.OFFLINE)  # it was never there
    for device in ("phone", "laptop"):
        domain.report(other, device, State.ONLINE, 60, 0.0, 5)
    shelf.fill({KEY: other})
    shelf.settle()
    assert shelf.seen(KEY) == Seen(State.OFFLINE, 5)
    shelf.report(Report(KEY, "phone", State.ONLINE, 60), 0.0, 8)
    shelf.report(Report(KEY, "laptop", State.AWAY, 60), 0.0, 8)
    shelf.report(Report(KEY, domain.ALL_DEVICES, State.OFFLINE, 0), 1.0, 9)
    assert shelf.seen(KEY) == Seen(State.OFFLINE, 9)
    assert shelf.there == 0


def test_a_page_of_what_is_held_fits_into_a_message_whoever_has_how_many_devices() -> None:
    shelf, names = Shelf(), [f"{number:064}" for number in range(domain.MOST_DEVICES)]
    keys = {("acme", f"{number:064}") for number in range(1500)}
    for key in keys:
        for name in names:
            shelf.report(Report(key, name, State.ONLINE, 60), 0.0, 1)
    held: set[tuple[str, str]] = set()
    offset, more = 0, True
    while more:
        data = holdings(shelf, offset, 0.0)
        assert len(data) < 1024 * 1024
        people, offset = words.decode_people(data, 0.0)
        held |= people.keys()
        more = offset > 0
    assert held == keys


def test_who_flaps_is_told_a_few_times_and_then_seldom_and_the_last_state_always() -> None:
    told: list[Seen] = []
    shelf, now = Shelf(), 0.0
    for number in range(400):  # a hundred seconds, four changes a second
        shelf.report(Report(KEY, "phone", State.AWAY if number % 2 else State.ONLINE, 60), now, 1)
        told += shelf.changes(now, 10).values()
        now += 0.25
    shelf.report(Report(KEY, "phone", State.OFFLINE, 0), now, 7)
    for _ in range(100):
        told += shelf.changes(now, 10).values()
        now += 0.25
    assert len(told) <= domain.TELL_BURST + 125 / domain.TELL_EVERY
    assert told[-1] == Seen(State.OFFLINE, 7)


def test_who_was_asked_for_before_a_change_was_told_hears_of_the_next_one() -> None:
    shelf = Shelf()
    shelf.report(Report(KEY, "phone", State.ONLINE, 60), 0.0, 1)
    assert shelf.answer(KEY) == Seen(State.ONLINE)
    shelf.report(Report(KEY, "phone", State.OFFLINE, 0), 0.0, 2)
    assert shelf.changes(0.0, 10) == {KEY: Seen(State.OFFLINE, 2)}
    assert shelf.changes(0.0, 10) == {}


def test_the_held_back_do_not_keep_others_from_being_told() -> None:
    shelf = Shelf()
    for number in range(200):
        key = ("acme", f"flaps-{number}")
        for turn in range(12):
            shelf.report(Report(key, "phone", State.AWAY if turn % 2 else State.ONLINE, 60), 0.0, 1)
            while shelf.changes(0.0, 10):
                pass
    shelf.report(Report(KEY, "phone", State.ONLINE, 60), 0.0, 1)
    told = {}
    for _ in range(20):
        told.update(shelf.changes(0.0, 10))
    assert told == {KEY: Seen(State.ONLINE)}


def test_only_so_many_who_went_are_remembered() -> None:
    shelf = Shelf()
    for number in range(MOST_REMEMBERED + 10):
        shelf.report(Report(("acme", str(number)), "phone", State.OFFLINE, 0), 0.0, number + 1)
    assert shelf.seen(("acme", "9")) == Seen(State.OFFLINE)
    assert shelf.seen(("acme", "10")) == Seen(State.OFFLINE, 11)
    assert shelf.there == 0


def test_renewing_a_lease_costs_no_memory() -> None:
    shelf = Shelf()
    for number in range(1000):
        shelf.report(Report(KEY, "phone", State.ONLINE, 10 + number % 3 * 100), number / 10, 1)
        shelf.lapse(number / 10)
    assert len(shelf._dues) < 20


@given(st.lists(st.tuples(DEVICES, SHOWN, st.integers(10, 300)), max_size=20), st.integers(0, 400))
def test_what_is_handed_over_says_the_same(reports: list[tuple[str, State, int]], later: int) -> None:
    one, other = Shelf(), Shelf()
    for number, (device_id, state, lease) in enumerate(reports):
        one.report(Report(KEY, device_id, state, lease), float(number), number + 1)
    now = float(len(reports))
    one.lapse(now)
    # The other process's clock shows another time.
    people, after = words.decode_people(words.encode_people(one.page(0, 10), now, 0), now + 5000)
    other.fill(people)
    one.lapse(now + later)
    other.lapse(now + 5000 + later + 1e-6)
    assert after == 0
    assert one.seen(KEY) == other.seen(KEY)


def test_a_device_that_signed_off_during_the_handover_stays_so() -> None:
    one, other = Shelf(), Shelf()
    one.report(Report(KEY, "phone", State.ONLINE, 60), 0.0, 1)
    page = words.encode_people(one.page(0, 10), 0.0, 0)
    other.report(Report(KEY, "phone", State.OFFLINE, 0), 0.0, 2)
    other.fill(words.decode_people(page, 0.0)[0])
    assert other.seen(KEY) == Seen(State.OFFLINE, 2)


@given(st.text(min_size=1), st.text(min_size=1), st.sets(st.text(min_size=1), min_size=1, max_size=6))
def test_a_slot_has_two_homes_and_a_process_that_goes_moves_only_its_own(
    tenant: str, user_id: str, processes: set[str]
) -> None:
    slot = slot_of((tenant, user_id))
    assert 0 <= slot < SLOTS
    before = homes(slot, processes)
    assert len(before) == min(COPIES, len(processes))
    for gone in processes - set(before):
        assert homes(slot, processes - {gone}) == before
    assert homes(slot, processes - {before[0]})[:1] == before[1:2]


def test_slots_are_shared_out_evenly() -> None:
    users = [slot_of(("acme", f"user-{number}")) for number in range(SLOTS * 100)]
    assert max(users.count(slot) for slot in range(SLOTS)) < 160
    firsts = [homes(slot, [f"process-{number}" for number in range(8)])[0] for slot in range(SLOTS)]
    assert all(firsts.count(f"process-{number}") > 10 for number in range(8))


class Leases(RuleBasedStateMachine):
    """A shelf beside a model that forgets nothing and looks at everything."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf, self.now = Shelf(), 0.0
        self.devices: dict[str, tuple[State, float]] = {}
        self.last = 0

    @rule(device_id=DEVICES, state=SHOWN, lease=st.integers(10, 300))
    def report(self, device_id: str, state: State, lease: int) -> None:
        self.last += 1
        self.shelf.report(Report(KEY, device_id, state, lease), self.now, self.last)
        self.devices.pop(device_id, None)
        if state is not State.OFFLINE:
            self.devices[device_id] = (state, self.now + lease)

    @rule(seconds=st.integers(0, 200))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.shelf.lapse(self.now)

    @invariant()
    def says_what_the_model_says(self) -> None:
        held = [state for state, until in self.devices.values() if until > self.now]
        if not held:
            assert self.shelf.seen(KEY) == Seen(State.OFFLINE, self.last)
        else:
            assert self.shelf.seen(KEY) == Seen(State.ONLINE if State.ONLINE in held else State.AWAY)


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=40)
