"""What a drill says in the end: on the screen, and in build/drills.json."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.drills.checker import findings
from tests.drills.checker.evidence import Evidence
from tests.drills.checker.verdict import Verdict
from tests.drills.play import Play
from tests.drills.records import ACKNOWLEDGED, Call, Fault, Records

_LOST = (findings.LOST, findings.CONTENT, findings.HOLE, findings.SKIPPED)
_DOUBLED = (findings.DOUBLED, findings.MAILED)
_SHOWN = 8


@dataclass
class Report:
    """One run of one drill.

    Attributes:
        faults: how many of each kind were injected.
        acknowledged, refused, unknown: intents of clients, all tries of each together.
        tries: calls, repeated ones counted each time.
        lost, doubled: of what was acknowledged.
        recovery_s: longest time from a fault (an outage: from its end), or from the first try after it, to the next acknowledged call,
            by kind of call.
        silence_s: longest time without any acknowledged call, from one to the next, by kind of call.
        broken: every broken promise; none is what everybody wants.
    """

    name: str
    what: str
    seed: int
    seconds: float
    faults: dict[str, int]
    acknowledged: int
    refused: int
    unknown: int
    tries: int
    lost: int
    doubled: int
    recovery_s: dict[str, float]
    silence_s: dict[str, float]
    checked: dict[str, int]
    figures: dict[str, float | int | str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """True: every promise held."""
        return not self.broken


def summary(
    name: str, what: str, seed: int, seconds: float, records: Records, evidence: Evidence, verdict: Verdict, play: Play
) -> Report:  # fmt: skip
    """Puts a report together."""
    counted: dict[str, int] = {}
    for fault in records.faults:
        counted[fault.what] = counted.get(fault.what, 0) + 1
    figures = dict(play.figures)
    # A service's own word; without one it is the connection's, which broke.
    defects = sum(call.reason == "INTERNAL INTERNAL" for call in records.calls)
    broken = [*play.broken, *(f"{found.rule}: {found.where}" for found in verdict.findings)]
    broken += [
        f"{count} dead letters of {service} are left" for service, count in evidence.dead_letters.items() if count
    ]
    if defects:
        broken.append(f"{defects} calls ended in a defect (INTERNAL)")
    return Report(
        name, what, seed, seconds, counted,
        verdict.outcomes["acknowledged"], verdict.outcomes["refused"], verdict.outcomes["unknown"], len(records.calls),
        verdict.count(*_LOST), verdict.count(*_DOUBLED), _recovery(records), _silence(records), verdict.checked,
        figures, broken,
    )  # fmt: skip


def _by_kind(records: Records) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in sorted(records.calls, key=lambda call: call.end):
        if call.outcome == ACKNOWLEDGED:
            found.setdefault(call.kind, []).append(call)
    return found


def _recovery(records: Records) -> dict[str, float]:
    """Of each kind and fault: from the fault, or the first try after it where nobody tried before, to the first acknowledgement."""
    tries: dict[str, list[Call]] = {}
    for call in sorted(records.calls, key=lambda call: call.end):
        tries.setdefault(call.kind, []).append(call)
    worst: dict[str, float] = {}
    for kind, calls in tries.items():
        for fault in records.faults:
            after = _from(fault)
            later = [call for call in calls if call.end > after]
            first = next((call.end for call in later if call.outcome == ACKNOWLEDGED), None)
            if first is not None:
                began = max(after, min(call.start for call in later))
                worst[kind] = round(max(worst.get(kind, 0.0), first - began), 3)
    return worst


def _from(fault: Fault) -> float:
    return fault.end if fault.outage else fault.start


def _silence(records: Records) -> dict[str, float]:
    return {
        kind: round(max((b.end - a.end for a, b in pairwise(calls)), default=0.0), 3)
        for kind, calls in _by_kind(records).items()
    }


def show(reports: Sequence[Report]) -> None:
    """Prints the table, and every broken promise with how to have it again."""
    table = Table(title="Drills", caption="calls: intents, all tries of each together; recovery: worst kind of call")
    for heading in ("drill", "faults", "acknowledged", "refused", "unknown", "lost", "doubled", "recovery", ""):
        table.add_column(heading, justify="left" if heading in ("drill", "faults", "") else "right")
    for report in reports:
        worst = max(report.recovery_s.values(), default=0.0)
        table.add_row(
            report.name, ", ".join(f"{count} {what}" for what, count in report.faults.items()), f"{report.acknowledged:,}",
            f"{report.refused:,}", f"{report.unknown:,}", str(report.lost), str(report.doubled), f"{worst:.2f} s",
            "held" if report.good else "BROKEN",
        )  # fmt: skip
        for key, value in report.figures.items():
            table.add_row(f"  {key}", str(value), style="dim")
    console = Console(width=150)
    console.print(table)
    for report in reports:
        for line in report.broken[:_SHOWN]:
            console.print(f"{report.name}: {line}", markup=False, highlight=False)
        if not report.good:
            console.print(f"again: make drills DRILL={report.name} SEED={report.seed} DURATION={report.seconds:g}")


def keep(reports: Sequence[Report], file: Path) -> None:
    """Writes the file; what it holds of other drills stays."""
    named = {report.name for report in reports}
    before = json.loads(file.read_text(encoding="utf-8"))["drills"] if file.exists() else []
    drills = [old for old in before if old["name"] not in named] + [asdict(report) for report in reports]
    machine = {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "drills": drills}
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
