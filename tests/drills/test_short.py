"""A short version of every drill: some seconds of faults, on one log server and SQLite, or three store nodes where it is about those."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.drills.catalogue import BY_NAME
from tests.drills.load.crowd import Size
from tests.drills.perform import Drill, perform
from tests.drills.small import SmallStage
from tests.servers import CassandraCluster

pytestmark = pytest.mark.timeout(1800)

FEW = Size(groups=2, speakers=2, conversing=1, watchers=1, buyers=2, writers=1, think=0.2)
STORM = replace(
    FEW, buyers=4, methods=("pm_ok", "pm_timeout_after_apply", "pm_unavailable_after_apply", "pm_internal_then_ok", "pm_declined"),
    readers=("r", "greylist", "drop-after-data", "drop-before-data"),
)  # fmt: skip
SECONDS = 3.0


def short(name: str, services: tuple[str, ...] = ("chat", "order", "mail"), size: Size = FEW) -> Drill:
    """A drill with a small load."""
    return replace(BY_NAME[name], size=size, services=services, rests=300.0)


async def play(drills: Sequence[Drill], folder: Path, nodes: CassandraCluster | None = None) -> None:
    """Runs drills on one stage, each with its own seed, and says of the first that breaks a promise how to repeat it."""
    first = drills[0]
    async with SmallStage(folder, first.services, own=first.settings, linked=first.linked, nodes=nodes) as stage:
        for drill in drills:
            seed = zlib.crc32(drill.name.encode())  # the same each time: `make drills` is for others
            report = await perform(drill, stage, seed, SECONDS, folder / f"{drill.name}.jsonl")
            assert report.broken == [], f"again: make drills DRILL={drill.name} SEED={seed} DURATION=60 ARGS=--small"
            assert report.acknowledged >= 50
            assert sum(report.faults.values())


async def test_processes_die_and_sleep_and_the_log_dies_or_is_full(tmp_path: Path) -> None:
    names = ("kill-service", "pause-writer", "kill-nats-leader", "full-disk")
    await play([short(name) for name in names], tmp_path)


async def test_storms_and_poison(tmp_path: Path) -> None:
    # Poison last: what a dead letter held back is told out of order, and every drill looks at all orders of its stage.
    await play([short("storms", size=STORM), short("poison")], tmp_path)


async def test_wrong_clocks(tmp_path: Path) -> None:
    await play([short("clock-jump")], tmp_path)  # alone: it may leave orders put off, which no other drill may


async def test_a_process_is_cut_off_and_the_store_is_slow(tmp_path: Path) -> None:
    await play([short(name, ("chat",)) for name in ("cut", "slow-store")], tmp_path)


async def test_a_log_of_seconds(tmp_path: Path) -> None:
    await play([short("age-out", ("chat",))], tmp_path)


async def test_log_and_store_are_lost_and_an_operator_brings_them_back(tmp_path: Path) -> None:
    names = ("restart-nats-all", "wipe-log", "wipe-store")
    await play([short(name, ("chat",)) for name in names], tmp_path)


async def test_nodes_of_the_store_die(own_cql_cluster: CassandraCluster, tmp_path: Path) -> None:
    await play([short("kill-cql-node", ("chat",))], tmp_path / "stage", own_cql_cluster)


def test_every_drill_has_a_short_version() -> None:
    told = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in BY_NAME if f'"{name}"' not in told] == []
