"""Traces of a local Tradewind: spans from its files, put together to trees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from tradewind.cli.exits import Exit
from tradewind.cli.output import Output
from tradewind.cli.running import flags_of, output_of
from tradewind.cli.settings import home_of

app = typer.Typer(no_args_is_help=True, help="Traces of a local Tradewind.")

_JOURNEY = "journey"
_MOST_SPANS = 20_000


@dataclass(frozen=True, slots=True)
class Span:
    """A span as the services write it: ids in hex, times in nanoseconds since the Unix epoch."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    service: str
    kind: str
    start_ns: int
    end_ns: int
    failed: str | None

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e6


@dataclass(slots=True)
class Known:
    """What a first reading keeps of a trace."""

    spans: int = 0
    start_ns: int = 1 << 63
    journey: bool = False


def spans(folder: Path, trace_id: str = "") -> Iterator[Span]:
    """Yield the spans in a folder's `*.jsonl`, all or those of one trace; a line that is being written just now, or is no span, is
    passed over. Raises OSError.
    """
    wanted = trace_id.encode()
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for raw in file:
                # Most lines are of other traces, and looking is cheaper than reading.
                span = _span(raw) if wanted in raw else None
                if span is not None and (not wanted or span.trace_id == trace_id):
                    yield span


def _span(raw: bytes) -> Span | None:
    try:
        found: Any = json.loads(raw)
        if not isinstance(found, dict):
            return None
        failed = str(found.get("reason") or "failed") if found.get("status") == "error" else None
        return Span(
            trace_id=str(found["trace_id"]),
            span_id=str(found["span_id"]),
            parent_id=found.get("parent_id"),
            name=str(found["name"]),
            service=str(found.get("service", "")),
            kind=str(found.get("kind", "")),
            start_ns=int(found["start_ns"]),
            end_ns=int(found["end_ns"]),
            failed=failed,
        )
    except (ValueError, KeyError, TypeError):
        return None


def chosen(folder: Path, wanted: str) -> str | None:
    """Give the id of the trace that `wanted` begins; without it, of the newest journey, or else of the largest of the last 20."""
    traces: dict[str, Known] = {}
    for span in spans(folder):
        if not span.trace_id.startswith(wanted):
            continue
        known = traces.setdefault(span.trace_id, Known())
        known.spans += 1
        known.start_ns = min(known.start_ns, span.start_ns)
        known.journey = known.journey or (span.parent_id is None and span.name.startswith(_JOURNEY))
    journeys = {trace: known for trace, known in traces.items() if known.journey}
    if journeys:
        return max(journeys, key=lambda trace: journeys[trace].start_ns)
    latest = sorted(traces, key=lambda trace: traces[trace].start_ns)[-20:]
    return max(latest, key=lambda trace: traces[trace].spans, default=None)


def ordered(found: list[Span]) -> Iterator[tuple[int, Span]]:
    """Yield the spans of one trace as a tree, with their depth; whose parent is not there stands at the root."""
    known = {span.span_id for span in found}
    children: dict[str | None, list[Span]] = {}
    for span in sorted(found, key=lambda span: (span.start_ns, -span.end_ns)):
        children.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)
    stack = [(0, span) for span in reversed(children.get(None, []))]
    while stack:
        depth, span = stack.pop()
        yield depth, span
        stack.extend((depth + 1, child) for child in reversed(children.get(span.span_id, [])))


@app.command()
def show(
    ctx: typer.Context,
    trace_id: Annotated[
        str, typer.Argument(help="The trace, or how its id begins. Without it: the newest journey.")
    ] = "",
) -> None:
    """Draw a trace as a tree, with when each span began and how long it took."""
    output = output_of(ctx)
    folder = home_of(flags_of(ctx)) / "traces"
    trace = chosen(folder, trace_id.lower())
    if trace is None:
        output.error("not found", "NOT_FOUND", f"no such trace in {folder}")
        raise typer.Exit(int(Exit.REFUSED))
    found = list(islice(spans(folder, trace), _MOST_SPANS))
    _draw(output, trace, found)


def drawing(trace_id: str, found: list[Span]) -> Tree:
    """Draw the spans of a trace as a tree."""
    began = min(span.start_ns for span in found)
    whole = (max(span.end_ns for span in found) - began) / 1e6
    services = sorted({span.service for span in found})
    known = {span.span_id for span in found}
    orphans = sum(span.parent_id is not None and span.parent_id not in known for span in found)
    lost = f"; {orphans} of them below spans that are not in the files, or no more" if orphans else ""
    tree = Tree(
        f"trace {trace_id}: {len(found)} spans, {whole:.1f} ms, {escape(', '.join(services))}{lost}", guide_style="dim"
    )
    path = [tree]
    for depth, span in ordered(found):
        begins = (span.start_ns - began) / 1e6
        failed = f"  [red]{escape(span.failed)}[/]" if span.failed else ""
        text = f"[cyan]{escape(span.service)}[/] {escape(span.name)}  [dim]+{begins:.1f} ms[/]  {span.milliseconds:.1f} ms{failed}"
        del path[depth + 1 :]
        path.append(path[depth].add(text))
    return tree


def _draw(output: Output, trace: str, found: list[Span]) -> None:
    if not output.as_json:
        output.out.print(drawing(trace, found))
        return
    began = min(span.start_ns for span in found)
    for depth, span in ordered(found):
        fields = {
            "trace_id": trace,
            "span_id": span.span_id,
            "parent_id": span.parent_id,
            "depth": depth,
            "service": span.service,
            "name": span.name,
            "begins_ms": round((span.start_ns - began) / 1e6, 3),
            "milliseconds": round(span.milliseconds, 3),
            "failed": span.failed,
        }
        output.line(fields, "")
