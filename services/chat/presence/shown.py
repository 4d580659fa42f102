"""Presence between the contract and what Chat's processes say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tradewind.chat.v1 import presence_service_pb2 as pb

from services.chat import wire
from services.chat.presence.domain import State
from services.chat.presence.slots import Key
from services.chat.presence.words import Seen

_SHOWN: Final[Mapping[State, pb.PresenceState.ValueType]] = {
    State.ONLINE: pb.PRESENCE_STATE_ONLINE,
    State.AWAY: pb.PRESENCE_STATE_AWAY,
    State.OFFLINE: pb.PRESENCE_STATE_OFFLINE,
    State.UNKNOWN: pb.PRESENCE_STATE_UNKNOWN,
}
_STATES: Final = {number: state for state, number in _SHOWN.items()}


def presence(key: Key, seen: Seen) -> pb.Presence:
    """Show how a user is."""
    found = pb.Presence(user_id=key[1], state=_SHOWN[seen.state])
    if seen.seen_us:
        found.last_seen_time.CopyFrom(wire.timestamp(seen.seen_us))
    return found


def state(number: pb.PresenceState.ValueType) -> State:
    """Give the state that a request names."""
    return _STATES[number]
