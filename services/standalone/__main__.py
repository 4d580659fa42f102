"""Starts everything on this machine: ``python -m services.standalone [--once]``."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from rich.console import Console

from services.runtime.config import load
from services.runtime.run import run
from services.standalone.broker import NoBroker
from services.standalone.cassandra import NoCassandra
from services.standalone.child import ChildFailed
from services.standalone.cluster.cluster import Cluster
from services.standalone.cluster.edge import NoEnvoy
from services.standalone.cluster.ports import MOST_PROCESSES
from services.standalone.config import StandaloneSettings
from services.standalone.home import Home, HomeInUse, HomeUnusable
from services.standalone.ports import PortTaken
from services.standalone.screen import Picture, Screen
from services.standalone.supervisor import Single, Whole, supervise

CANNOT_START = 2
"""The exit code where a setting, a port or the folder stands in the way; 1 means that a step of the journey failed."""

_WIDTH = 118


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    options = _parser().parse_args(arguments)
    settings = load(StandaloneSettings)
    if options.store is not None or (options.cluster and "store" not in settings.model_fields_set):
        settings = settings.model_copy(update={"store": options.store or "cql"})
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a tick shows something else instead.
        sys.stdout.reconfigure(errors="replace")
    # Where no terminal says how wide it is, lines may be long.
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    picture = Picture(_WIDTH) if options.picture is not None else None
    home = Home(_folder(options, settings))
    try:
        lock = home.open()
        try:
            screen = Screen(console, picture)
            return run(supervise(settings, _whole(options, settings, home, screen), screen, once=options.once))
        finally:
            lock.release()
            if picture is not None:
                picture.save(options.picture, title="make run")
    except NoCassandra as error:
        sys.stderr.write(f"{error}{'; STORE=sqlite does without one' if options.cluster else ''}\n")
    except (HomeInUse, HomeUnusable, PortTaken, NoBroker, NoEnvoy, ChildFailed) as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        sys.stderr.write(f"{error.filename or home.root}: {error.strerror}\n")
    return CANNOT_START


def _folder(options: argparse.Namespace, settings: StandaloneSettings) -> Path:
    """What remembers in another way has a folder of its own: a log and a store that do not belong together are a loss."""
    root = settings.home.absolute()
    if options.cluster:
        return root / ("cluster" if settings.store == "cql" else "cluster-sqlite")
    return root / "cql" if settings.store == "cql" else root


def _whole(options: argparse.Namespace, settings: StandaloneSettings, home: Home, screen: Screen) -> Whole:
    if options.cluster:
        return Cluster(
            home.root, processes=options.processes, store=settings.store, settings=settings, tell=screen.warn
        )
    return Single(settings, home, screen.warn)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.standalone",
        description="Start everything on this machine, play an order's journey, serve until Ctrl-C.",
        epilog="TRADEWIND_HOME names the folder of all state (.tradewind), "
        "TRADEWIND_PORT the first of ten ports (7400), of twelve with --store cql, of a hundred with --cluster.",
    )
    parser.add_argument("--once", action="store_true", help="end after the journey: 0 if every step held, else 1")
    parser.add_argument(
        "--store",
        choices=("sqlite", "cql"),
        help="what the services remember in (sqlite, with --cluster cql); cql needs Java 17 and Maven",
    )
    parser.add_argument(
        "--cluster", action="store_true", help="three log servers, several processes of each service, Envoy in front"
    )
    parser.add_argument(
        "--processes",
        type=int,
        choices=range(1, MOST_PROCESSES + 1),
        default=2,
        metavar="N",
        help=f"of each service, with --cluster: 1 to {MOST_PROCESSES} (2)",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="keep what the screen showed as an SVG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
