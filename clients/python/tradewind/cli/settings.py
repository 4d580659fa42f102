"""Where the command line finds the services and who it is: flags, then environment, then the credentials file of a local Tradewind."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tradewind.sdk import Client, Endpoints, Tls


class Misconfigured(Exception):
    """The configuration cannot be used; says what to set."""


@dataclass(slots=True)
class Flags:
    """What the flags that every command has said."""

    json: bool = False
    name: str | None = None
    endpoint: str | None = None
    token: str | None = None
    home: str | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a command runs with."""

    home: Path
    endpoints: Endpoints
    token: str | None = field(repr=False)
    tls: Tls | None = field(repr=False)
    timeout: float

    def client(self) -> Client:
        """Make a client; inside a running loop."""
        return Client(self.endpoints, self.token, tls=self.tls, timeout=self.timeout)


def home_of(flags: Flags) -> Path:
    """The folder of a local Tradewind's state."""
    return Path(flags.home or os.environ.get("TRADEWIND_HOME") or ".tradewind")


def load(flags: Flags, name: str | None = None) -> Settings:
    """Put the settings together; of a credentials file `name` is taken where no flag names another. Raises Misconfigured."""
    home = home_of(flags)
    file = _credentials(home / "credentials.json")
    named = flags.endpoint or os.environ.get("TRADEWIND_ENDPOINTS") or os.environ.get("TRADEWIND_ENDPOINT")
    if named:
        endpoints = _endpoints(named)
    elif file is not None:
        endpoints = Endpoints(**{name: str(file["endpoints"].get(name, "")) for name in ("chat", "order", "mail")})
    else:
        raise Misconfigured(
            f"no Tradewind is known: {home / 'credentials.json'} is not there. "
            "Start one with `make run`, or set TRADEWIND_ENDPOINT and TRADEWIND_TOKEN"
        )
    # A local token is for the local services; it goes elsewhere only when it is asked for by name.
    token = _token(flags, file if flags.name or not named else None, name)
    return Settings(home, endpoints, token, _tls(), flags.timeout)


def _credentials(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be read: {type(error).__name__}") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(name), dict) for name in ("endpoints", "tokens")):
        raise Misconfigured(f"{path} is not a credentials file: it has no endpoints or tokens")
    return found


def _token(flags: Flags, file: Mapping[str, Any] | None, usual: str | None) -> str | None:
    given = flags.token or os.environ.get("TRADEWIND_TOKEN")
    if given and not flags.name:
        return given
    if file is None:
        if flags.name:
            raise Misconfigured("--as picks a token of a credentials file, and there is none")
        return None
    default = str(file.get("default", "admin"))
    name = flags.name or (usual if usual in file["tokens"] else default) or default
    token = file["tokens"].get(name)
    if not isinstance(token, str):
        raise Misconfigured(f"the credentials file has no token for {name}; it has {', '.join(sorted(file['tokens']))}")
    return token


def _endpoints(text: str) -> Endpoints:
    """Read `host:port`, or `chat=host:port,order=host:port,mail=host:port`."""
    if "=" not in text:
        return Endpoints.all_at(text)
    pairs = dict(part.strip().split("=", 1) for part in text.split(",") if "=" in part)
    unknown = sorted(set(pairs) - {"chat", "order", "mail", "tracking", "payments"})
    if unknown:
        raise Misconfigured(f"endpoints name {', '.join(unknown)}; they may name chat, order and mail")
    return Endpoints(pairs.get("chat", ""), pairs.get("order", ""), pairs.get("mail", ""))


def _tls() -> Tls | None:
    """Read the PEM files that TRADEWIND_CA, TRADEWIND_CERT and TRADEWIND_KEY name; TRADEWIND_TLS=1 takes the system's roots."""
    names = {name: os.environ.get(name) for name in ("TRADEWIND_CA", "TRADEWIND_KEY", "TRADEWIND_CERT")}
    if not any(names.values()) and os.environ.get("TRADEWIND_TLS", "") in ("", "0"):
        return None
    try:
        files = [Path(path).read_bytes() if path else None for path in names.values()]
    except OSError as error:
        raise Misconfigured(f"a file of TRADEWIND_CA, TRADEWIND_KEY, TRADEWIND_CERT cannot be read: {error}") from error
    return Tls(*files)
