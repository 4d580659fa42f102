"""What clients were told of each intent, all its tries together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.drills.records import ACKNOWLEDGED, REFUSED, UNKNOWN, Call


@dataclass
class Intent:
    """One request id, as its client knows it in the end.

    Attributes:
        outcome: acknowledged where any try was; refused where every try was; else unknown.
        versions: what acknowledgements said; more than one is a broken promise.
    """

    kind: str
    request: str
    target: str
    digest: str
    outcome: str = REFUSED
    versions: set[int] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)
    start: float = 0.0


def told(calls: Iterable[Call]) -> Mapping[str, Intent]:
    """Puts the tries of each request id (hex) together."""
    found: dict[str, Intent] = {}
    for call in calls:
        request = call.request_id.replace("-", "")
        intent = found.setdefault(request, Intent(call.kind, request, call.target, call.digest, start=call.start))
        intent.target = intent.target or call.target
        intent.facts.update(call.facts)
        if call.outcome == ACKNOWLEDGED:
            intent.outcome = ACKNOWLEDGED
            intent.versions.add(call.version)
        elif call.outcome == UNKNOWN and intent.outcome == REFUSED:
            intent.outcome = UNKNOWN
    return found
