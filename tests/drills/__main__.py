"""Runs drills: ``python -m tests.drills``; see docs/drills.md."""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

import structlog

from services.standalone.cluster.programs import Store
from tests.drills.big import BigStage
from tests.drills.catalogue import BY_NAME, DRILLS
from tests.drills.perform import Drill, perform
from tests.drills.report import Report, keep, show
from tests.drills.small import SmallStage

RESULTS = Path("build") / "drills.json"


async def run(drill: Drill, seed: int, seconds: float, store: Store, small: bool) -> Report:
    """Runs one drill on a stage of its own; its folder is kept where a promise was broken."""
    folder = Path(tempfile.mkdtemp(prefix=f"drill-{drill.name}-"))
    stage: SmallStage | BigStage
    if small:
        stage = SmallStage(folder, drill.services, own=drill.settings, linked=drill.linked)
    else:
        stage = BigStage(folder, store=store, own=drill.settings, linked=drill.linked, sync=drill.sync)
    async with stage:
        report = await perform(drill, stage, seed, seconds, folder / "records.jsonl")
    if report.good:
        shutil.rmtree(folder)
    else:
        sys.stdout.write(f"{drill.name}: kept in {folder}\n")
    return report


def main() -> int:
    """Reads the command line, runs what it names; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make drills", description=__doc__)
    parser.add_argument("--drill", default="", choices=["", *BY_NAME], help="only this one")
    parser.add_argument("--seed", type=int, default=0, help="repeats a run; 0: a new one")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of faults")
    parser.add_argument(
        "--store", default="cql", choices=["cql", "sqlite"], help="what the cluster's services remember in"
    )
    parser.add_argument("--small", action="store_true", help="on one log server and SQLite, without Envoy")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seed = arguments.seed or time.time_ns() // 1_000_000 % 1_000_000 + 1
    reports = []
    nodes = arguments.store == "cql" and not arguments.small
    chosen = [BY_NAME[arguments.drill]] if arguments.drill else DRILLS
    for drill in [drill for drill in chosen if nodes or not drill.needs_nodes]:
        sys.stdout.write(f"{drill.name}, seed {seed}: {drill.what}\n")
        reports.append(asyncio.run(run(drill, seed, arguments.duration, arguments.store, arguments.small)))
        keep(reports, RESULTS)
    show(reports)
    return 0 if all(report.good for report in reports) else 1


if __name__ == "__main__":
    raise SystemExit(main())
