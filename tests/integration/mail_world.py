"""A whole Mail service inside a test: real nats-server, real store, real gRPC, real SMTP, real HTTP."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from tradewind.mail.v1 import mail_pb2, mail_service_pb2_grpc
from tradewind.mail.v1 import mail_service_pb2 as pb

from services.host import Host, host
from services.mail.config import MailSettings
from services.mail.domain import Mail
from services.mail.house import House
from services.mail.kinds import MAIL, mail_of
from services.mail.policy import POLICY
from services.runtime.tokens import Signer
from tests.smtp_sink import Sink

TENANT = "acme"
QUICK: dict[str, Any] = {
    "smtp_connect_timeout": 30.0,
    "smtp_command_timeout": 5.0,
    "smtp_data_timeout": 5.0,
    "smtp_attempt_margin": 1.0,
    "retry_first": 0.2,
    "retry_most": 1.0,
    "stats_flush": 0.02,
}


def request_id() -> str:
    """Makes a UUIDv7 (RFC 9562) of now."""
    number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))


def mail_to(address: str, **fields: Any) -> pb.SendMailRequest:
    """Writes a short mail."""
    return pb.SendMailRequest(
        request_id=request_id(),
        to=mail_pb2.Mailbox(address=address, name="Ann"),
        content=mail_pb2.MailContent(subject="Hello", text="Hello\n", html="<p>Hello</p>"),
        **fields,
    )


def keys_in(folder: Path) -> dict[str, Path]:
    """Makes the key files that Mail is told of, once."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.pem" for name in ("token", "token_public", "dkim", "tracking")}
    if not files["token"].exists():
        key, dkim_key = Ed25519PrivateKey.generate(), generate_private_key(65537, 2048)
        for name, private in (("token", key), ("dkim", dkim_key)):
            files[name].write_bytes(
                private.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
        files["token_public"].write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        files["tracking"].write_text(secrets.token_hex(32))
    return files


class MailWorld:
    """The service, and somebody who may use it."""

    def __init__(self, hosted: Host[MailSettings], house: House, signer: Signer) -> None:
        self.hosted, self.house = hosted, house
        self.ledger, self.nats = hosted.ledger, hosted.nats
        self.signer = signer
        self._channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{hosted.server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.stub = mail_service_pb2_grpc.MailServiceStub(self._channel)

    def metadata(self, *roles: str, tenant: str = TENANT, subject: str = "tester") -> tuple[tuple[str, str], ...]:
        """Gives the metadata of somebody with roles."""
        return (("authorization", f"Bearer {self.signer.mint(subject, tenant, roles or ('service',))}"),)

    def call(self, method: str, *args: Any, roles: tuple[str, ...] = (), tenant: str = TENANT, **options: Any) -> Any:
        """Calls an rpc by name."""
        return getattr(self.stub, method)(*args, metadata=self.metadata(*roles, tenant=tenant), **options)

    async def send(self, address: str, **fields: Any) -> str:
        """Sends a short mail; gives its id."""
        return str((await self.call("SendMail", mail_to(address, **fields))).mail_id)

    async def get(self, mail_id: str) -> mail_pb2.Mail:
        """Gets a mail."""
        mail: mail_pb2.Mail = (await self.call("GetMail", pb.GetMailRequest(mail_id=mail_id))).mail
        return mail

    async def until(self, mail_id: str, holds: Callable[[Mail], bool], seconds: float = 60.0) -> Mail:
        """Waits until something holds of a mail, as its own log tells it."""
        aggregate = mail_of(TENANT, mail_id)
        watcher = self.ledger.watcher()
        await watcher.add(aggregate, after=0)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    mail: Mail = (await self.ledger.read(aggregate)).state
                    if holds(mail):
                        return mail
                    await watcher.ready()
        finally:
            watcher.close()

    async def close(self) -> None:
        await self._channel.close()


def settings_for(nats_url: str, folder: Path, sink: Sink | None, **options: Any) -> MailSettings:
    """Gives settings of a quick Mail on a folder, that hands all mail to a sink."""
    keys = keys_in(folder / "keys")
    facts: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "nats_urls": (nats_url,),
        "rate_limit": 0,
        "tenant_rate_limit": 0,
        "drain_grace": 5.0,
        "reflection": False,
        "log_level": "warning",
        "store_file": folder / "mail.db",
        "log_partitions": 2,
        "auth_public_key_files": (keys["token_public"],),
        "dkim_key_file": keys["dkim"],
        "tracking_key_file": keys["tracking"],
        "order_events": False,
        **QUICK,
        **options,
    }
    if sink is not None:
        facts["smarthost"] = f"{sink.host}:{sink.port}"
    return MailSettings(**facts)


@asynccontextmanager
async def mail_world(nats_url: str, folder: Path, sink: Sink | None = None, **options: Any) -> AsyncIterator[MailWorld]:
    """Runs Mail on a nats-server and a folder; started again on both it goes on where it was."""
    settings = settings_for(nats_url, folder, sink, **options)
    signer = Signer.from_file(folder / "keys" / "token.pem")
    async with host("mail", settings, [MAIL], POLICY) as hosted:
        house = House(hosted)
        await house.open()
        await hosted.server.start()
        world = MailWorld(hosted, house, signer)
        try:
            yield world
        finally:
            await hosted.server.drain()
            await world.close()
            await house.close()
