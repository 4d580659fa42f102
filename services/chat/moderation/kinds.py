"""What moderation tells the ledger: the reports of a message, and a user's standing in a tenant."""

from __future__ import annotations

from typing import Any, Final

from services.chat.moderation import projections, wire
from services.chat.moderation.domain import reports, standing
from services.ledger.decider import Kind

REPORT: Final[Kind[reports.Reports, reports.ReportCommand, reports.ReportChange]] = Kind(
    name=projections.REPORT,
    initial=reports.initial,
    decide=reports.decide,
    evolve=reports.evolve,
    encode=wire.encode_report,
    decode=wire.decode_report,
    state_type=reports.Reports,
    rows=projections.report_rows,
)

STANDING: Final[Kind[standing.Standing, standing.StandingCommand, standing.StandingChange]] = Kind(
    name=projections.STANDING,
    initial=standing.initial,
    decide=standing.decide,
    evolve=standing.evolve,
    encode=wire.encode_standing,
    decode=wire.decode_standing,
    state_type=standing.Standing,
    rows=projections.standing_rows,
)

KINDS: Final[tuple[Kind[Any, Any, Any], ...]] = (REPORT, STANDING)
"""All of them."""
