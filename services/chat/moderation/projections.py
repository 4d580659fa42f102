"""What is kept beside reports and standings so that they can be listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from services.chat.moderation import wire
from services.chat.moderation.domain import reports, standing
from services.ledger.archive import Row
from services.ledger.ids import AggregateId

REPORT: Final = "report"
"""The kind of aggregate that holds the reports of one message."""
STANDING: Final = "standing"
"""The kind of aggregate that holds whether a user is banned from a tenant."""

OPEN: Final = "open_reports"
"""Reported messages of a tenant that wait for review, by the time of the first report."""
RESOLVED: Final = "resolved_reports"
"""Those that were dealt with, by the same time: so a message's place in either never changes."""
REPORTED: Final = "reports_by_user"
"""What a user reported, by conversation and version; with the version of its report in their history."""
BANNED: Final = "banned_users"
"""Users of a tenant who are banned, by user id."""
BAN_CHANGES: Final = "ban_changes"
"""Who was banned or let in again, by when; so that a process sees what is new without reading all."""

SLICED: Final = {OPEN: 8, RESOLVED: 8, BAN_CHANGES: 8}
"""By how many characters of a key a store may cut a tenant's rows: the keys begin with a time, so that is a slice for every 72 minutes."""


def report_of(tenant: str, conversation_id: str, version: int) -> AggregateId:
    """Name the reports of a message."""
    return AggregateId(tenant, REPORT, f"{conversation_id}/{version}")


def standing_of(tenant: str, user_id: str) -> AggregateId:
    """Name a user's standing."""
    return AggregateId(tenant, STANDING, user_id)


def key(at_us: int, name: str = "") -> str:
    """Give a place by time."""
    return f"{at_us:016x}-{name}"


def report_rows(
    aggregate: AggregateId, state: reports.Reports, events: Sequence[tuple[int, reports.ReportChange]]
) -> Iterable[Row]:
    """Give the rows that events change: a reported message is in the queue, or among those that were dealt with; and who reports what."""
    where = key(state.opened_us, aggregate.id)
    shown = wire.reported(aggregate.id, state).SerializeToString()
    waits = state.resolved is None
    by = {
        event.actor: Row(REPORTED, f"{aggregate.tenant}/{event.actor}", aggregate.id, str(version).encode())
        for version, event in events
        if isinstance(event, reports.Reported)
    }
    return (
        Row(OPEN, aggregate.tenant, where, shown if waits else None),
        Row(RESOLVED, aggregate.tenant, where, None if waits else shown),
        *by.values(),
    )


def standing_rows(
    aggregate: AggregateId, state: standing.Standing, events: Sequence[tuple[int, standing.StandingChange]]
) -> Iterable[Row]:
    """Give the rows that events change: who is banned, and that it changed."""
    ban = state.ban
    value = wire.banned_user(aggregate.id, ban).SerializeToString() if ban is not None else None
    rows = {Row(BAN_CHANGES, aggregate.tenant, key(event.at_us, aggregate.id), b"") for _, event in events}
    return [Row(BANNED, aggregate.tenant, aggregate.id, value), *rows]
