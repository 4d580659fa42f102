"""Three log servers that are one: every stream is on all of them, and any two go on without the third."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.standalone import broker
from services.standalone.cluster.http import ask
from services.standalone.cluster.ports import NODES, ClusterPorts
from services.standalone.home import Home
from services.standalone.keys import Keys
from services.standalone.ports import HOST

_ROUTES_USER = "route"


def write(home: Home, keys: Keys, ports: ClusterPorts, node: int, sync: str) -> Path:
    """Write the configuration of server 1, 2 or 3, and make its folder; returns the file. Raises OSError.

    ``sync`` is how often what is written goes to the disk for certain: ``always``, or a time as ``2m``, the server's own default.
    """
    own = ports.nats_node(node)
    token = keys.nats_token()
    store = folder(home, node)
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home.run / f"nats-{node}.conf"
    routes = [
        broker.quoted(f"nats-route://{_ROUTES_USER}:{token}@{HOST}:{ports.nats_node(other)['routes']}")
        for other in range(1, NODES + 1)
        if other != node
    ]
    cluster = [
        "cluster {",
        "  name: tradewind",
        f"  listen: {broker.quoted(_address(own['routes']))}",
        f"  authorization {{ user: {_ROUTES_USER}, password: {broker.quoted(token)}, timeout: 2 }}",
        f"  routes: [{', '.join(routes)}]",
        "  no_advertise: true",
        "}",
    ]
    broker.write_node(
        broker.Node(f"nats-{node}", own["client"], own["monitor"], store, file),
        token,
        cluster,
        [f"sync_interval: {sync}"],
    )
    return file


def folder(home: Home, node: int) -> Path:
    """Where a server's data lies."""
    return home.log / str(node)


def urls(keys: Keys, ports: ClusterPorts) -> str:
    """Say how clients reach all of them; holds the token. Raises OSError."""
    token = keys.nats_token()
    return ",".join(f"nats://{token}@{HOST}:{ports.nats_node(node)['client']}" for node in range(1, NODES + 1))


def _address(port: int) -> str:
    return f"{HOST}:{port}"


def has_leader(monitor: int) -> Callable[[], Awaitable[bool]]:
    """Make a probe: does the server whose monitoring is on this port know who leads the log servers?"""

    async def probe() -> bool:
        answer = await ask(monitor, "/jsz")
        return answer is not None and bool(json.loads(answer).get("meta_cluster", {}).get("leader"))

    return probe
