"""The ring: recent events, encoded once; what it gives is what was pushed, and it stays small."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tradewind.ledger.v1 import entry_pb2

from services.ledger import ring as ring_module
from services.ledger.ids import AggregateId
from services.ledger.ring import Ring, Shelf, field
from tests.integration.ledger_world import decoded

TILL = AggregateId("acme", "tally", "till")


class RingBesideList(RuleBasedStateMachine):
    """A small ring beside a list that lets nothing go."""

    @initialize(first=st.integers(1, 50))
    def begin(self, first: int) -> None:
        self.patch = pytest.MonkeyPatch()
        for name, value in (("_MOST_EVENTS", 20), ("_MOST_BYTES", 400), ("_RUN_EVENTS", 6), ("_RUN_BYTES", 120)):
            self.patch.setattr(ring_module, name, value)
        self.ring, self.begun, self.pushed = Ring(first), first, list[bytes]()
        self.wrapped = 0

    def teardown(self) -> None:
        self.patch.undo()

    def wrap(self, _aggregate: AggregateId, data: bytes) -> bytes:
        self.wrapped += 1
        return b"<" + data + b">"

    @rule(payloads=st.lists(st.binary(max_size=150), min_size=1, max_size=9))
    def push(self, payloads: list[bytes]) -> None:
        self.ring.push(payloads)
        self.pushed += payloads

    @precondition(lambda self: self.pushed)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(self.ring.first, self.begun + len(self.pushed) - 1))
        last, joined = self.ring.run(version, TILL, None)
        expected = self.pushed[version - self.begun : last + 1 - self.begun]
        assert decoded(joined) == expected
        assert 1 <= len(expected) <= 6
        assert len(expected) == 1 or len(joined) <= 120
        assert self.ring.run(version, TILL, None)[1] is joined
        before = self.wrapped
        wrapped = self.ring.run(version, TILL, self.wrap)
        assert self.ring.run(version, TILL, self.wrap) == wrapped == (last, b"<" + joined + b">")
        assert self.wrapped <= before + 2

    @invariant()
    def it_is_small_and_ends_with_the_last_event(self) -> None:
        if not self.pushed:
            return
        assert self.ring.first + len(self.ring._chunks) == self.begun + len(self.pushed)
        assert len(self.ring._chunks) <= 20
        assert self.ring._bytes == sum(map(len, self.ring._chunks))
        assert self.ring._bytes <= 400 or len(self.ring._chunks) == 1


TestRing = RingBesideList.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_100_000])
def test_a_field_is_what_protobuf_reads(size: int) -> None:
    payload = b"x" * size
    read = entry_pb2.Command.FromString(field(payload))  # whose field 2 is bytes as well
    assert read.fingerprint == payload
    assert decoded(field(payload) + field(b"next")) == [payload, b"next"]


def test_a_shelf_clears_the_rings_that_were_quiet_longest() -> None:
    shelf, rings = Shelf(most_bytes=1000), [Ring(1) for _ in range(4)]
    for ring in rings:
        shelf.push(ring, [b"x" * 298])  # 301 bytes each with tag and length
    assert [ring.size for ring in rings] == [0, 301, 301, 301]
    assert rings[0].first == 2  # what it held is read from the store; what comes next is at hand again
    shelf.push(rings[1], [b"y" * 98])
    assert [ring.size for ring in rings] == [0, 401, 0, 301]
    shelf.drop(rings[3])
    shelf.push(rings[0], [b"z" * 298])
    assert [ring.size for ring in rings[:3]] == [301, 401, 0]
    assert rings[0].run(2, TILL, None) == (2, field(b"z" * 298))


def test_a_shelf_keeps_the_ring_that_is_written_however_large() -> None:
    shelf, ring = Shelf(most_bytes=100), Ring(1)
    shelf.push(ring, [b"x" * 500])
    assert ring.size > 500
    assert ring.run(1, TILL, None)[0] == 1
