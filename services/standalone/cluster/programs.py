"""What a cluster runs on one machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from services.standalone import broker, cassandra
from services.standalone import programs as single
from services.standalone.child import Program
from services.standalone.cluster import brokers, edge
from services.standalone.cluster.ports import NODES, ClusterPorts
from services.standalone.config import StandaloneSettings
from services.standalone.home import Home
from services.standalone.keys import Keys

EDGE = single.PARTNERS
"""The stage of Envoy: services drain while it still carries what they say."""
KINDS = ("chat", "order", "mail", "payments", "inbox")
"""What there are several processes of."""
Store = Literal["sqlite", "cql"]
"""What services remember in: an SQLite file each, which their processes share, or three CQL nodes."""

_SLOWEST_START = 90.0


class Programs:
    """Makes each program of a cluster by its name: ``nats-1``, ``chat-2``, ``envoy``."""

    def __init__(
        self, settings: StandaloneSettings, home: Home, secrets: Keys, ports: ClusterPorts,
        store: Store, more: Mapping[str, str], *, sync: str = "2m",
    ) -> None:  # fmt: skip
        """Tell every service ``more`` too; ``sync`` is how often log servers make sure of what they wrote.

        Raises NoCassandra, OSError.
        """
        self._home, self._secrets, self._ports, self._sync = home, secrets, ports, sync
        shared = single.shared_by_all(settings, home, secrets, brokers.urls(secrets, ports))
        self._shared = {**shared, "TRADEWIND_LOG_REPLICAS": str(NODES), "TRADEWIND_STORE": store}
        self._store: cassandra.Cluster | None = None
        if store == "cql":
            self._store = cassandra.Cluster.at(home.cassandra, NODES, ports.cql, ports.cql_storage)
            self._shared.update(self._store.settings())
        self._shared.update(more)
        self._makers: dict[str, Callable[[str, int], Program]] = {
            "chat": self._chat,
            "order": self._order,
            "mail": self._mail,
            "payments": self._payments,
            "inbox": self._inbox,
        }

    def all(self, tell: Callable[[str], None]) -> list[Program]:
        """Give all of them; ``tell`` hears what takes its time. Raises NoBroker, NoEnvoy, NoCassandra, OSError."""
        logs = [self.nats(node) for node in range(1, NODES + 1)]
        stores = self._store.programs(single.LEDGERS, stage=single.LOG, tell=tell) if self._store else []
        several = [self.process(kind, number) for kind in KINDS for number in range(1, self._ports.processes + 1)]
        return [*logs, *stores, *several, self.envoy()]

    def nats(self, node: int) -> Program:
        """Give log server 1, 2 or 3. Raises NoBroker, OSError."""
        file = brokers.write(self._home, self._secrets, self._ports, node, self._sync)
        ports = self._ports.nats_node(node)
        return Program(
            f"nats-{node}",
            (broker.program(), "--config", str(file)),
            brokers.has_leader(ports["monitor"]),
            single.LOG,
            log_suffix=".log",
            ports=ports,
            folder=brokers.folder(self._home, node),
            ready_seconds=_SLOWEST_START,
            patient=True,
        )

    def process(self, kind: str, number: int) -> Program:
        """Give a process of a kind."""
        made = self._makers[kind](f"{kind}-{number}", number)
        return replace(made, ready_seconds=_SLOWEST_START, patient=True)

    def envoy(self) -> Program:
        """Give the edge. Raises NoEnvoy, OSError."""
        numbers = range(1, self._ports.processes + 1)
        endpoints = {kind: [self._ports.process(kind, number) for number in numbers] for kind in edge.KINDS}
        file = edge.write(self._home, self._ports, endpoints)
        listeners = {kind: self._ports.named()[kind] for kind in edge.KINDS}
        return Program(
            "envoy",
            edge.command(file),
            edge.serving(self._ports.admin, {}),
            EDGE,
            log_suffix=".log",
            ports={**listeners, "admin": self._ports.admin},
            ready_seconds=_SLOWEST_START,
            patient=True,
        )

    def _chat(self, name: str, number: int) -> Program:
        downloads = self._ports.process("downloads", number)
        links = single.download_settings(self._secrets, self._ports, downloads)
        own = {**single.chat_settings(self._home), **links, "ATTACHMENT_REPLICAS": str(NODES)}
        made = single.service(name, "services.chat", self._ports.process("chat", number), self._shared, own)
        return replace(made, ports={**made.ports, "downloads": downloads})

    def _order(self, name: str, number: int) -> Program:
        own = single.order_settings(self._home, self._ports)
        return single.service(name, "services.order", self._ports.process("order", number), self._shared, own)

    def _mail(self, name: str, number: int) -> Program:
        tracking = self._ports.process("tracking", number)
        own = single.mail_settings(self._home, self._secrets, self._ports, tracking)
        made = single.service(name, "services.mail", self._ports.process("mail", number), self._shared, own)
        return replace(made, ports={**made.ports, "tracking": tracking})

    def _payments(self, name: str, number: int) -> Program:
        return single.payments(name, self._ports.process("payments", number), self._shared, self._home)

    def _inbox(self, name: str, number: int) -> Program:
        return single.inbox(name, self._ports.process("inbox", number), self._shared, self._home)
