"""Verifies a letter's DKIM signature (RFC 6376: rsa-sha256, relaxed/relaxed), independently of the code that made it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.standalone.journey.expect import Unmet, expect

_NAME = b"dkim-signature"
_SIGNATURE_VALUE = re.compile(rb"((?:^|;)\s*b\s*=)[^;]*")
_MUST_SIGN = {b"from", b"to", b"subject", b"date"}


def verify(raw: bytes, public_key: Path) -> str:
    """Give the domain that signed ``raw``. Raises Unmet where the signature does not verify, OSError."""
    head, _, body = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").partition(b"\r\n\r\n")
    headers = _headers(head)
    signatures = [value for name, value in headers if name == _NAME]
    if not signatures:
        raise Unmet("the letter", "a DKIM signature", "none")
    tags = _tags(signatures[0])
    expect("the signature's algorithm", b"rsa-sha256", tags.get(b"a"))
    expect("its canonicalisation", b"relaxed/relaxed", tags.get(b"c"))
    expect("its body hash", base64.b64encode(hashlib.sha256(_relaxed_body(body)).digest()), tags.get(b"bh"))
    signed = tags.get(b"h", b"").lower().split(b":")
    if not set(signed) >= _MUST_SIGN:
        raise Unmet("the signed headers", sorted(_MUST_SIGN), signed)
    text = _chosen(headers, signed) + _relaxed_header(_NAME, _SIGNATURE_VALUE.sub(rb"\1", signatures[0], count=1))
    key = serialization.load_pem_public_key(public_key.read_bytes())
    if not isinstance(key, RSAPublicKey):
        raise Unmet("the public key", "an RSA key", type(key).__name__)
    try:
        key.verify(base64.b64decode(tags.get(b"b", b"")), text, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise Unmet("the letter's DKIM signature", "to verify", "another") from None
    return tags.get(b"d", b"").decode("ascii", "replace")


def _headers(head: bytes) -> list[tuple[bytes, bytes]]:
    """Names in lower case and values with their folding."""
    unfolded: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and unfolded:
            name, value = unfolded[-1]
            unfolded[-1] = (name, value + b"\r\n" + line)
        else:
            name, _, value = line.partition(b":")
            unfolded.append((name.strip().lower(), value))
    return unfolded


def _tags(value: bytes) -> dict[bytes, bytes]:
    pairs = (part.partition(b"=") for part in value.split(b";") if b"=" in part)
    return {name.strip(): b"".join(text.split()) for name, _, text in pairs}


def _chosen(headers: list[tuple[bytes, bytes]], signed: list[bytes]) -> bytes:
    """The signed headers, each name taken from the bottom up (section 5.4.2); one that is not there counts as nothing."""
    left = {name: [value for other, value in headers if other == name] for name in signed}
    lines = [_relaxed_header(name, left[name].pop()) + b"\r\n" for name in signed if left[name]]
    return b"".join(lines)


def _relaxed_header(name: bytes, value: bytes) -> bytes:
    """Section 3.4.2, without the end of line."""
    return name + b":" + re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" ")


def _relaxed_body(body: bytes) -> bytes:
    """Section 3.4.4."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)
