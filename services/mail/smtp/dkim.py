"""DKIM signatures (RFC 6376), relaxed/relaxed, with RSA-SHA256 or Ed25519-SHA256 (RFC 8463)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

SIGNED = (b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"content-type", b"auto-submitted")
"""Headers that are signed where they are there. From is signed once more than it occurs, so that none can be added (RFC 6376, 8.15)."""
FEWEST_RSA_BITS = 1024
# Single spaces, nearly all there are, need no replacing and are not even matched.
_WSP = re.compile(rb"[ \t]{2,}|\t")
_BASE64_LINE = 70
_PREHASHED = Prehashed(hashes.SHA256())


class UnusableKey(Exception):
    """A file holds no key that mail can be signed with."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for one domain under one selector; the public key stands in DNS at ``<selector>._domainkey.<domain>``."""

    domain: str
    selector: str
    key: RSAPrivateKey | Ed25519PrivateKey

    def sign(self, message: bytes, at: int) -> bytes:
        """Give the message with its signature in front.

        Args:
            message: lines ended by CRLF, header and body parted by an empty one.
            at: the time of signing, in seconds since the epoch.
        """
        head, _, body = message.partition(b"\r\n\r\n")
        headers = split_headers(head)
        names, canonical = _chosen(headers)
        tags = self._tags(names, body_hash(body), at)
        # The signature's own header is signed too, with an empty b= and without an end of line (3.7).
        digest = hashlib.sha256(
            b"".join(canonical) + relaxed_header(b"DKIM-Signature", tags).removesuffix(b"\r\n")
        ).digest()
        signature = base64.b64encode(self._sign(digest))
        folded = b"\r\n\t".join(signature[i : i + _BASE64_LINE] for i in range(0, len(signature), _BASE64_LINE))
        return b"DKIM-Signature:" + tags + folded + b"\r\n" + message

    def _tags(self, names: Sequence[bytes], body: bytes, at: int) -> bytes:
        algorithm = b"rsa-sha256" if isinstance(self.key, RSAPrivateKey) else b"ed25519-sha256"
        where = b"d=%s; s=%s; t=%d;" % (self.domain.encode("idna"), self.selector.encode("ascii"), at)
        lines = [
            b" v=1; a=%s; c=relaxed/relaxed;" % algorithm,
            where,
            b"h=%s;" % b":".join(names),
            b"bh=%s;" % base64.b64encode(body),
            b"b=",
        ]
        return b"\r\n\t".join(lines)

    def _sign(self, digest: bytes) -> bytes:
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(digest, padding.PKCS1v15(), _PREHASHED)
        return self.key.sign(digest)

    def record(self) -> str:
        """Give the text of the DNS record that lets others verify."""
        public = self.key.public_key()
        if isinstance(self.key, RSAPrivateKey):
            data = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            return f"v=DKIM1; k=rsa; p={base64.b64encode(data).decode()}"
        data = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(data).decode()}"


def load_signer(domain: str, selector: str, path: Path) -> Signer:
    """Read a signer's PEM private key.

    Raises:
        UnusableKey: the file holds no RSA key of at least 1024 bits and no Ed25519 key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        raise UnusableKey(f"{path} holds no unencrypted PEM private key") from None
    if isinstance(key, Ed25519PrivateKey) or (isinstance(key, RSAPrivateKey) and key.key_size >= FEWEST_RSA_BITS):
        return Signer(domain.lower(), selector, key)
    raise UnusableKey("a DKIM key is RSA of at least 1024 bits, or Ed25519")


def split_headers(head: bytes) -> list[tuple[bytes, bytes]]:
    """Part a header block into (name, value), folded values kept as they are, in order."""
    headers: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and headers:
            name, value = headers[-1]
            headers[-1] = (name, value + b"\r\n" + line)
        else:
            name, _, value = line.partition(b":")
            headers.append((name, value))
    return headers


def relaxed_header(name: bytes, value: bytes) -> bytes:
    """Canonicalise a header field (RFC 6376, 3.4.2)."""
    unfolded = value.replace(b"\r\n", b"")
    if b"  " in unfolded or b"\t" in unfolded:
        unfolded = _WSP.sub(b" ", unfolded)
    return name.strip().lower() + b":" + unfolded.strip(b" ") + b"\r\n"


def relaxed_body(body: bytes) -> bytes:
    """Canonicalise a body (RFC 6376, 3.4.4): no space at line ends, runs of it are one, no empty lines at the end."""
    if not body:
        return b""
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    if b"  " in body or b"\t" in body:
        body = _WSP.sub(b" ", body)
    body = body.replace(b" \r\n", b"\r\n")
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[:end] + b"\r\n" if end else b""


def body_hash(body: bytes) -> bytes:
    """Give the SHA-256 of the canonical body."""
    return hashlib.sha256(relaxed_body(body)).digest()


def _chosen(headers: Sequence[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
    """Pick what is signed: the names for ``h=``, and the canonical fields in that order, the lowest of equals first (5.4.2)."""
    names: list[bytes] = []
    canonical: list[bytes] = []
    for wanted in SIGNED:
        for name, value in reversed(headers):
            if name.strip().lower() == wanted:
                names.append(wanted)
                canonical.append(relaxed_header(name, value))
    return [*names, b"from"], canonical
