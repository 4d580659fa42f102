"""Makes the keyspaces ready before anybody is told that the store serves."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.standalone.child import ChildFailed, python
from services.standalone.process import Process
from services.standalone.ready import Probe

_MODULE = "services.migrate"


def with_schema(
    probes: Sequence[Probe], keyspaces: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Probe:
    """Make a probe: do all nodes serve, and have the keyspaces what this version's services need?

    The first time that all serve it sees to that itself, by ``python -m services.migrate``, which says what it does in
    ``schema.log`` in ``folder``; then it asks the last of the nodes alone. The probe raises ChildFailed where that command fails.
    """
    missing = list(keyspaces)

    async def probe() -> bool:
        if not missing:
            return await probes[-1]()
        if not all(await asyncio.gather(*(probe() for probe in probes))):
            return False
        await _migrate(missing, environment, folder)
        missing.clear()
        return True

    return probe


async def _migrate(keyspaces: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
    log = folder / "schema.log"
    mode = "exec" if sys.platform == "linux" else "watch"
    guard = [*python("services.standalone.guard"), mode, str(folder / "schema.lock"), str(os.getpid())]
    with log.open("wb") as output:
        process = Process([*guard, *python(_MODULE), *keyspaces], output.fileno(), {**os.environ, **environment})
    try:
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    if code != 0:
        lines = (await asyncio.to_thread(log.read_text, encoding="utf-8", errors="replace")).strip().splitlines()
        raise ChildFailed(
            f"the CQL store could not be made ready: {lines[-1] if lines else f'exit code {code}'}; see {log}"
        )
