"""The ports of a standalone: a range that begins at TRADEWIND_PORT."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass

HOST = "127.0.0.1"
COUNT = 10


class PortTaken(Exception):
    """A port of the range is in use by another program."""


@dataclass(frozen=True)
class Ports:
    """Who listens where, counted from the first port."""

    first: int

    @property
    def count(self) -> int:
        """How many there are."""
        return COUNT

    @property
    def nats(self) -> int:
        """The log server, for its clients."""
        return self.first

    @property
    def chat(self) -> int:
        """Chat, gRPC."""
        return self.first + 1

    @property
    def order(self) -> int:
        """Order, gRPC."""
        return self.first + 2

    @property
    def mail(self) -> int:
        """Mail, gRPC."""
        return self.first + 3

    @property
    def payments(self) -> int:
        """The payment simulator, gRPC."""
        return self.first + 4

    @property
    def inbox(self) -> int:
        """The inbox, SMTP."""
        return self.first + 5

    @property
    def tracking(self) -> int:
        """Open tracking of Mail, HTTP."""
        return self.first + 6

    @property
    def nats_monitor(self) -> int:
        """The log server's monitoring, HTTP."""
        return self.first + 7

    @property
    def push(self) -> int:
        """The push simulator, gRPC."""
        return self.first + 8

    @property
    def downloads(self) -> int:
        """Attachments of Chat, HTTP."""
        return self.first + 9

    def named(self) -> dict[str, int]:
        """All ports by the name of who listens."""
        return {
            "nats": self.nats,
            "chat": self.chat,
            "order": self.order,
            "mail": self.mail,
            "payments": self.payments,
            "inbox": self.inbox,
            "tracking": self.tracking,
            "nats-monitor": self.nats_monitor,
            "push": self.push,
            "downloads": self.downloads,
        }

    def require_free(self) -> None:
        """Raise PortTaken, with one line that says which port and what to set, unless all are free."""
        for name, port in self.named().items():
            if not _is_free(port):
                raise PortTaken(
                    f"port {port} ({name}) is taken by another program; "
                    f"set TRADEWIND_PORT to the first of {self.count} free ports, such as {self._free_range()}"
                )

    def _free_range(self) -> int:
        """Look for a range that is free now; a suggestion only."""
        for first in range(7400, 9000, 100):
            if first != self.first and all(_is_free(first + offset) for offset in range(self.count)):
                return first
        return 20_000


@dataclass(frozen=True)
class CqlPorts(Ports):
    """The same, and two more for a store of its own."""

    @property
    def count(self) -> int:
        """How many there are."""
        return COUNT + 2

    @property
    def cql(self) -> int:
        """The store, for its clients."""
        return self.first + COUNT

    @property
    def cql_storage(self) -> int:
        """The store, for nodes beside it; there are none."""
        return self.first + COUNT + 1

    def named(self) -> dict[str, int]:
        """All ports by the name of who listens."""
        return {**super().named(), "cql": self.cql, "cql storage": self.cql_storage}


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform == "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Connections that end slowly do not keep a server from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True
