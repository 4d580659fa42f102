"""The trace of a journey: found in the files of spans, checked to be whole, drawn as a tree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from services.standalone.journey.expect import Unmet

_LOOK_SECONDS = 0.2
_QUIET_LOOKS = 4
_MOST_SECONDS = 15.0


@dataclass
class Node:
    """A span and those below it, in order of beginning."""

    span: Mapping[str, Any]
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterable[Node]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def build(spans: Iterable[Mapping[str, Any]]) -> list[Node]:
    """Build the trees of a trace; a span whose parent was lost with its process is a root of its own."""
    nodes = {span["span_id"]: Node(span) for span in spans}
    roots: list[Node] = []
    for node in sorted(nodes.values(), key=lambda node: int(node.span["start_ns"])):
        parent = nodes.get(node.span["parent_id"] or "")
        (parent.children if parent is not None else roots).append(node)
    return roots


def read(folder: Path, trace_id: str) -> list[Mapping[str, Any]]:
    """Read a trace's spans out of all files. Raises OSError."""
    found: list[Mapping[str, Any]] = []
    needle = trace_id.encode()
    for path in folder.glob("*.jsonl"):
        with path.open("rb") as file:
            # A last line without its end is still being written.
            lines = [line for line in file if needle in line and line.endswith(b"\n")]
        found += [span for span in map(json.loads, lines) if span["trace_id"] == trace_id]
    return found


async def find(folder: Path, trace_id: str) -> Node:
    """Wait until all processes have written their spans, and give the tree.

    Raises Unmet where a part of the way is missing, OSError.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _MOST_SECONDS
    known, quiet = -1, 0
    while True:
        spans = await asyncio.to_thread(read, folder, trace_id)
        quiet = quiet + 1 if len(spans) == known else 0
        known = len(spans)
        tree = _whole(build(spans))
        missing = [part for part, is_part in _PARTS.items() if not any(map(is_part, _spans(tree)))]
        if not missing and quiet >= _QUIET_LOOKS:
            return tree
        if loop.time() > until:
            if missing:
                raise Unmet("the trace", f"all of {', '.join(_PARTS)}", f"none of {', '.join(missing)}")
            return tree
        await asyncio.sleep(_LOOK_SECONDS)


def summary(tree: Node) -> str:
    """Say how much there is of each part."""
    spans = list(_spans(tree))
    counts = ", ".join(f"{sum(map(is_part, spans))} {part}" for part, is_part in _PARTS.items())
    services = sorted({str(span["service"]) for span in spans})
    return f"trace {spans[0]['trace_id'] if spans else ''}: {len(spans)} spans of {', '.join(services)}; {counts}"


def drawn(tree: Node) -> RenderableType:
    """Draw the tree, a line a span."""
    root = Tree(_line(tree.span), guide_style="dim")
    _draw(tree, root)
    return root


def _draw(node: Node, branch: Tree) -> None:
    for child in node.children:
        _draw(child, branch.add(_line(child.span)))


def _line(span: Mapping[str, Any]) -> Text:
    milliseconds = (int(span["end_ns"]) - int(span["start_ns"])) / 1e6
    line = Text.assemble(
        (str(span["name"]), "bold" if span["kind"] == "server" else ""), (f"  {span['service']}", "cyan")
    )
    line.append(f"  {milliseconds:.1f} ms", style="dim")
    if span["status"] == "error":
        line.append(f"  {span['reason']}", style="red")
    return line


def _whole(roots: list[Node]) -> Node:
    """One tree: what a killed process took with it leaves its children without a parent, and they go below the root."""
    journeys = [root for root in roots if root.span["name"] == "journey"]
    if not journeys:
        return Node({"name": "journey", "service": "journey", "kind": "internal"}, roots)
    first = journeys[0]
    first.children += [root for root in roots if root is not first]
    return first


def _spans(tree: Node) -> Iterable[Mapping[str, Any]]:
    return (node.span for node in tree.walk() if "span_id" in node.span)


def _named(*words: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda span: any(word in str(span["name"]) for word in words)


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "RPCs": lambda span: span["kind"] == "server",
    "appends": _named("ledger.append"),
    "store writes": _named("ledger.store"),
    "consumers": lambda span: span["kind"] == "consumer",
    "gateway calls": _named("PaymentGatewayService"),
    "SMTP deliveries": _named("smtp"),
    "opens": _named("open"),
}
"""What the whole way is made of, and how its spans are known."""
