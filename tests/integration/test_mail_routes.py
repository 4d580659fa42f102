"""Where mail goes, asked of a real DNS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns.asyncresolver import Resolver

from services.mail.domain import Reply
from services.mail.smtp.connection import Endpoint, Tls
from services.mail.smtp.routes import NoRoute, Routes, RouteTable

RECORDS = {
    "two.example.": ["20 b.two.example.", "10 a.two.example."],
    "none.example.": ["0 ."],
    "own.example.": [],
}


class _Server(asyncio.DatagramProtocol):
    """Answers MX queries out of RECORDS; what is not there does not exist, and `broken.example` fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text()
        self.asked.append(name)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA | dns.flags.AA
        if name == "broken.example.":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name not in RECORDS:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif RECORDS[name]:
            answer.answer.append(dns.rrset.from_text(name, 300, "IN", "MX", *RECORDS[name]))
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Routes, _Server]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(_Server, local_addr=("127.0.0.1", 0))
    resolver = Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]
    try:
        yield Routes(RouteTable({"kept.example": Endpoint("127.0.0.1", 2525)}, tls=Tls.NEVER), resolver), server
    finally:
        transport.close()


async def test_servers_come_in_order_of_preference_and_are_remembered() -> None:
    async with served() as (routes, server):
        expected = (Endpoint("a.two.example", 25, Tls.NEVER), Endpoint("b.two.example", 25, Tls.NEVER))
        assert await routes.of("two.example") == expected
        assert await routes.of("two.example") == expected
        assert server.asked == ["two.example."]


async def test_a_domain_without_servers_is_its_own() -> None:
    async with served() as (routes, _):
        assert await routes.of("own.example") == (Endpoint("own.example", 25, Tls.NEVER),)


async def test_a_configured_route_asks_nobody() -> None:
    async with served() as (routes, server):
        assert await routes.of("kept.example") == (Endpoint("127.0.0.1", 2525),)
        assert server.asked == []


@pytest.mark.parametrize(
    ("domain", "reply"),
    [
        ("none.example", Reply(556, "5.1.10")),
        ("absent.example", Reply(550, "5.1.2")),
        ("broken.example", Reply(0, "4.4.3")),
    ],
)
async def test_why_there_is_no_way_tells_whether_to_come_again(domain: str, reply: Reply) -> None:
    async with served() as (routes, _):
        with pytest.raises(NoRoute) as none:
            await routes.of(domain)
        assert none.value.reply == reply
