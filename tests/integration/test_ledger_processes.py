"""Several processes of one service write the same aggregate: each comes to its turn, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ledger_world import ROOT, fresh_service, reckon
from tests.servers import NatsServer
from tests.tally import open_ledger, tally

SECONDS = 2.0


async def crowd(url: str, file: Path, service: str, callers: int) -> asyncio.subprocess.Process:
    """A process with callers of its own, ready to begin."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.programs.tally_crowd", "--url", url, "--file", str(file), "--service", service,
        "--callers", str(callers), "--seconds", str(SECONDS), cwd=ROOT, env=os.environ | {"PYTHONPATH": paths},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(await asyncio.wait_for(process.stdout.readline(), 60)) == {"ready": True}
    return process


async def result(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """What a crowd got."""
    said, _ = await asyncio.wait_for(process.communicate(b"\n"), 60)
    told: dict[str, Any] = json.loads(said)
    return told


@pytest.mark.parametrize(("processes", "callers"), [(2, 1), (2, 64), (3, 16)])
async def test_all_who_write_one_aggregate_come_to_their_turn(
    own_nats_server: NatsServer, tmp_path: Path, processes: int, callers: int
) -> None:
    """Without turns the one that wrote first wins every race for the fence, and the others' callers get nothing at all."""
    service, file = fresh_service(), tmp_path / "a.db"
    crowds = [await crowd(own_nats_server.url, file, service, callers) for _ in range(processes)]
    told = await asyncio.gather(*map(result, crowds))
    counted = [each["counted"] for each in told]
    appends, lost = sum(each["appends"] for each in told), sum(each["lost"] for each in told)
    assert not any(each["refused"] for each in told), told
    assert min(counted) >= sum(counted) / processes / 10, told  # the machine is not fair either
    # Turns are found by losing: on a slow machine the first few are a large part of all.
    assert lost <= appends / 2 + 10 * processes, told
    async with open_ledger(own_nats_server.url, file, service=service) as ledger:
        assert await reckon(ledger, tally("hot")) == sum(counted)
