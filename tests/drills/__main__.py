"""Runs drills: ``python -m tests.drills``; see docs/drills.md."""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import structlog

from services.standalone.cluster.programs import Store
from tests.drills.big import BigStage
from tests.drills.catalogue import BY_NAME, DRILLS
from tests.drills.perform import Drill, perform
from tests.drills.report import Report, keep, show
from tests.drills.small import SmallStage

RESULTS = Path("build") / "drills.json"


def stage_for(drill: Drill, folder: Path, store: Store, small: bool) -> SmallStage | BigStage:
    """A stage of a drill's own kind."""
    if small:
        return SmallStage(folder, drill.services, own=drill.settings, linked=drill.linked)
    return BigStage(folder, store=store, own=drill.settings, linked=drill.linked, sync=drill.sync)


async def together(drills: Sequence[Drill], arguments: argparse.Namespace, seed: int) -> list[Report]:
    """Runs drills that need the same kind of stage on one, as long as promises hold; the next one then gets a fresh one.

    The folder is kept where a promise was broken.
    """
    reports: list[Report] = []
    left = list(drills)
    while left:
        folder = Path(tempfile.mkdtemp(prefix="drills-"))
        good = True
        async with stage_for(left[0], folder, arguments.store, arguments.small) as stage:
            while left and good:
                drill = left.pop(0)
                sys.stdout.write(f"{drill.name}, seed {seed}: {drill.what}\n")
                sys.stdout.flush()
                file = folder / f"{drill.name}.jsonl"
                reports.append(await perform(drill, stage, seed, arguments.duration, file))
                keep(reports[-1:], RESULTS)
                good = reports[-1].good
        if good:
            shutil.rmtree(folder)
        else:
            sys.stdout.write(f"{reports[-1].name}: kept in {folder}\n")
    return reports


def main() -> int:
    """Reads the command line, runs what it names; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make drills", description=__doc__)
    parser.add_argument(
        "--drill", default="", help="only this one, or several with commas between: " + ", ".join(BY_NAME)
    )
    parser.add_argument("--seed", type=int, default=0, help="repeats a run; 0: a new one")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of faults")
    parser.add_argument(
        "--store", default="cql", choices=["cql", "sqlite"], help="what the cluster's services remember in"
    )
    parser.add_argument("--small", action="store_true", help="on one log server and SQLite, without Envoy")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seed = arguments.seed or time.time_ns() // 1_000_000 % 1_000_000 + 1
    nodes = arguments.store == "cql" and not arguments.small
    wanted = arguments.drill.split(",") if arguments.drill else list(BY_NAME)
    if unknown := set(wanted) - set(BY_NAME):
        parser.error(f"no such drill: {', '.join(sorted(unknown))}")
    chosen = [drill for drill in DRILLS if drill.name in wanted and (nodes or not drill.needs_nodes)]
    reports: list[Report] = []
    for _, drills in groupby(chosen, key=lambda drill: drill.stage_kind):
        reports += asyncio.run(together(list(drills), arguments, seed))
    show(reports)
    return 0 if all(report.good for report in reports) else 1


if __name__ == "__main__":
    raise SystemExit(main())
