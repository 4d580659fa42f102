"""What privacy tells the ledger: a person as an aggregate. Its events destroy keys, also where a store is made of the log anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tradewind.chat.v1 import privacy_service_pb2 as pb

from services.chat.privacy import domain
from services.chat.privacy.keys import destroyed, erasure
from services.chat.wire import microseconds, timestamp
from services.ledger.archive import Row
from services.ledger.decider import Kind
from services.ledger.ids import AggregateId

PERSON: Final = "person"


def encode(event: domain.PersonErased, version: int) -> bytes:
    """Give the event's bytes for log and store."""
    message = pb.PersonEvent(
        version=version, event_time=timestamp(event.at_us), actor_id=event.actor, acting_service=event.acting_service
    )
    message.erased.key_ids.extend(event.key_ids)
    message.erased.SetInParent()
    return message.SerializeToString(deterministic=True)


def decode(payload: bytes) -> domain.PersonErased:
    """Read an event out of log or store. Raises ValueError for one this release does not know."""
    message = pb.PersonEvent.FromString(payload)
    if message.WhichOneof("event") != "erased":
        raise ValueError("an event of a kind that this release does not know")
    at_us = microseconds(message.event_time)
    return domain.PersonErased(at_us, message.actor_id, message.acting_service, tuple(message.erased.key_ids))


def rows(
    aggregate: AggregateId, _state: domain.Person, events: Sequence[tuple[int, domain.PersonErased]]
) -> Iterable[Row]:
    """Give the rows that events change: of the keys that are no more, and of who was erased."""
    gone = dict.fromkeys(key_id for _, event in events for key_id in event.key_ids)
    told = {event.at_us: erasure(aggregate.tenant, aggregate.id, event.at_us) for _, event in events}
    return [*destroyed(aggregate.tenant, aggregate.id, gone), *told.values()]


KIND: Final[Kind[domain.Person, domain.ErasePerson, domain.PersonErased]] = Kind(
    name=PERSON,
    initial=domain.initial,
    decide=domain.decide,
    evolve=domain.evolve,
    encode=encode,
    decode=decode,
    state_type=domain.Person,
    rows=rows,
)
