"""Bearer tokens: JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037), made by a Signer, verified by an Authenticator.

Claims: ``iss``, ``aud``, ``sub`` (the subject), ``tenant``, ``roles``, ``iat``, ``exp`` and, when one acts for another, ``act`` with
``sub`` (RFC 8693, section 4.1: ``act`` is who acts, the outer ``sub`` is for whom). A key's id is its thumbprint (RFC 7638);
where one key alone is configured, a token need not name it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.runtime.call import Caller
from services.runtime.config import RuntimeSettings, Unstartable
from services.runtime.errors import Refused

ALGORITHM: Final = "EdDSA"
_REQUIRED: Final = ("iss", "aud", "sub", "iat", "exp")
_MAX_TOKEN_BYTES: Final = 8192
_MAX_NAME: Final = 128
_SEEN: Final = "LMNPS"
# Tenants are parts of subjects and keys, so they are words.
_TENANT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class BadKey(Unstartable):
    """A key file that cannot be read, or holds another kind of key."""


def key_id(key: Ed25519PublicKey) -> str:
    """Give a key's id: the thumbprint of its JWK."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{_base64url(raw)}"}}'
    return _base64url(hashlib.sha256(jwk.encode()).digest())


def make_key_pair(private_file: Path, public_file: Path) -> None:
    """Make a new key pair as PEM files; the private one readable by its owner only. Existing files are not replaced."""
    key = Ed25519PrivateKey.generate()
    private_file.touch(mode=0o600, exist_ok=False)
    private_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public_file.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


class Signer:
    """Mints tokens with one private key."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        *,
        issuer: str = "tradewind",
        audience: str = "tradewind",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Mint with ``key``; ``clock`` gives seconds since the epoch."""
        self._key = key
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._kid = key_id(key.public_key())

    @classmethod
    def from_file(cls, path: Path, *, issuer: str = "tradewind", audience: str = "tradewind") -> Signer:
        """Read a PEM private key. Raises BadKey."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadKey(f"{path}: no private key can be read there") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKey(f"{path}: not an Ed25519 private key")
        return cls(key, issuer=issuer, audience=audience)

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The key that verifies this signer's tokens."""
        return self._key.public_key()

    def mint(
        self,
        subject: str,
        tenant: str,
        roles: Iterable[str],
        *,
        ttl: float = 3600.0,
        actor: str | None = None,
    ) -> str:
        """Mint a token for ``ttl`` seconds; ``actor`` is who acts when that is not the subject itself."""
        now = int(self._clock())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "tenant": tenant,
            "roles": sorted(roles),
            "iat": now,
            "exp": now + int(ttl),
        }
        if actor is not None:
            claims["act"] = {"sub": actor}
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._kid})


class Authenticator:
    """Verifies tokens against a set of public keys, and remembers those it verified until they expire."""

    def __init__(
        self,
        keys: Iterable[Ed25519PublicKey],
        *,
        issuer: str = "tradewind",
        audience: str = "tradewind",
        leeway: float = 5.0,
        capacity: int = 65_536,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Accept ``keys`` by their ids; ``leeway`` in seconds; remember at most ``capacity`` tokens, by digest only."""
        self._keys: Mapping[str, Ed25519PublicKey] = {key_id(key): key for key in keys}
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._capacity = capacity
        self._clock = clock
        self._verified: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    @classmethod
    def from_files(
        cls, paths: Iterable[Path], *, issuer: str = "tradewind", audience: str = "tradewind", leeway: float = 5.0
    ) -> Authenticator:
        """Read PEM public keys. Raises BadKey."""
        keys = []
        for path in paths:
            try:
                key = serialization.load_pem_public_key(path.read_bytes())
            except (OSError, ValueError, UnsupportedAlgorithm) as error:
                raise BadKey(f"{path}: no public key can be read there") from error
            if not isinstance(key, Ed25519PublicKey):
                raise BadKey(f"{path}: not an Ed25519 public key")
            keys.append(key)
        return cls(keys, issuer=issuer, audience=audience, leeway=leeway)

    @classmethod
    def from_settings(cls, settings: RuntimeSettings) -> Authenticator:
        """Accept what the settings name. Raises BadKey."""
        return cls.from_files(
            settings.auth_public_key_files,
            issuer=settings.auth_issuer,
            audience=settings.auth_audience,
            leeway=settings.auth_leeway,
        )

    def authenticate(self, authorization: str | None) -> Caller:
        """Give the caller named by an ``authorization`` value. Raises Refused (UNAUTHENTICATED)."""
        if authorization is None:
            raise Refused("UNAUTHENTICATED", "no bearer token")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN_BYTES:
            raise Refused("UNAUTHENTICATED", "no bearer token")
        return self.verify(token)

    def verify(self, token: str) -> Caller:
        """Give the caller named by a token. Raises Refused (UNAUTHENTICATED)."""
        if not token.isascii():
            raise Refused("UNAUTHENTICATED", "the bearer token does not verify")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None:
            if self._clock() < known[1]:
                self._verified.move_to_end(digest)
                return known[0]
            del self._verified[digest]
        caller, expires = self._check(token)
        self._verified[digest] = (caller, expires)
        if len(self._verified) > self._capacity:
            self._verified.popitem(last=False)
        return caller

    def _key_of(self, named: Any) -> Ed25519PublicKey:
        """Give the key that a token names; one that names none must be of the only one there is. Raises KeyError."""
        if named is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys[str(named)]

    def _check(self, token: str) -> tuple[Caller, float]:
        try:
            key = self._key_of(jwt.get_unverified_header(token).get("kid"))
            # Times are checked below, on this object's own clock.
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway,
                options={"require": list(_REQUIRED), "verify_exp": False, "verify_iat": False},
            )
            expires = _seconds(claims["exp"]) + self._leeway
            issued = _seconds(claims["iat"]) - self._leeway
            caller = _caller(claims, expires)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            # Which of the checks failed is of use to an attacker only. What is nested too deeply is no token of ours either.
            raise Refused("UNAUTHENTICATED", "the bearer token does not verify") from None
        now = self._clock()
        if now >= expires:
            raise Refused("UNAUTHENTICATED", "the bearer token has expired")
        if now < issued:
            raise Refused("UNAUTHENTICATED", "the bearer token is not valid yet")
        return caller, expires


def _caller(claims: Mapping[str, Any], until: float) -> Caller:
    """Read the caller out of verified claims. Raises ValueError where one is not of its type."""
    subject, tenant, roles = claims["sub"], claims["tenant"], claims["roles"]
    if not isinstance(roles, list) or not isinstance(tenant, str) or _TENANT.fullmatch(tenant) is None:
        raise ValueError("claims of a wrong type")
    granted = frozenset(map(str, roles))
    actor = claims.get("act")
    if actor is None:
        return Caller(tenant, _name(subject), granted, None, until)
    # The roles are the actor's; the subject is for whom it acts.
    return Caller(tenant, _name(actor["sub"]), granted, _name(subject), until)


def _seconds(value: object) -> float:
    """Read a time of a claim. Raises ValueError: "for ever" and "not a number" would never expire."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("claims of a wrong type")
    return float(value)


def _name(value: object) -> str:
    """Check a subject's name: up to 128 characters that are seen, with single spaces between, as contracts want user ids to be."""
    if not isinstance(value, str) or len(value) > _MAX_NAME or not all(map(_is_seen, value.split(" "))):
        raise ValueError("claims of a wrong type")
    return value


def _is_seen(word: str) -> bool:
    """Tell whether a word is of letters, marks, numbers, punctuation and symbols (Unicode L, M, N, P, S), and not empty."""
    return word != "" and all(unicodedata.category(each)[0] in _SEEN for each in word)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
