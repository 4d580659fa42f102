"""Settings of the simulator, beside those of every service: same environment prefix, same file."""

from __future__ import annotations

from pathlib import Path

from services.runtime.config import RuntimeSettings


class PushSettings(RuntimeSettings):
    """What the simulator can be told."""

    store_file: Path = Path("push.db")
    """The SQLite file that remembers what came."""
