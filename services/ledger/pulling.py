"""One pull from a durable consumer, with an honest end."""

from __future__ import annotations

import time

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext


class PullInterrupted(NatsError):
    """The server answered with a status instead of messages: the consumer or its stream may be gone."""


async def pull(subscription: JetStreamContext.PullSubscription, batch: int, idle: float) -> list[Msg]:
    """Waits up to `idle` seconds for messages; answers at least one, at most `batch`.

    Raises:
        TimeoutError: none came; pull again.
        PullInterrupted: it ended long before its time; subscribe anew, after a pause.
        nats.errors.Error: not now.
    """
    begun = time.monotonic()
    messages = await subscription.fetch(batch, timeout=idle)
    if not messages:
        if time.monotonic() - begun < idle / 2:
            raise PullInterrupted
        raise TimeoutError
    return messages
