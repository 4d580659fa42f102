"""The cluster as a stage: three log servers, several processes of each service, Envoy in front, and the store that is asked for."""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from services.runtime.tokens import Signer
from services.standalone.cassandra.node import DATACENTER
from services.standalone.child import Child, ChildFailed
from services.standalone.cluster.cluster import Cluster
from services.standalone.cluster.ports import NODES
from services.standalone.cluster.programs import Store
from services.standalone.ports import HOST, PortTaken
from tests.drills.checker.evidence import History
from tests.drills.checker.raw import sqlite_log
from tests.drills.checker.raw_cql import cql_log
from tests.drills.links import Links
from tests.drills.processes import is_stopped, run_module
from tests.drills.small import CHANNEL_OPTIONS, ROOT
from tests.drills.stage import TENANT
from tests.smtp_sink import Sink

_CQL_NETWORK = "127.0.0"
_PORTS = range(21_000, 31_000, 100)


class _Prepared(Cluster):
    """A cluster whose processes are told more than usual before they start."""

    more: Mapping[str, Mapping[str, str]]
    links: Links

    def prepare(self) -> None:
        """See `Cluster.prepare`."""
        super().prepare()
        for name in self.names:
            child = self.child(name)
            for key in ("", "all", name.partition("-")[0], name):
                child.environment.update(self.more.get(key, {}))
            child.environment["DRILL_PART"] = name
            self._lead(name)

    def _lead(self, part: str) -> None:
        """Has a process reach the log servers over its own links, where it has any."""
        links = self.links.of(part, "nats")
        if links:
            urls = [re.sub(r":\d+$", f":{link.port}", url) for url, link in zip(self.nats_urls, links, strict=True)]
            self.child(part).environment["TRADEWIND_NATS_URLS"] = ",".join(urls)


class BigStage:
    """See `stage.Stage`. Use it as an async context.

    Args:
        store: what the services remember in.
        sync: see `Cluster`.
        linked: each process reaches the log servers, and the store's nodes, over links of its own.
        own: settings of a service or of one process ("chat", "chat-2"), by their names without the prefix.
    """

    def __init__(
        self, folder: Path, *, store: Store = "sqlite", sync: str = "2m", linked: bool = False,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.services: tuple[str, ...] = ("chat", "order", "mail")
        self.sink = Sink(slow_seconds=9.0)
        self.own = {name: dict(values) for name, values in (own or {}).items()}
        self._store, self._sync, self._linked = store, sync, linked
        self.links = Links()
        self.networks: dict[str, str] = {}
        self._cluster: Cluster | None = None

    @property
    def cluster(self) -> Cluster:
        """The running cluster."""
        assert self._cluster is not None
        return self._cluster

    async def __aenter__(self) -> Self:
        """Starts everything; returns when Envoy finds all healthy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await self.sink.__aenter__()
        for port in random.sample(_PORTS, len(_PORTS)):
            cluster = _Prepared(self.folder / "cluster", store=self._store, sync=self._sync, port=port)
            try:
                if self._linked:
                    await self._link(cluster)
                cluster.more, cluster.links = self._more(), self.links
                self._cluster = await cluster.__aenter__()
                return self
            except (PortTaken, ChildFailed) as error:
                # Ports that were free may be somebody's a moment later; all else is a failure.
                await self.links.close()
                self.links.all.clear()
                if isinstance(error, ChildFailed) and "in use" not in str(error):
                    raise
        raise RuntimeError("no hundred ports are free")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.cluster.__aexit__(kind, error, where)
        await self.links.close()
        await self.sink.__aexit__(kind, error, where)

    def parts(self, what: str) -> Sequence[str]:
        """See `Stage.parts`."""
        return [name for name in self.cluster.names if name.partition("-")[0] == what]

    def channel(self, service: str) -> grpc.aio.Channel:
        """See `Stage.channel`: through Envoy."""
        port = self.cluster.ports.named()[service]
        return grpc.aio.insecure_channel(f"{HOST}:{port}", options=CHANNEL_OPTIONS)

    def token(self, subject: str, *roles: str) -> str:
        """See `Stage.token`."""
        return Signer.from_file(self.cluster.secrets.signing).mint(subject, TENANT, roles, ttl=7200)

    def history(self, service: str) -> Mapping[str, History]:
        """See `Stage.history`."""
        file = self.store_file(service)
        if file is not None:
            return sqlite_log(file)
        points = [f"{_CQL_NETWORK}.{node}:{self.cluster.ports.cql}" for node in range(1, NODES + 1)]
        return cql_log(points, DATACENTER, f"tradewind_{service}")

    def received(self) -> Counter[str]:
        """See `Stage.received`."""
        return Counter(mail.recipient for mail in self.sink.mails)

    def pid(self, part: str) -> int | None:
        """See `Stage.pid`."""
        return self._child(part).pid

    def log_urls(self) -> list[str]:
        """See `Stage.log_urls`."""
        return self.cluster.nats_urls

    def log_folder(self, part: str) -> Path:
        """See `Stage.log_folder`."""
        folder = self._child(part).folder
        assert folder is not None
        return folder

    def store_file(self, service: str) -> Path | None:
        """See `Stage.store_file`."""
        return self.cluster.home.archive / f"{service}.db" if self._store == "sqlite" else None

    async def operate(self, *arguments: str) -> None:
        """See `Stage.operate`: told all that a process of the service it names is told."""
        await run_module(
            "services.operate", arguments, self.folder, self._told(arguments[arguments.index("--service") + 1])
        )

    async def lose_store(self) -> None:
        """See `Stage.lose_store`."""
        nodes = self.parts("cql")
        if nodes:
            await asyncio.gather(*(self.kill(node) for node in nodes))
            await asyncio.gather(*(self.wipe(node) for node in nodes))
            await asyncio.gather(*(self.start(node) for node in nodes))
            await asyncio.gather(*(self.serving(node) for node in nodes))
            keyspaces = [f"tradewind_{service}" for service in self.services]
            await run_module("services.migrate", keyspaces, self.folder, self._told("chat"))
            return
        parts = [part for service in self.services for part in self.parts(service)]
        await asyncio.gather(*(self.kill(part) for part in parts))
        for service in self.services:
            for file in self.cluster.home.archive.glob(f"{service}.db*"):
                file.unlink()
        await asyncio.gather(*(self.start(part) for part in parts))

    def _told(self, service: str) -> Mapping[str, str]:
        child = self._child(f"{service}-1")
        return {**child._program.environment, **child.environment}

    async def kill(self, part: str) -> None:
        """See `Stage.kill`."""
        await self._child(part).kill(restart=False)

    async def stop(self, part: str) -> None:
        """See `Stage.stop`."""
        await self._child(part).stop()

    async def wipe(self, part: str) -> None:
        """See `Stage.wipe`."""
        await self._child(part).wipe()

    async def start(self, part: str) -> None:
        """See `Stage.start`."""
        await self._child(part).start()

    async def pause(self, part: str) -> None:
        """See `Stage.pause`."""
        self._child(part).pause()

    async def resume(self, part: str) -> None:
        """See `Stage.resume`."""
        self._child(part).resume()

    async def serving(self, part: str) -> None:
        """See `Stage.serving`."""
        await self._child(part).wait_ready()

    def stopped(self, part: str) -> bool:
        """See `Stage.stopped`."""
        return is_stopped(self.pid(part))

    async def _link(self, cluster: Cluster) -> None:
        for service in self.services:
            for number in (1, 2):
                for node in range(1, NODES + 1):
                    target = (HOST, cluster.ports.nats_node(node)["client"])
                    await self.links.open(f"{service}-{number}", f"nats-{node}", target)
        if self._store == "cql":
            for part in sorted({part for part, _ in self.links.all}):
                await self._link_store(cluster, part)

    async def _link_store(self, cluster: Cluster, part: str) -> None:
        """The driver finds nodes by their addresses, so each process has a loopback network of its own, which the hand inside uses."""
        network = f"127.{len(self.links.all)}.0"
        for node in range(1, NODES + 1):
            target = (f"{_CQL_NETWORK}.{node}", cluster.ports.cql)
            await self.links.open(part, f"cql-{node}", target, f"{network}.{node}", cluster.ports.cql)
        self.networks[part] = network

    def _child(self, part: str) -> Child:
        return self.cluster.child(part)

    def _more(self) -> Mapping[str, Mapping[str, str]]:
        paths = [str(ROOT / "tests" / "drills" / "inside"), str(ROOT), str(ROOT / "clients" / "python")]
        shared = {
            "PYTHONPATH": os.pathsep.join(paths), "DRILL_FOLDER": str(self.folder), "TRADEWIND_RATE_LIMIT": "0",
            "TRADEWIND_TENANT_RATE_LIMIT": "0", "TRADEWIND_USER_MESSAGE_RATE": "0", "TRADEWIND_CONVERSATION_MESSAGE_RATE": "0",
            "TRADEWIND_TRACE_RATIO": "0", "TRADEWIND_LOG_LEVEL": "warning",
        }  # fmt: skip
        mail = {
            "SMARTHOST": f"{HOST}:{self.sink.port}", "SMTP_TLS": "never", "EXPIRE_AFTER": "20", "RETRY_MOST": "4",
            "SMTP_COMMAND_TIMEOUT": "2", "SMTP_DATA_TIMEOUT": "2", "SMTP_ATTEMPT_MARGIN": "2",
        }  # fmt: skip
        told = {"order": {"RESERVATION_LIVES": "30"}, **self.own, "mail": {**mail, **self.own.get("mail", {})}}
        named = {name: {f"TRADEWIND_{key}": value for key, value in own.items()} for name, own in told.items()}
        for part, network in self.networks.items():
            named[part] = {**named.get(part, {}), "DRILL_CQL_NETWORK": network, "DRILL_CQL_TRUE": _CQL_NETWORK}
        return {"": shared, **named}
