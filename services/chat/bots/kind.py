"""What is pressed on one service's cards: its kind of aggregate, and the rows beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from services.chat.bots import domain, wire
from services.ledger.archive import Row
from services.ledger.decider import Kind
from services.ledger.ids import AggregateId

NAME: Final = "actions"
ANSWERS: Final = "action_answers"
"""The last answer to each press, by the press's version."""
SLICED: Final = {ANSWERS: 12}
"""65,536 versions a slice."""


def actions_of(tenant: str, service: str) -> AggregateId:
    """Name what is pressed on a service's cards in a tenant."""
    return AggregateId(tenant, NAME, service)


def partition(actions: AggregateId) -> str:
    """Name what is listed together: the answers of one service."""
    return f"{actions.tenant}/{actions.id}"


def key(version: int) -> str:
    """Give a press's place."""
    return f"{version:016x}"


def _rows(
    aggregate: AggregateId, _state: domain.Actions, events: Sequence[tuple[int, domain.ActionChange]]
) -> Iterator[Row]:
    last: dict[int, domain.Answered] = {}
    for _, event in events:
        if isinstance(event, domain.Answered):
            last[event.press_version] = event
    for version, event in last.items():
        yield Row(ANSWERS, partition(aggregate), key(version), wire.answer(event).SerializeToString())


ACTIONS: Final[Kind[domain.Actions, domain.ActionCommand, domain.ActionChange]] = Kind(
    name=NAME,
    initial=domain.initial,
    decide=domain.decide,
    evolve=domain.evolve,
    encode=wire.encode,
    decode=wire.decode,
    state_type=domain.Actions,
    rows=_rows,
)
