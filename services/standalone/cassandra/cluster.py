"""A cluster of nodes on this machine, and what services are told of it."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.standalone import ready
from services.standalone.cassandra.distribution import Distribution, NoCassandra
from services.standalone.cassandra.node import DATACENTER, Node
from services.standalone.cassandra.schema import with_schema
from services.standalone.child import Program
from services.standalone.ports import HOST

_TRIES = 100
_READY_SECONDS = 90.0
"""On a busy machine; twice as much for several that start at once."""


@dataclass(frozen=True)
class Cluster:
    """Some nodes, one or three as a rule; each keeps a full copy where there are at most three."""

    nodes: tuple[Node, ...]

    @classmethod
    def at(
        cls, folder: Path, nodes: int, native_port: int, storage_port: int, network: str = "127.0.0", *,
        fleeting: bool = False,
    ) -> Cluster:  # fmt: skip
        """Describe nodes on ``network``.1, .2, …, below ``folder``; nothing is written or started.

        The same folder must be given the same numbers again: a node remembers its address. What ``fleeting`` nodes are told need not
        outlive them.

        Raises:
            NoCassandra: this machine has not so many loopback addresses.
        """
        addresses = tuple(f"{network}.{number}" for number in range(1, nodes + 1))
        for address in addresses:
            _require_address(address)
        # Who carries another cluster's name is refused by its nodes, even where it finds them.
        name = f"tradewind {network} {storage_port}"
        return cls(
            tuple(
                Node(name, number, folder / f"node{number}", address, native_port, storage_port, addresses, fleeting)
                for number, address in enumerate(addresses, 1)
            )
        )

    @classmethod
    def anywhere(cls, folder: Path, nodes: int, *, fleeting: bool = False) -> Cluster:
        """Describe nodes on a loopback network and on ports that nobody uses now, for tests that run beside others. Raises NoCassandra."""
        for _ in range(_TRIES):
            network = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}" if sys.platform == "linux" else "127.0.0"
            native_port, storage_port = random.sample(range(15_000, 32_000), 2)
            cluster = cls.at(folder, nodes, native_port, storage_port, network, fleeting=fleeting)
            if all(_is_free(node.address, port) for node in cluster.nodes for port in (native_port, storage_port)):
                return cluster
        raise NoCassandra("no free ports were found")

    @property
    def contact_points(self) -> tuple[str, ...]:
        """Where clients connect, ``host:port``."""
        return tuple(node.contact_point for node in self.nodes)

    @property
    def replication(self) -> int:
        """Copies of everything: one a node, three at most."""
        return min(len(self.nodes), 3)

    def settings(self) -> dict[str, str]:
        """The environment of services whose stores are here, each a keyspace of its own name."""
        return {
            "TRADEWIND_STORE": "cql",
            "TRADEWIND_CQL_CONTACT_POINTS": ",".join(self.contact_points),
            "TRADEWIND_CQL_LOCAL_DC": DATACENTER,
            "TRADEWIND_CQL_REPLICATION": f"{DATACENTER}:{self.replication}",
        }

    def programs(
        self, services: Sequence[str] = (), *, stage: int = 0, tell: Callable[[str], None] = lambda line: None
    ) -> list[Program]:
        """Give the nodes as programs of a fleet, which may start at once; named cql, or cql-1, cql-2, … where there are several.

        The last of them serves when all do and the keyspaces of ``services`` are ready for them.

        Blocks: writes the nodes' configuration, and the first time on a machine fetches the jars, of which ``tell`` is told.
        Raises NoCassandra, OSError.
        """
        distribution = Distribution.fetch(tell)
        probes = [ready.cql(node.address, node.native_port) for node in self.nodes]
        if services:
            keyspaces = [f"tradewind_{service}" for service in services]
            probes[-1] = with_schema(tuple(probes), keyspaces, self.settings(), self.nodes[-1].folder)
        for node in self.nodes:
            node.write_configuration()
        return [
            Program(
                node.name,
                node.command(distribution),
                probe,
                stage,
                node.environment(),
                log_suffix=".log",
                ports={"cql": node.native_port, "storage": node.storage_port},
                folder=node.store,
                ready_seconds=_READY_SECONDS * min(len(self.nodes), 2),
                patient=len(self.nodes) > 1,
            )
            for node, probe in zip(self.nodes, probes, strict=True)
        ]


def _require_address(address: str) -> None:
    """Raise NoCassandra unless servers can listen on the address."""
    if address == HOST:
        return
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise NoCassandra(
                f"several CQL servers need several loopback addresses, as Linux has; {address} is none here"
            ) from error


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
