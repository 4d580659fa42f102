"""The connection to a real NATS survives its server's end, and keeps quiet about it."""

import asyncio
import base64
import binascii
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.errors import OutboundBufferLimitError
from pydantic import SecretStr

from services.runtime.config import RuntimeSettings
from services.runtime.logs import configure
from services.runtime.nats import connect
from services.runtime.nkeys import credentials, seed_key
from tests.ports import free_port
from tests.servers import NatsServer

MakeServer = Callable[..., NatsServer]


def settings(server: NatsServer, **changes: Any) -> RuntimeSettings:
    return RuntimeSettings(nats_urls=(SecretStr(server.url),), **changes)


async def test_it_reconnects_and_sends_what_waited(
    own_nats_server: NatsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    configure("trial")
    client = await connect(settings(own_nats_server), "trial")
    received = await client.subscribe("greetings")
    await client.flush()
    await asyncio.to_thread(own_nats_server.kill)
    async with asyncio.timeout(60):
        while client.is_connected:
            await asyncio.sleep(0.01)
    await client.publish("greetings", b"waited")
    with pytest.raises(OutboundBufferLimitError):
        for _ in range(20):
            await client.publish("greetings", b"x" * 1_000_000)
    await asyncio.to_thread(own_nats_server.start)
    assert (await received.next_msg(timeout=60)).data == b"waited"
    await client.close()
    events = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert {"nats_disconnected", "nats_reconnected", "nats_closed"} <= set(events)
    assert events.count("nats_error") <= 5


async def test_a_flush_that_is_cancelled_leaves_the_connection_as_it_was(
    own_nats_server: NatsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    configure("trial")
    client = await connect(settings(own_nats_server), "trial")
    received = await client.subscribe("greetings")
    for _ in range(3):
        flushing = asyncio.ensure_future(client.flush())
        await asyncio.sleep(0)
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing
    for each in range(3):
        await client.publish("greetings", b"%d" % each)
        assert (await received.next_msg(timeout=30)).data == b"%d" % each
        await client.flush(30)
    await client.close()
    told = capfd.readouterr().err
    assert "library_message" not in told
    assert "nats_reconnected" not in told


async def test_it_waits_for_a_server_that_is_not_there_yet(make_nats_server: MakeServer) -> None:
    server = make_nats_server()
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(server.kill)
    connecting = asyncio.ensure_future(connect(settings(server), "trial"))
    done, _ = await asyncio.wait([connecting], timeout=0.3)
    assert not done
    await asyncio.to_thread(server.start)
    client = await asyncio.wait_for(connecting, 60)
    assert client.is_connected
    await client.close()


async def test_why_a_server_does_not_let_it_in_is_said(
    make_nats_server: MakeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """An operator with a wrong secret, or a wrong port, is told so; what the secret is, is not."""
    configure("trial", "info")
    server = make_nats_server(['authorization { token: "right" }'])
    await asyncio.to_thread(server.start)
    shut = RuntimeSettings(nats_urls=(SecretStr(server.url.replace("//", "//wrong-one@")),))
    closed = RuntimeSettings(nats_urls=(SecretStr(f"nats://wrong-one@127.0.0.1:{free_port()}"),))
    for settings_, reason in ((shut, "Authorization Violation"), (closed, "Connect call failed")):
        connecting = asyncio.ensure_future(connect(settings_, "trial"))
        told = ""
        async with asyncio.timeout(30):
            while reason not in told:
                await asyncio.sleep(0.05)
                told += "".join(capfd.readouterr())
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        assert "wrong-one" not in told


async def test_credentials_open_a_server_that_asks_for_them(make_nats_server: MakeServer, tmp_path: Path) -> None:
    operator, account, user = NKey("O"), NKey("A"), NKey("U")
    limits = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
    server = make_nats_server(
        [
            f"operator: {operator.jwt(operator, type='operator')}",
            f"system_account: {account.name}",
            "resolver: MEMORY",
            f"resolver_preload: {{ {account.name}: {operator.jwt(account, type='account', limits=limits)} }}",
        ]
    )
    await asyncio.to_thread(server.start)
    file = tmp_path / "user.creds"
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{account.jwt(user, type='user', subs=-1, data=-1, payload=-1)}\n"
        "------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    client = await asyncio.wait_for(connect(settings(server, nats_creds_file=file), "trial"), 60)
    await client.flush()
    await client.close()


class NKey:
    """A key of NATS: an operator's (O), an account's (A) or a user's (U)."""

    def __init__(self, kind: str) -> None:
        self._private = Ed25519PrivateKey.generate()
        prefix = {"O": 14, "A": 0, "U": 20}[kind] << 3
        self.name = _checked(bytes([prefix]) + self._private.public_key().public_bytes_raw())
        self.seed = _checked(bytes([18 << 3 | prefix >> 5, (prefix & 31) << 3]) + self._private.private_bytes_raw())

    def jwt(self, subject: "NKey", **claims: object) -> str:
        """A token about a key, signed by this one."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"iss": self.name, "sub": subject.name, "iat": 1, "jti": subject.name, "nats": {"version": 2, **claims}}
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in (head, body))
        return b".".join([signed, _base64url(self._private.sign(signed))]).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _checked(data: bytes) -> str:
    """Base32 with the checksum of nkeys: CRC-16/XMODEM, low byte first."""
    return base64.b32encode(data + binascii.crc_hqx(data, 0).to_bytes(2, "little")).rstrip(b"=").decode()


@pytest.mark.parametrize("content", ["", "junk", "-----BEGIN A-----\nx\n------END A------\n"])
def test_what_are_no_credentials_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "user.creds"
    file.write_text(content)
    with pytest.raises(ValueError, match="NATS credentials"):
        credentials(file)


@pytest.mark.parametrize("seed", ["", "SUAA", "not base32!", "A" * 58])
def test_what_is_no_seed_is_refused(seed: str) -> None:
    with pytest.raises(ValueError, match="nkey seed"):
        seed_key(seed)


async def test_what_was_not_sent_when_the_connection_broke_is_not_sent_on_the_next(own_nats_server: NatsServer) -> None:
    client = await connect(settings(own_nats_server), "trial")
    received = await client.subscribe("greetings")
    await client.flush()
    await asyncio.to_thread(own_nats_server.pause)
    # More than the system's own buffers take: the rest is the client's when the server is gone.
    async with asyncio.timeout(60):
        while client.pending_data_size < 2_000_000:
            await client.publish("greetings", b"x" * 900_000)
            await asyncio.sleep(0.01)
    await asyncio.to_thread(own_nats_server.kill)
    async with asyncio.timeout(60):
        while client.is_connected:
            await asyncio.sleep(0.01)
    await client.publish("greetings", b"since then")
    await asyncio.to_thread(own_nats_server.start)
    assert (await received.next_msg(timeout=60)).data == b"since then"
    await client.close()
