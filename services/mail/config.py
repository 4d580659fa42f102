"""Settings of the Mail service, beside those of every service: same environment prefix, same file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FilePath

from services.host import ServiceSettings
from services.mail.domain import Backoff, domain_of
from services.mail.smtp.connection import Endpoint, Timeouts, Tls
from services.mail.smtp.pool import Limits
from services.mail.smtp.routes import RouteTable
from services.runtime.config import Address, Seconds, Words

SECOND_US = 1_000_000


def _routes(value: tuple[str, ...]) -> tuple[str, ...]:
    for word in value:
        domain, _, target = word.partition("=")
        if not domain or not target.rpartition(":")[2].isdecimal():
            raise ValueError("must be domain=host:port")
    return value


def _sender(value: str) -> str:
    if not domain_of(value) or "@" not in value:
        raise ValueError("must be an address")
    return value


class MailSettings(ServiceSettings):
    """What Mail can be told."""

    store_file: Path = Path("mail.db")
    """The SQLite file that remembers mails and statistics."""

    sender: Annotated[str, AfterValidator(_sender)] = "orders@tradewind.example"
    """Who writes where a request names nobody."""
    sender_name: str = Field("Tradewind", max_length=128)
    """The name people see beside it."""
    sender_domains: Words = ()
    """Further domains that may be written from."""

    dkim_key_file: FilePath | None = None
    """PEM private key that mails are signed with: RSA, or Ed25519. Without one they are not signed."""
    dkim_domain: str = "tradewind.example"
    """The domain that signs."""
    dkim_selector: str = Field("tradewind", pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$")
    """Where its public key stands in DNS: ``<selector>._domainkey.<domain>``."""

    hello: str = Field("localhost", pattern=r"^[A-Za-z0-9.:\[\]-]{1,255}$")
    """The name this host greets with."""
    smarthost: Address | None = None
    """The server that takes all mail; without one the domains' own servers are looked up in DNS."""
    routes: Annotated[Words, AfterValidator(_routes)] = ()
    """Domains with a server of their own, as ``domain=host:port``."""
    smtp_tls: Literal["never", "opportunistic", "required"] = "opportunistic"
    """Whether sessions are encrypted; ``required`` also verifies certificates."""
    smtp_connect_timeout: Seconds = Field(15.0, gt=0)
    """How long to wait for a connection."""
    smtp_command_timeout: Seconds = Field(30.0, gt=0)
    """How long to wait for the answer to a command."""
    smtp_data_timeout: Seconds = Field(120.0, gt=0)
    """How long to wait for the answer to a mail's text."""
    smtp_attempt_margin: Seconds = 15.0
    """So long after all these waits an attempt without an outcome is given up as unknown: clocks differ, and processes pause."""
    smtp_connections: int = Field(256, ge=1, le=10_000)
    """Connections of one process in use at a time."""
    smtp_connections_per_server: int = Field(16, ge=1, le=1000)
    """Of those to one server."""
    smtp_mails_per_domain: int = Field(8, ge=1, le=1000)
    """Mails under way at a time to one recipient domain, in each lane, from all processes together; at least one from each."""
    smtp_waiting_per_domain: int = Field(1000, ge=0, le=100_000)
    """Mails to one domain that wait in memory for their turn, in each lane; more are put off and wait in the log."""

    retry_first: Seconds = Field(60.0, gt=0)
    """After the first failure that may pass, try again after about so long; then twice as long, and so on."""
    retry_most: Seconds = Field(3600.0, gt=0)
    """But never longer than this."""
    expire_after: Seconds = Field(4 * 86_400.0, gt=0)
    """No attempt later than so long after the mail was taken."""

    tracking_key_file: FilePath | None = None
    """Secret that tracked addresses are signed with, as hexadecimal text of at least 32 bytes; several lines: the first signs, all
    verify. Without it nothing is tracked."""
    tracking_listen: Address = "127.0.0.1:0"
    """Where pictures are served."""
    tracking_url: str = Field("http://127.0.0.1:8080", pattern=r"^https?://[^\s\"'<>]+$")
    """How people's mail programs reach it."""

    order_events: bool = True
    """Write to the customers of orders: consume Order's log. Off where no Order service is deployed."""
    stats_flush: Seconds = Field(0.15, gt=0, le=10)
    """Statistics are written so often."""
    stats_rows: int = Field(20_000, ge=100)
    """Rows of statistics kept in memory, for each partition of the log."""

    @property
    def allowed_domains(self) -> frozenset[str]:
        """The domains that may be written from."""
        return frozenset({domain_of(self.sender), *(domain.lower() for domain in self.sender_domains)})

    @property
    def backoff(self) -> Backoff:
        """The waits between attempts."""
        return Backoff(round(self.retry_first * SECOND_US), round(max(self.retry_first, self.retry_most) * SECOND_US))

    @property
    def timeouts(self) -> Timeouts:
        """How long to wait for servers."""
        return Timeouts(self.smtp_connect_timeout, self.smtp_command_timeout, self.smtp_data_timeout)

    @property
    def limits(self) -> Limits:
        """How many sessions to have."""
        return Limits(per_server=self.smtp_connections_per_server, total=self.smtp_connections)

    @property
    def route_table(self) -> RouteTable:
        """Where mail goes."""
        tls = Tls(self.smtp_tls)
        words = (word.partition("=") for word in self.routes)
        domains = {domain.lower(): _endpoint(target, tls) for domain, _, target in words}
        return RouteTable(domains, _endpoint(self.smarthost, tls) if self.smarthost else None, tls)


def _endpoint(address: str, tls: Tls) -> Endpoint:
    host, _, port = address.rpartition(":")
    return Endpoint(host.strip("[]"), int(port), tls)
