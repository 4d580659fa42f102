"""A process that serves the trial service as a real service does: ``python -m tests.integration.runtime_process``.

It prints its port, serves until it is told to end, and prints what its drain did.
"""

import asyncio
import os
import sys

from services.runtime.config import RuntimeSettings, load
from services.runtime.run import run
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator
from tests.integration.runtime_world import POLICY, Handlers
from tests.unit.runtime.trial import trial_service


def tell(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve."""
    settings = load(RuntimeSettings)
    if os.environ.get("TRIAL_STARTS_FOR_EVER"):
        tell("0 starting")
        await asyncio.Event().wait()
    telemetry = Telemetry.start("trial", settings)
    server = Server(settings, telemetry, Authenticator.from_settings(settings), POLICY)
    server.add(trial_service(), Handlers())
    tell(f"{await server.start()} {type(asyncio.get_running_loop()).__module__}")

    async def fails() -> None:
        raise RuntimeError("a hook that fails")

    async def says() -> None:
        tell(f"hook {server.draining.is_set()}")

    async def hangs() -> None:
        await asyncio.Event().wait()

    hooks = [fails, says, hangs] if os.environ.get("TRIAL_HANGING_HOOK") else [fails, says]
    await server.run_until_signal(hooks)
    tell("ended")


if __name__ == "__main__":
    run(main())
