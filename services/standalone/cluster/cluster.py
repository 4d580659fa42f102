"""A cluster on one machine as an object: for ``make run CLUSTER=1``, and for tests that make its parts fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from services.runtime.config import load
from services.standalone.child import Child, ChildFailed
from services.standalone.cluster import brokers, edge
from services.standalone.cluster.ports import MOST_PROCESSES, ClusterPorts
from services.standalone.cluster.programs import KINDS, Programs, Store
from services.standalone.config import StandaloneSettings
from services.standalone.fleet import Fleet
from services.standalone.home import Home
from services.standalone.keys import Keys, endpoints, write_credentials
from services.standalone.lock import HeldLock

_BALANCED_SECONDS = 30.0
_LOOK_SECONDS = 0.1


class Cluster:
    """Three log servers, a store, several processes of each service, and Envoy: used with ``async with``.

    Parts are ``nats-1`` to ``nats-3``, ``cql-1`` to ``cql-3`` (with ``store="cql"``), ``chat-1``, ``chat-2`` and so on for ``order``,
    ``mail``, ``payments`` and ``inbox``, and ``envoy``; ``child(name)`` gives what each can be made to suffer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        processes: int = 2,
        store: Store = "sqlite",
        settings: StandaloneSettings | None = None,
        port: int | None = None,
        sync: str = "2m",
        environment: Mapping[str, str] | None = None,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Keep all state in ``folder``.

        Args:
            folder: is made if absent; a second start on it goes on where the first was.
            processes: of each service, 1 to 9.
            store: an SQLite file that the processes of a service share, or three CQL nodes.
            settings: those of a standalone; read from the environment where none are given.
            port: the first of a hundred; else the settings'.
            sync: how often log servers make sure that what they wrote is on the disk: ``always``, or a time as ``2m``.
            environment: variables for all processes of services, on top of what they are told anyway.
            tell: gets lines for people.
        """
        if not 1 <= processes <= MOST_PROCESSES:
            raise ValueError(f"processes: 1 to {MOST_PROCESSES}")
        several = f"{processes} of each service" if processes > 1 else "the services"
        stores = ", three of the store" if store == "cql" else ""
        self.title = f"Starting three servers of the log{stores}, {several}, and Envoy"
        self.home = Home(folder.absolute())
        self.store = store
        self.settings = settings or load(StandaloneSettings)
        self.ports = ClusterPorts(port or self.settings.port, processes)
        self.secrets = Keys(self.home.keys)
        self._sync = sync
        self._environment = dict(environment or {})
        self._tell = tell
        self._lock: HeldLock | None = None
        self._fleet = Fleet((), self.home, tell)
        self._programs: Programs | None = None
        self._numbers = {kind: list(range(1, processes + 1)) for kind in KINDS}

    @property
    def fleet(self) -> Fleet:
        """All parts, once they are prepared."""
        return self._fleet

    @property
    def names(self) -> list[str]:
        """The names of all parts."""
        return self.fleet.names

    @property
    def endpoints(self) -> dict[str, str]:
        """Where everything is reached from outside, by name."""
        return endpoints(self.ports)

    @property
    def nats_urls(self) -> list[str]:
        """The log servers, for their clients; they hold the token. Raises OSError."""
        return brokers.urls(self.secrets, self.ports).split(",")

    def child(self, name: str) -> Child:
        """One part. Raises KeyError."""
        return self.fleet.child(name)

    def processes(self, kind: str) -> Sequence[Child]:
        """All processes of a kind, such as ``chat``."""
        return [self.child(f"{kind}-{number}") for number in self._numbers[kind]]

    async def __aenter__(self) -> Self:
        """Take the folder and start all; every part serves when this returns.

        Raises HomeInUse, HomeUnusable, PortTaken, NoBroker, NoEnvoy, NoCassandra, ChildFailed, OSError.
        """
        self._lock = await asyncio.to_thread(self.home.open)
        try:
            await asyncio.to_thread(self.prepare)
            await self.start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all parts in order, and let the folder go."""
        await self._end()

    async def balanced(self, seconds: float = _BALANCED_SECONDS) -> None:
        """Wait until Envoy finds every process healthy. Raises ChildFailed when it does not in time."""
        wanted = {kind: len(self._numbers[edge.BESIDE.get(kind, kind)]) for kind in edge.KINDS}
        look = edge.serving(self.ports.admin, wanted)
        until = time.monotonic() + seconds
        while not await look():
            if time.monotonic() > until:
                raise ChildFailed(f"envoy does not find all processes healthy after {seconds:.0f} s")
            await asyncio.sleep(_LOOK_SECONDS)

    async def add(self, kind: str) -> Child:
        """Start one more process of a kind, and return when Envoy sends it calls. Raises ChildFailed, ValueError beyond nine, OSError."""
        number = max(self._numbers[kind]) + 1
        if number > MOST_PROCESSES or self._programs is None:
            raise ValueError(f"{kind}: at most {MOST_PROCESSES} processes, while the cluster runs")
        child = await self.fleet.add(self._programs.process(kind, number))
        self._numbers[kind].append(number)
        served = (kind, *(beside for beside, by in edge.BESIDE.items() if by == kind))
        for name in served:
            ports = [self.ports.process(name, each) for each in self._numbers[kind]]
            await asyncio.to_thread(edge.assign, self.home, name, ports)
        await self.balanced()
        return child

    def prepare(self) -> None:
        """Write what all parts read, with nobody of an earlier run in the way. The folder must be ours; blocks.

        Raises PortTaken, NoBroker, NoEnvoy, NoCassandra, HomeUnusable, OSError, ValueError.
        """
        self.home.end_stale_children()
        self.ports.require_free()
        self.home.prune_traces()
        self.secrets.ensure()
        write_credentials(self.home.credentials, self.secrets, self.ports)
        self._programs = Programs(
            self.settings, self.home, self.secrets, self.ports, self.store, self._environment, sync=self._sync
        )
        self._fleet = Fleet(self._programs.all(self._tell), self.home, self._tell)

    async def start(self, ready: Callable[[str], None] = lambda _name: None) -> None:
        """Start all, and return when all serve and Envoy sends them calls; ``ready`` is told of each. Raises ChildFailed."""
        await self._fleet.start(ready, in_turn=True)
        await self.balanced()

    async def _end(self) -> None:
        await self._fleet.end()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
