"""Settings of a standalone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.runtime.config import RuntimeSettings
from services.standalone.cluster.ports import COUNT


class StandaloneSettings(RuntimeSettings):
    """Where a standalone lives. What else is set for services holds for its services too, unless standalone decides it itself."""

    home: Path = Path(".tradewind")
    """The folder of all state."""
    store: Literal["sqlite", "cql"] = "sqlite"
    """What the services remember in: an SQLite file each, or a keyspace each of a Cassandra that standalone runs."""
    port: int = Field(7400, ge=1024, le=65_535 - COUNT)
    """The first of a range of ten ports, of twelve where the store is CQL, of a hundred for a cluster, all on the loopback interface."""
    trace_ratio: float = Field(1.0, ge=0, le=1)
    """Share of new traces that are sampled; on one machine, for looking, all."""
