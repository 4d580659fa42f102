"""Runs seeds: `python -m tests.simulation --seeds 1000 --from 0`; prints the first failing one, small, with all that happened in it."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack

from tests.simulation.draw import draw
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import Plan
from tests.simulation.shrink import shrink
from tests.simulation.world import Outcome, run


def main() -> int:
    """Runs what the arguments say; 1 where a seed failed."""
    arguments = _arguments()
    with ExitStack() as broken:
        if arguments.mutant:
            broken.enter_context(MUTANTS[arguments.mutant].applied())
        begun = time.monotonic()
        for number, seed in enumerate(range(arguments.start, arguments.start + arguments.seeds), 1):
            outcome = run(draw(seed))
            if arguments.trace:
                print(draw(seed), *outcome.trace.lines(), f"hash {outcome.hash}", sep="\n")
            if outcome.broken is not None:
                _tell(draw(seed), outcome, shrunk=not arguments.whole)
                return 1
            if number % 1000 == 0:
                print(f"{number} seeds in {time.monotonic() - begun:.0f} s", flush=True)
    print(f"{arguments.seeds} seeds from {arguments.start} on: every invariant held ({time.monotonic() - begun:.0f} s)")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="start", help="the first")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break this rule of the protocol first")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--whole", action="store_true", help="do not make a failing seed smaller")
    return parser.parse_args()


def _tell(plan: Plan, outcome: Outcome, *, shrunk: bool) -> None:
    print(f"seed {plan.seed} fails: {outcome.broken} (hash {outcome.hash})")
    if shrunk:
        plan = shrink(plan, lambda smaller: run(smaller).broken is not None)
        outcome = run(plan)
        print(f"made small: {outcome.broken} (hash {outcome.hash})")
    print(plan, *outcome.trace.lines(), outcome.broken, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
