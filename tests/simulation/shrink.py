"""A failing world made small: what it does not need to fail is left out, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.simulation.plan import Plan

Fails = Callable[[Plan], bool]


def shrink(plan: Plan, fails: Fails, most: int = 300) -> Plan:
    """The smallest plan found, in at most so many runs, that still fails."""
    left = most
    smaller = True
    while smaller and left > 0:
        smaller = False
        for candidate in _smaller(plan):
            left -= 1
            if fails(candidate):
                plan, smaller = candidate, True
                break
            if left <= 0:
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for name in ("faults", "asks", "looks"):
        yield from _without_some(plan, name)
    simpler: tuple[dict[str, Any], ...] = (
        {"consumer": False}, {"watchers": 0}, {"tallies": 1}, {"behind": 0.0}, {"max_age": None}, {"copies": 1},
        {"memory": 16_384}, {"snapshot_every": 1000}, {"servers": 2},
    )  # fmt: skip
    for change in simpler:
        if any(getattr(plan, name) != value for name, value in change.items()):
            yield replace(plan, **change)
    for place, ask in enumerate(plan.asks):
        for gone in range(1, len(ask.sent)):
            fewer = replace(ask, sent=ask.sent[:gone] + ask.sent[gone + 1 :])
            yield replace(plan, asks=(*plan.asks[:place], fewer, *plan.asks[place + 1 :]))


def _without_some(plan: Plan, name: str) -> Iterator[Plan]:
    """Halves first, then single ones."""
    whole: tuple[Any, ...] = getattr(plan, name)
    size = len(whole) // 2
    while size > 1:
        for start in range(0, len(whole), size):
            yield _with(plan, name, whole[:start] + whole[start + size :])
        size //= 2
    for place in range(len(whole)):
        yield _with(plan, name, whole[:place] + whole[place + 1 :])


def _with(plan: Plan, name: str, value: Any) -> Plan:
    changed: dict[str, Any] = {name: value}
    return replace(plan, **changed)
