"""Secrets of a standalone: made once, kept in its folder, readable by their owner only."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.runtime.tokens import Signer
from services.standalone.home import HomeUnusable
from services.standalone.ports import HOST, Ports

TENANT = "demo"
"""The tenant that standalone's people belong to."""
PEOPLE: Mapping[str, tuple[str, ...]] = {
    "admin": ("admin", "operator"),
    "customer": ("customer",),
    "shop": ("shop",),
    "courier": ("courier",),
    "service": ("service",),
}
"""Who gets a token at every start, with which roles; the name is the subject."""
TOKEN_SECONDS = 30 * 24 * 3600

_DKIM_BITS = 2048  # RFC 8301, section 3.2


@dataclass(frozen=True)
class Keys:
    """The files of all secrets under one folder."""

    folder: Path

    @property
    def signing(self) -> Path:
        """Ed25519 private key that tokens are signed with, PEM."""
        return self.folder / "signing.pem"

    @property
    def verifying(self) -> Path:
        """Its public key, PEM."""
        return self.folder / "signing.pub.pem"

    @property
    def service(self) -> Path:
        """Ed25519 private key of the services' own calls where it is not `signing`, PEM; see `ensure_service`."""
        return self.folder / "service.pem"

    @property
    def service_verifying(self) -> Path:
        """Its public key, PEM."""
        return self.folder / "service.pub.pem"

    @property
    def tracking(self) -> Path:
        """Secret that tracked URLs are signed with: 32 bytes as hexadecimal text."""
        return self.folder / "tracking.key"

    @property
    def persons(self) -> Path:
        """What the keys of persons are wrapped with, which Chat seals contents with: 32 bytes as hexadecimal text."""
        return self.folder / "persons.key"

    @property
    def attachments(self) -> Path:
        """Secret that links to attachments are signed with: 32 bytes as hexadecimal text."""
        return self.folder / "attachments.key"

    @property
    def dkim(self) -> Path:
        """RSA private key that mails are signed with (RFC 6376), PEM."""
        return self.folder / "dkim.pem"

    @property
    def dkim_public(self) -> Path:
        """Its public key, PEM; what a DNS record would publish."""
        return self.folder / "dkim.pub.pem"

    @property
    def nats(self) -> Path:
        """What clients of the log server show to it."""
        return self.folder / "nats.token"

    def ensure(self) -> None:
        """Make what is missing; what is there stays. Raises OSError, or HomeUnusable where a key file holds something else."""
        _make(self.signing, _ed25519)
        _make(self.tracking, lambda: secrets.token_hex(32).encode())
        _make(self.attachments, lambda: secrets.token_hex(32).encode())
        _make(self.persons, lambda: secrets.token_hex(32).encode())
        _make(self.dkim, _rsa)
        _make(self.nats, lambda: secrets.token_urlsafe(32).encode())
        write_secret(self.verifying, _public(self.signing))
        write_secret(self.dkim_public, _public(self.dkim))

    def ensure_service(self) -> None:
        """Make a key for the services' own calls, so that none of them has the one that makes people's tokens. Raises as `ensure` does."""
        _make(self.service, _ed25519)
        write_secret(self.service_verifying, _public(self.service))

    def nats_token(self) -> str:
        """Read the log server's token. Raises OSError."""
        return self.nats.read_text(encoding="ascii")


def write_credentials(path: Path, keys: Keys, ports: Ports) -> None:
    """Write endpoints and fresh tokens, good for 30 days, for the command line and the journey. Raises OSError."""
    signer = Signer.from_file(keys.signing)
    credentials = {
        "endpoints": endpoints(ports),
        "tokens": {name: signer.mint(name, TENANT, roles, ttl=TOKEN_SECONDS) for name, roles in PEOPLE.items()},
        "default": "admin",
    }
    write_secret(path, json.dumps(credentials, indent=2).encode() + b"\n")


def endpoints(ports: Ports) -> dict[str, str]:
    """Say where everything is reached, by name."""
    # A cluster has no push simulator.
    push = {"push": f"{HOST}:{ports.push}"} if "push" in ports.named() else {}
    return {
        **push,
        "chat": f"{HOST}:{ports.chat}",
        "order": f"{HOST}:{ports.order}",
        "mail": f"{HOST}:{ports.mail}",
        "payments": f"{HOST}:{ports.payments}",
        "tracking": f"http://{HOST}:{ports.tracking}",
        "downloads": f"http://{HOST}:{ports.downloads}",
        "smtp": f"{HOST}:{ports.inbox}",
        "nats": f"nats://{HOST}:{ports.nats}",
        "nats_monitor": f"http://{HOST}:{ports.nats_monitor}",
    }


def _make(path: Path, content: Callable[[], bytes]) -> None:
    if not path.exists():
        write_secret(path, content())


def write_secret(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner only: dying in the middle leaves the old one, or none. Raises OSError."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _ed25519() -> bytes:
    return _private(Ed25519PrivateKey.generate())


def _rsa() -> bytes:
    return _private(rsa.generate_private_key(public_exponent=65_537, key_size=_DKIM_BITS))


def _private(key: Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(path: Path) -> bytes:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise HomeUnusable(f"{path} holds no private key in PEM; put it back, or delete it for a new one") from None
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
