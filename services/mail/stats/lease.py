"""Which process keeps which partition's rows: a lease in a JetStream key-value bucket.

Only for speed: two that keep the same rows do no harm (see ``rollup``). So a lease is short, and nothing waits for it to be surely lost.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import KeyValueConfig, StorageType
from nats.js.errors import APIError, BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from services.ledger.ending import end

BUCKET: Final = "mail-stats"
LASTS: Final = 4.0
RENEWED: Final = 1.0
_log = structlog.get_logger(__name__)


class Lease:
    """One process's wish to hold a name."""

    def __init__(self, nats: Client, name: str, renewed: float = RENEWED, replicas: int = 1) -> None:
        """Hold ``name``, renewed every ``renewed`` seconds, in a bucket that ``replicas`` servers keep."""
        self._nats = nats
        self._name = name
        self._renewed = renewed
        self._replicas = replicas
        self._holder = uuid.uuid4().hex.encode()
        self._bucket: KeyValue | None = None
        self._revision = 0

    async def hold(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` whenever and for as long as the name is held, until cancelled."""
        task: asyncio.Task[None] | None = None
        try:
            while True:
                held = await self._try()
                if held and (task is None or task.done()):
                    if task is not None and task.exception() is not None:
                        _log.error("leased_work_failed", lease=self._name, exc_info=task.exception())
                    task = asyncio.create_task(_run(work), name=f"leased-{self._name}")
                elif not held and task is not None:
                    await end([task])
                    task = None
                await asyncio.sleep(self._renewed)
        finally:
            await end([task] if task is not None else [])
            await self._let_go()

    async def _try(self) -> bool:
        try:
            if self._bucket is None:
                self._bucket = await self._open()
            if self._revision:
                self._revision = await self._bucket.update(self._name, self._holder, last=self._revision)
            else:
                self._revision = await self._bucket.create(self._name, self._holder)
            return True
        except KeyWrongLastSequenceError:
            self._revision = 0
            return False
        except APIError:
            # The bucket itself may be gone, with a log that was lost.
            self._bucket, self._revision = None, 0
            return False
        except (TimeoutError, NatsError) as error:
            _log.warning("lease_not_renewed", lease=self._name, error=type(error).__name__)
            # Nobody else can take it either while the log cannot be reached. The bucket is in memory, and may be gone with its servers.
            self._bucket = None
            return bool(self._revision)

    async def _open(self) -> KeyValue:
        js = self._nats.jetstream()
        try:
            return await js.key_value(BUCKET)
        except BucketNotFoundError:
            config = KeyValueConfig(
                bucket=BUCKET, ttl=LASTS, storage=StorageType.MEMORY, history=1, replicas=self._replicas
            )
            return await js.create_key_value(config)

    async def _let_go(self) -> None:
        if self._bucket is None or not self._revision:
            return
        try:
            await self._bucket.delete(self._name, last=self._revision)
        except (TimeoutError, NatsError, APIError, KeyNotFoundError) as error:
            _log.info("lease_left_behind", lease=self._name, error=type(error).__name__)


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
