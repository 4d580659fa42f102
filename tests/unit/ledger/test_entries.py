"""The entry's bytes, made by hand, are those of its contract."""

from hypothesis import given
from hypothesis import strategies as st
from tradewind.ledger.v1 import entry_pb2

from services.ledger import entries

_NUMBERS = st.integers(0, 1 << 62)
_COMMAND = st.tuples(
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=40),
    st.integers(0, 300),
    st.none() | st.text("0123abc-", max_size=60),
)
_COMMANDS = st.lists(_COMMAND, max_size=6)


@given(_NUMBERS, _NUMBERS, st.lists(st.binary(max_size=300), max_size=6), _COMMANDS, st.text(max_size=40))
def test_an_entry_made_by_hand_is_the_contracts(
    version: int, seq: int, events: list[bytes], commands: list[tuple[bytes, bytes, int, str | None]], writer: str
) -> None:
    expected = entry_pb2.Entry(
        first_version=version + 1,
        base_version=version,
        base_seq=seq,
        events=events,
        writer=writer,
        commands=[
            entry_pb2.Command(request_id=rid, fingerprint=print_, events=count, traceparent=trace or "")
            for rid, print_, count, trace in commands
        ],
    )
    made = entries.encode(version, seq, events, [entries.command(*each) for each in commands], writer)
    assert entries.parse(made) == expected
    if writer:
        assert made == expected.SerializeToString(deterministic=True)
