"""The simulated store and the simulated nats-servers by themselves, on an ordinary event loop: for the contract suites of their ports."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from services.ledger.archive import Archive
from tests.simulation.broker import Broker
from tests.simulation.client import SimulatedClient
from tests.simulation.cluster import Cluster
from tests.simulation.loop import Process
from tests.simulation.store import SimulatedArchive
from tests.simulation.weather import Network


class SimulatedStores:
    """Stores of three copies by folder."""

    def __init__(self) -> None:
        self._clusters: dict[Path, Cluster] = {}

    async def open(self, folder: Path) -> Archive:
        """Opens a store: the same folder, the same store."""
        loop = asyncio.get_running_loop()
        if folder not in self._clusters:
            self._clusters[folder] = Cluster(Network(loop, random.Random(str(folder.name))), 3, timeout=30.0)
        return SimulatedArchive(self._clusters[folder], Process(loop, "contract"))


def simulated_client() -> SimulatedClient:
    """A connection to nats-servers of its own."""
    loop = asyncio.get_running_loop()
    return SimulatedClient(Broker(Network(loop, random.Random("contract"))), Process(loop, "contract"))
