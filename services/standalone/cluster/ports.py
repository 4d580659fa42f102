"""The ports of a cluster on one machine: a hundred from TRADEWIND_PORT on, most of the first ten as a single standalone has them."""

from __future__ import annotations

from dataclasses import dataclass

from services.standalone.ports import Ports

COUNT = 100
NODES = 3
"""Log servers, and stores."""
MOST_PROCESSES = 9
"""Processes that a service can have here."""

_INNER = ("chat", "order", "mail", "tracking", "payments", "inbox", "downloads")


@dataclass(frozen=True)
class ClusterPorts(Ports):
    """Who listens where. Chat, Order, Mail, payments, inbox, tracking and downloads are Envoy's listeners; `process` gives those behind."""

    processes: int = 2

    @property
    def count(self) -> int:
        """How many there are."""
        return COUNT

    @property
    def admin(self) -> int:
        """Envoy's administration, HTTP."""
        return self.first + 8

    def nats_node(self, node: int) -> dict[str, int]:
        """The ports of the log server number 1, 2 or 3: for clients, for its monitoring, for the other two."""
        if node == 1:
            return {"client": self.nats, "monitor": self.nats_monitor, "routes": self.first + 10}
        start = self.first + 10 + 3 * (node - 1)
        return {"client": start, "monitor": start + 1, "routes": start + 2}

    @property
    def cql(self) -> int:
        """The store's nodes, for their clients: one port on three addresses."""
        return self.first + 20

    @property
    def cql_storage(self) -> int:
        """The store's nodes, for each other."""
        return self.first + 21

    def process(self, kind: str, number: int) -> int:
        """The port of what a process of a kind serves; kinds are those of Envoy's listeners. Numbers begin at 1."""
        return self.first + 30 + 10 * _INNER.index(kind) + number

    def named(self) -> dict[str, int]:
        """All ports by the name of who listens."""
        single = {name: port for name, port in super().named().items() if name != "push"}
        edge = {**single, "envoy admin": self.admin, "cql": self.cql, "cql storage": self.cql_storage}
        nodes = {
            f"nats-{node} {what}": port for node in range(1, NODES + 1) for what, port in self.nats_node(node).items()
        }
        inner = {
            f"{kind}-{number}": self.process(kind, number) for kind in _INNER for number in range(1, self.processes + 1)
        }
        return {**nodes, **edge, **inner}
