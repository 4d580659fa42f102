"""A drill's own look at the log servers, past the services: who leads a stream, and settings an operator may change."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
from nats.js import JetStreamContext
from nats.js.api import StreamInfo

from tests.drills.stage import Stage


@asynccontextmanager
async def jetstream(stage: Stage) -> AsyncIterator[JetStreamContext]:
    """A connection to JetStream for a moment."""
    client = await nats.connect(stage.log_urls(), connect_timeout=2, max_reconnect_attempts=3, reconnect_time_wait=0.2)
    try:
        yield client.jetstream(timeout=5)
    finally:
        await client.close()


async def log_of(js: JetStreamContext, service: str) -> StreamInfo:
    """The newest life of a service's log."""
    prefix = f"ledger-{service}-"
    found = [info for info in await js.streams_info() if (info.config.name or "").startswith(prefix)]
    return max(found, key=lambda info: int((info.config.name or "").removeprefix(prefix)))


async def leader_of(stage: Stage, service: str) -> str:
    """The log server that leads a service's log; the only one where there is one only."""
    servers = stage.parts("nats")
    if len(servers) == 1:
        return servers[0]
    async with jetstream(stage) as js:
        cluster = (await log_of(js, service)).cluster
        return cluster.leader if cluster is not None and cluster.leader else servers[0]
