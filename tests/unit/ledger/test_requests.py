"""What an aggregate remembers of request ids: it may forget, but it never calls an id new that is not."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.ledger.ids import derive_request_id, milliseconds_of, request_bytes
from services.ledger.requests import Answered, RequestMemory

CAPACITY = 8


def made(at_ms: int, name: int) -> bytes:
    """A request id of a time."""
    return request_bytes(derive_request_id(at_ms * 1000, str(name)))


ids = st.builds(made, st.integers(0, 40), st.integers(0, 3))


class Memory(RuleBasedStateMachine):
    """A memory beside a set that forgets nothing."""

    @initialize(horizon=st.integers(0, 20))
    def begin(self, horizon: int) -> None:
        self.memory = RequestMemory(horizon, CAPACITY)
        self.horizon = horizon
        self.applied: dict[bytes, Answered] = {}

    @rule(ident=ids, version=st.integers(1, 1000))
    def apply(self, ident: bytes, version: int) -> None:
        """An id is applied at most once, and only if it was called new or looked up."""
        if ident in self.applied:
            return
        self.applied[ident] = Answered(version, 1, b"f")
        self.memory.add([(ident, self.applied[ident])], milliseconds_of(ident))

    @rule(ident=ids)
    def ask(self, ident: bytes) -> None:
        if self.memory.surely_new(ident, milliseconds_of(ident)):
            assert ident not in self.applied
            assert milliseconds_of(ident) > self.horizon
        found = self.memory.find(ident)
        assert found is None or found == self.applied[ident]

    @invariant()
    def it_never_calls_new_what_was_applied(self) -> None:
        assert not any(self.memory.surely_new(ident, milliseconds_of(ident)) for ident in self.applied)

    @invariant()
    def it_stays_small_and_its_horizon_never_goes_back(self) -> None:
        assert len(self.memory._young) + len(self.memory._old) <= CAPACITY
        assert self.memory.horizon_ms >= self.horizon
        self.horizon = self.memory.horizon_ms


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40)


def test_recent_ids_are_found_and_newer_ones_are_new() -> None:
    memory = RequestMemory(0, CAPACITY)
    for at in range(1, 30):
        memory.add([(made(at, 0), Answered(at, 1, b"f"))], at)
    assert memory.find(made(29, 0)) == Answered(29, 1, b"f")
    assert memory.find(made(1, 0)) is None
    assert memory.surely_new(made(30, 0), 30)
    assert not memory.surely_new(made(1, 1), 1)
