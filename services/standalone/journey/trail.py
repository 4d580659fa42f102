"""The trace of a journey: waited for, checked to be whole, drawn as a tree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from tradewind.cli.traces import Span, spans

_LOOK_SECONDS = 0.2
_QUIET_LOOKS = 3


def _named(word: str) -> Callable[[Span], bool]:
    return lambda span: word in span.name


PARTS: Mapping[str, Callable[[Span], bool]] = {
    "RPC": lambda span: span.kind == "server" and "/" in span.name,
    "append": _named("ledger.append"),
    "store write": _named("ledger.store"),
    "consumer call": lambda span: span.kind == "consumer",
    "gateway call": _named("PaymentGatewayService"),
    "SMTP session": _named("smtp."),
    "opening": _named("mail.open"),
}
"""What the whole way is made of, and how its spans are known."""


async def gather(folder: Path, trace_id: str, patience: float = 10.0) -> list[Span]:
    """Wait until all processes have written their spans of a trace; where parts are missing, for ``patience`` seconds. Raises OSError."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    known, quiet = -1, 0
    while True:
        found = await asyncio.to_thread(lambda: list(spans(folder, trace_id)))
        quiet = quiet + 1 if len(found) == known else 0
        known = len(found)
        if loop.time() > until or (quiet >= _QUIET_LOOKS and not missing(found)):
            return found
        await asyncio.sleep(_LOOK_SECONDS)


def missing(found: list[Span]) -> list[str]:
    """Name the parts of the way of which there is no span."""
    return [part for part, is_part in PARTS.items() if not any(map(is_part, found))]


def summary(found: list[Span]) -> str:
    """Say how much there is of each part."""
    counts = {part: sum(map(is_part, found)) for part, is_part in PARTS.items()}
    parts = ", ".join(f"{count} {part}{'' if count == 1 else 's'}" for part, count in counts.items())
    return f"{len(found)} spans of {len({span.service for span in found})} processes: {parts}"
