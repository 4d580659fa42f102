"""Processes beside a stage: looks at them, and an operator's commands."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.drills.stage import OperatorFailed

ROOT = Path(__file__).parents[2]
_OPERATOR_SECONDS = 300.0


def is_stopped(pid: int | None) -> bool:
    """Whether a process is stopped (SIGSTOP)."""
    try:
        return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def resident_bytes(pid: int | None) -> int:
    """Memory a process holds; 0 where it does not run."""
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid is not None else 0
    except psutil.NoSuchProcess:
        return 0


async def run_module(module: str, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
    """Runs a command of an operator, as ``python -m services.operate``; what it says is kept in the folder. Raises OperatorFailed."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, cwd=ROOT,
        env={**os.environ, **variables, "PYTHONPATH": paths},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_OPERATOR_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError as error:
        process.kill()
        raise OperatorFailed(f"{' '.join(arguments)}: no end after {_OPERATOR_SECONDS:.0f} s") from error
    with (folder / "operator.log").open("ab") as log:
        log.write(b"$ " + " ".join(arguments).encode() + b"\n" + said)
    if process.returncode:
        raise OperatorFailed(f"{' '.join(arguments)}: {said.decode(errors='replace')[-500:]}")
