"""Where the mail of a domain goes: a configured route, a smart host, or the domain's own servers by MX (RFC 5321, 5.1)."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.resolver
from dns.asyncresolver import Resolver
from dns.rdtypes.ANY.MX import MX

from services.mail.domain import Reply
from services.mail.smtp.connection import Endpoint, Tls

MOST_KEPT = 10_000
"""Domains whose servers are remembered."""
MOST_SERVERS = 5
"""Servers of one domain that are tried."""
LONGEST_KEPT = 3600.0
LOOKUP_SECONDS = 10.0


class NoRoute(Exception):
    """The domain takes no mail (hard ``reply``), or it cannot be found out now (soft)."""

    def __init__(self, reply: Reply) -> None:
        super().__init__("no server for this domain")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Configured ways. ``default`` takes every domain that ``domains`` does not name; None: ask the DNS."""

    domains: Mapping[str, Endpoint]
    default: Endpoint | None = None
    tls: Tls = Tls.OPPORTUNISTIC


class Routes:
    """Answers where to go, best server first."""

    def __init__(self, table: RouteTable, resolver: Resolver | None = None) -> None:
        """Use a table before the DNS, and this machine's resolver unless told of another."""
        self._table = table
        self._resolver = resolver
        self._kept: OrderedDict[str, tuple[float, tuple[Endpoint, ...]]] = OrderedDict()
        self._loop = asyncio.get_running_loop()

    async def of(self, domain: str) -> tuple[Endpoint, ...]:
        """Give the servers of a domain in the order to try them.

        Raises:
            NoRoute: there are none; its reply tells whether for good.
        """
        configured = self._table.domains.get(domain) or self._table.default
        if configured is not None:
            return (configured,)
        kept = self._kept.get(domain)
        if kept is not None and kept[0] > self._loop.time():
            self._kept.move_to_end(domain)
            return kept[1]
        seconds, endpoints = await self._look_up(domain)
        self._kept[domain] = (self._loop.time() + seconds, endpoints)
        self._kept.move_to_end(domain)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return endpoints

    async def _look_up(self, domain: str) -> tuple[float, tuple[Endpoint, ...]]:
        try:
            resolver = self._resolver or dns.asyncresolver.get_default_resolver()
            answer = await resolver.resolve(domain, "MX", lifetime=LOOKUP_SECONDS)
        except dns.resolver.NXDOMAIN:
            raise NoRoute(Reply(550, "5.1.2")) from None
        except dns.resolver.NoAnswer:
            # A domain without MX is its own server (RFC 5321, 5.1).
            return 60.0, (Endpoint(domain, tls=self._table.tls),)
        except (dns.exception.DNSException, OSError):
            raise NoRoute(Reply(0, "4.4.3")) from None
        records = [(each.preference, str(each.exchange).rstrip(".")) for each in answer if isinstance(each, MX)]
        seconds = min(answer.rrset.ttl if answer.rrset is not None else 60.0, LONGEST_KEPT)
        return seconds, order(records, self._table.tls)


def order(records: list[tuple[int, str]], tls: Tls) -> tuple[Endpoint, ...]:
    """Sort MX records by preference, equals by chance.

    Raises:
        NoRoute: the domain says that it takes no mail (a null MX, RFC 7505).
    """
    if [host for _, host in records] == [""]:
        raise NoRoute(Reply(556, "5.1.10"))
    shuffled = sorted(records, key=lambda record: (record[0], random.random()))
    return tuple(Endpoint(host, tls=tls) for _, host in shuffled if host)[:MOST_SERVERS]
