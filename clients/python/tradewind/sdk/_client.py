"""The client: one channel to each service, opened when it is first used."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

from tradewind.sdk._admin import Admin
from tradewind.sdk._chat import Chat
from tradewind.sdk._chat_presence import Presence
from tradewind.sdk._connection import Connection, Tls, Token, open_channel
from tradewind.sdk._mail import Mails
from tradewind.sdk._order import Orders
from tradewind.sdk._retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the services are, as gRPC names (`host:port`); all the same where a proxy stands before them."""

    chat: str = ""
    order: str = ""
    mail: str = ""

    @staticmethod
    def all_at(target: str) -> Endpoints:
        """Give the endpoints of a proxy that serves all of them."""
        return Endpoints(target, target, target)


class Client:
    """Speaks to Chat, Order and Mail; made in a running loop, used with `async with` or closed with `close`.

    async with Client(Endpoints.all_at("localhost:7400"), token) as client:
        conversation = await client.chat.create_group(["ann", "bob"], title="Lunch")
        await client.chat.send_message(conversation.conversation_id, "Hello")
    """

    def __init__(
        self,
        endpoints: Endpoints | str,
        token: Token | None = None,
        *,
        tls: Tls | None = None,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Speak as the bearer of `token`; a call takes at most `timeout` seconds, all tries together, unless it says otherwise."""
        self._endpoints = Endpoints.all_at(endpoints) if isinstance(endpoints, str) else endpoints
        self._token = token
        self._tls = tls
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._connections: dict[str, Connection] = {}

    @cached_property
    def chat(self) -> Chat:
        """Conversations."""
        return Chat(self._connection("chat"))

    @cached_property
    def presence(self) -> Presence:
        """Who is there, and who types."""
        return Presence(self._connection("chat"))

    @cached_property
    def order(self) -> Orders:
        """Orders, items, stock."""
        return Orders(self._connection("order"))

    @cached_property
    def mail(self) -> Mails:
        """Mails and their statistics."""
        return Mails(self._connection("mail"))

    def admin(self, service: str) -> Admin:
        """Give the operators' side of one service: "chat", "order" or "mail"."""
        return Admin(self._connection(service))

    async def close(self) -> None:
        """Close all channels; what is under way ends."""
        connections = list(self._connections.values())
        self._connections.clear()
        await asyncio.gather(*(connection.close() for connection in connections))

    async def __aenter__(self) -> Self:
        """Give the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def _connection(self, service: str) -> Connection:
        known = self._connections.get(service)
        if known is not None:
            return known
        target = {"chat": self._endpoints.chat, "order": self._endpoints.order, "mail": self._endpoints.mail}[service]
        if not target:
            raise ValueError(f"no endpoint of {service} was given")
        connection = Connection(open_channel(target, self._tls), self._token, self._retry, self._timeout)
        self._connections[service] = connection
        return connection
