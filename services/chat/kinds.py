"""What Chat tells the ledger: its kinds of aggregates, the conversation and a user's place in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.chat import domain, marks, projections, receipts, wire
from services.chat.attachments.kind import ATTACHMENT
from services.chat.attachments.rows import NAMES as ATTACHMENT_NAMES
from services.chat.attachments.rows import RELEASED as ATTACHMENTS_RELEASED
from services.chat.attachments.rows import SLICED as ATTACHMENTS_SLICED
from services.chat.bots.kind import ACTIONS
from services.chat.bots.kind import SLICED as BOTS_SLICED
from services.chat.commands import KIND
from services.chat.domain import place
from services.chat.expiry.timers import timers
from services.chat.moderation import kinds as moderation
from services.chat.moderation.projections import SLICED as MODERATION_SLICED
from services.chat.privacy import keys as privacy_keys
from services.chat.privacy import kinds as privacy
from services.chat.push.devices import DEVICES, TOKENS
from services.chat.push.kinds import ROUNDS
from services.chat.push.told import SLICED as PUSH_SLICED
from services.chat.scheduling import domain as scheduling
from services.chat.scheduling import wire as scheduling_wire
from services.ledger.decider import Kind

CONVERSATION: Final[Kind[domain.Conversation, domain.Command, domain.Event]] = Kind(
    name=KIND,
    initial=domain.initial,
    decide=domain.decide,
    evolve=domain.evolve,
    encode=wire.encode,
    decode=wire.decode,
    state_type=domain.Conversation,
    rows=projections.rows,
    timers=timers,
    taken=frozenset({ATTACHMENTS_RELEASED, marks.EXPIRING}),
)

PLACE: Final[Kind[place.Place, place.PlaceCommand, place.PlaceChange]] = Kind(
    name=projections.PLACE,
    initial=place.initial,
    decide=place.decide,
    evolve=place.evolve,
    encode=wire.encode_place,
    decode=wire.decode_place,
    state_type=place.Place,
    rows=projections.place_rows,
)

SCHEDULE: Final[Kind[scheduling.Schedules, scheduling.ScheduleCommand, scheduling.ScheduleChange]] = Kind(
    name="schedule",
    initial=scheduling.initial,
    decide=scheduling.decide,
    evolve=scheduling.evolve,
    encode=scheduling_wire.encode,
    decode=scheduling_wire.decode,
    state_type=scheduling.Schedules,
    timers=scheduling.timers,
)

KINDS: Final[tuple[Kind[Any, Any, Any], ...]] = (
    CONVERSATION,
    PLACE,
    SCHEDULE,
    ROUNDS,
    ATTACHMENT,
    ACTIONS,
    privacy.KIND,
    *moderation.KINDS,
)
"""All of them."""

SLICED: Final[Mapping[str, int]] = {
    **PUSH_SLICED,
    **MODERATION_SLICED,
    **BOTS_SLICED,
    **ATTACHMENTS_SLICED,
    **projections.SLICED,
    **marks.SLICED,
    **receipts.SLICED,
}
"""The read models that a store may cut into slices, and by how many characters of a key; never changed for one that has rows."""

KEPT: Final = (
    privacy_keys.TABLE,
    receipts.READ,
    receipts.READ_BY_USER,
    receipts.DELIVERED,
    DEVICES,
    TOKENS,
    *PUSH_SLICED,
    ATTACHMENT_NAMES,
)
"""The read models that no entry writes: a backup holds them. Keys of persons stay wrapped in it."""
