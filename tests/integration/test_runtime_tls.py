"""TLS and mutual TLS, with certificates made here."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.runtime.channel import acting, service_channel
from tests.integration.runtime_world import World, serve, settings_in
from tests.unit.runtime.trial import parcel, parse


@dataclass
class Issued:
    """A certificate with its key, as files, and signed by whom."""

    cert: Path
    key: Path
    private: ec.EllipticCurvePrivateKey
    name: x509.Name


def issue(folder: Path, name: str, issuer: Issued | None = None) -> Issued:
    """Make a certificate for 127.0.0.1, signed by ``issuer`` or by itself as an authority."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.name if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(issuer.private if issuer else private, hashes.SHA256())
    )
    issued = Issued(folder / f"{name}.crt", folder / f"{name}.key", private, subject)
    issued.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    issued.key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return issued


def secure(authority: Issued, shown: Issued | None = None) -> Callable[[str], grpc.aio.Channel]:
    """Make channels that trust ``authority`` and show ``shown``."""
    pair = (shown.key.read_bytes(), shown.cert.read_bytes()) if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.cert.read_bytes(), *pair)
    return partial(grpc.aio.secure_channel, credentials=credentials)


async def ask(world: World) -> Any:
    try:
        return (await world.say("hello", timeout=5)).label
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        await world.channel.close()


@pytest.fixture
def authority(tmp_path: Path) -> Issued:
    return issue(tmp_path, "authority")


async def test_tls_is_spoken_to_who_trusts_the_certificate(tmp_path: Path, authority: Issued) -> None:
    shown = issue(tmp_path, "server", authority)
    settings = settings_in(tmp_path, tls_cert_file=shown.cert, tls_key_file=shown.key)
    world = await serve(settings, target=secure(authority))
    assert await ask(world) == "hello"
    address = f"127.0.0.1:{world.server.port}"
    world.channel = grpc.aio.insecure_channel(address)
    assert await ask(world) is grpc.StatusCode.UNAVAILABLE
    world.channel = secure(issue(tmp_path, "stranger"))(address)
    assert await ask(world) is grpc.StatusCode.UNAVAILABLE
    await world.server.drain()


async def test_mutual_tls_asks_the_client_for_a_certificate(tmp_path: Path, authority: Issued) -> None:
    shown, client = (issue(tmp_path, name, authority) for name in ("server", "client"))
    settings = settings_in(
        tmp_path, tls_cert_file=shown.cert, tls_key_file=shown.key, tls_client_ca_file=authority.cert
    )
    world = await serve(settings, target=secure(authority, client))
    assert await ask(world) == "hello"
    address = f"127.0.0.1:{world.server.port}"
    for unknown in (None, issue(tmp_path, "self-made")):
        world.channel = secure(authority, unknown)(address)
        assert await ask(world) is grpc.StatusCode.UNAVAILABLE
    await world.server.drain()


async def test_services_speak_mutual_tls_to_each_other(tmp_path: Path, authority: Issued) -> None:
    shown, client = (issue(tmp_path, name, authority) for name in ("server", "client"))
    settings = settings_in(
        tmp_path,
        tls_cert_file=shown.cert,
        tls_key_file=shown.key,
        tls_client_ca_file=authority.cert,
        channel_ca_file=authority.cert,
        channel_cert_file=client.cert,
        channel_key_file=client.key,
    )
    world = await serve(settings)
    async with service_channel(settings, f"127.0.0.1:{world.server.port}", "order") as channel:
        say: Any = channel.unary_unary("/trial.v1.TrialService/Say", lambda message: message.SerializeToString(), parse)
        with acting("acme", "ann"):
            assert (await say(parcel("hello"))).label == "hello"
    await world.channel.close()
    await world.server.drain()
