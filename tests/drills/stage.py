"""Where drills happen: named parts that can be killed, paused, cut and wiped, and what clients and the checker need of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import grpc

from tests.drills.checker.evidence import History
from tests.drills.links import Links

TENANT = "drill"


class OperatorFailed(Exception):
    """An operator's command ended with an error; the message is what it said."""


class Stage(Protocol):
    """A running deployment.

    Attributes:
        folder: where everything of it is; kept where a drill failed.
        services: the services that run here, of "chat", "order", "mail".
        links: what stands between processes and servers; empty unless the stage was asked for it.
    """

    folder: Path
    services: tuple[str, ...]
    links: Links

    def parts(self, what: str) -> Sequence[str]:
        """Names of the parts of a kind: "chat", "order", "mail", "nats", "cql"; empty where there is none here."""

    def channel(self, service: str) -> grpc.aio.Channel:
        """A new channel to a service as clients reach it, or to "payments"."""

    def token(self, subject: str, *roles: str) -> str:
        """A bearer token of the drill's tenant."""

    def history(self, service: str) -> Mapping[str, History]:
        """What the raw store of a service holds. Blocks; call it in a thread."""

    def pid(self, part: str) -> int | None:
        """The process of a part; None while it does not run."""

    def log_urls(self) -> list[str]:
        """Where the log servers are, for their clients, past every proxy."""

    def log_folder(self, part: str) -> Path:
        """Where a log server keeps what it holds."""

    def store_file(self, service: str) -> Path | None:
        """The service's SQLite file; None where its store is another."""

    async def operate(self, *arguments: str) -> None:
        """Does what an operator would: ``python -m services.operate …``. Raises OperatorFailed."""

    async def lose_store(self) -> None:
        """Deletes all that the services' stores hold, while they run; when this returns empty stores are there, and services with them."""

    def received(self) -> Counter[str]:
        """How many mails the receiving server took for each address."""

    async def kill(self, part: str) -> None:
        """SIGKILL, and its end awaited."""

    async def start(self, part: str) -> None:
        """Starts a part that was killed or stopped; returns when it serves, or at once where `waits` says nobody can yet."""

    async def pause(self, part: str) -> None:
        """SIGSTOP."""

    async def resume(self, part: str) -> None:
        """SIGCONT."""

    async def serving(self, part: str) -> None:
        """Waits until a service's process says that it serves."""

    async def stop(self, part: str) -> None:
        """SIGTERM, and its end awaited."""

    async def wipe(self, part: str) -> None:
        """Deletes all that a log server or a store's node keeps. It must not run."""

    def stopped(self, part: str) -> bool:
        """Whether a part's process is stopped (SIGSTOP)."""
