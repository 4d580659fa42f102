"""What a measurement says, as a table on the screen and as build/bench.json."""

import json
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass
class Result:
    """One measurement beside its yardstick.

    Attributes:
        name: what was done.
        rate: how often a second; the median of the rounds.
        yardstick: what it is held against, with its own rate; empty where the mark is absolute.
        ratio: median of the rounds' ratios of rate to yardstick.
        cpu_us: server CPU (service process) per operation, microseconds; median.
        mark: what is to be reached.
        reached: whether it is; None where there is no mark.
        more: further figures.
    """

    name: str
    rate: float
    unit: str
    mark: str = ""
    reached: bool | None = None
    yardstick: str = ""
    yardstick_rate: float | None = None
    ratio: float | None = None
    cpu_us: float | None = None
    yardstick_cpu_us: float | None = None
    rounds: int = 1
    spread: tuple[float, float] | None = None
    more: dict[str, float | str] = field(default_factory=dict)


@dataclass
class Round:
    """One turn: operations a second and CPU microseconds an operation."""

    rate: float
    cpu_us: float


def compared(name: str, unit: str, ours: list[Round], theirs: list[Round], yardstick: str, at_least: float) -> Result:
    """A result out of rounds taken in turns; the ratio is taken round by round."""
    ratios = [a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    return Result(
        name, statistics.median(r.rate for r in ours), unit, f">= {at_least} x {yardstick}", ratio >= at_least, yardstick,
        statistics.median(r.rate for r in theirs), ratio, statistics.median(r.cpu_us for r in ours),
        statistics.median(r.cpu_us for r in theirs), len(ours), (min(ratios), max(ratios)),
    )  # fmt: skip


def show(results: list[Result], file: Path) -> None:
    """Prints the table and writes the file."""
    table = Table(
        title="Tradewind, measured", caption=f"{platform.machine()}, Python {platform.python_version()}; medians"
    )
    for heading in ("what", "rate", "beside", "ratio", "server CPU", "mark", ""):
        table.add_column(heading, justify="left" if heading in ("what", "beside", "mark") else "right")
    for result in results:
        beside = f"{result.yardstick}: {result.yardstick_rate:,.0f}" if result.yardstick_rate else ""
        table.add_row(
            result.name, f"{result.rate:,.0f} {result.unit}", beside, f"{result.ratio:.2f}" if result.ratio else "",
            f"{result.cpu_us:,.1f} us" if result.cpu_us else "", result.mark,
            "" if result.reached is None else "reached" if result.reached else "missed",
        )  # fmt: skip
        for key, value in result.more.items():
            table.add_row(f"  {key}", f"{value:,.1f}" if isinstance(value, float) else value, style="dim")
    Console(width=150).print(table)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")
