"""Which life of the log is the current one: found, begun, or refused with the reason why.

A life is a stream; its first sequence is its number (microseconds at creation, always above every earlier life's). The store
registers the current one. A log that is gone, or shorter than the store, is a lost log: only who owns everything (standalone at
its start) or an operator may begin a new life; a store that knows of no life beside a log with entries is a lost store.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from services.ledger.archive import Archive
from services.ledger.errors import LogLost, LogUnavailable, StoreLost
from services.ledger.log import stream_name, subject_filter

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LogSettings:
    """How a service's log is kept.

    Attributes:
        service: whose.
        partitions: into how many parts consumers share it; never changed within a life.
        replicas: copies of the stream.
        max_age: seconds entries stay; only stored ones may leave (the store is the memory).
        exclusive: True where this process owns log and store alone and may begin a new life by itself (standalone).
    """

    service: str
    partitions: int = 4
    replicas: int = 1
    max_age: float = 7 * 24 * 3600.0
    exclusive: bool = False


async def open_epoch(nats: Client, archive: Archive, settings: LogSettings) -> int:
    """The current life of the log, begun where there never was one.

    Raises:
        LogLost: the registered life is gone or shorter than the store, and this process may not begin a new one.
        StoreLost: the log has lives, but this store knows of none.
        LogUnavailable: the log cannot be asked now.
    """
    js = nats.jetstream()
    try:
        registered = await archive.epoch(settings.service)
        if registered is None:
            return await _begin_first(js, archive, settings)
        stream = await _stream(js, settings.service, registered)
        newest = await archive.newest_seq()
        if stream is not None and stream.state.last_seq >= newest:
            return registered
        if stream is None and not settings.exclusive and newest < registered:
            return await _wait_for(js, settings.service, registered)
        if not settings.exclusive:
            raise LogLost("the log is lost or shorter than the store: an operator must recover it")
        return await _begin_next(js, archive, settings, registered, newest)
    except (TimeoutError, NatsError) as error:
        raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error


async def newest_life(js: JetStreamContext, service: str) -> int | None:
    """The newest life of a service's log that JetStream holds; None where there is none."""
    prefix = f"ledger-{service}-"
    try:
        streams = await js.streams_info(offset=0)
    except (TimeoutError, NatsError) as error:
        raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error
    names = [info.config.name or "" for info in streams]
    return max((int(name[len(prefix) :]) for name in names if name.startswith(prefix)), default=None)


async def _begin_first(js: JetStreamContext, archive: Archive, settings: LogSettings) -> int:
    if await newest_life(js, settings.service) is not None:
        raise StoreLost("the log has entries that this store knows nothing of: restore the store")
    wanted = time.time_ns() // 1000
    registered = await archive.register_epoch(settings.service, wanted, None)
    if registered != wanted:  # another process was first
        return await _wait_for(js, settings.service, registered)
    await _create(js, settings, registered)
    return registered


async def _begin_next(
    js: JetStreamContext, archive: Archive, settings: LogSettings, registered: int, newest: int
) -> int:
    """A new life after a lost log (rule 11). Above all sequences ever given, even where the clock stepped back."""
    epoch = max(time.time_ns() // 1000, registered + 1, newest + 1)
    if await archive.register_epoch(settings.service, epoch, registered) != epoch:
        raise LogLost("another process began a new life of the log: start again")
    _log.warning("log_recovered", service=settings.service, epoch=epoch, earlier=registered)
    await _create(js, settings, epoch)
    for old in (stream_name(settings.service, registered), timers_stream(settings.service, registered)):
        try:
            await js.delete_stream(old)
        except NotFoundError:
            continue  # that is what was lost
    return epoch


async def _create(js: JetStreamContext, settings: LogSettings, epoch: int) -> None:
    await js.add_stream(
        StreamConfig(
            name=stream_name(settings.service, epoch),
            subjects=[subject_filter(settings.service, epoch)],
            first_seq=epoch,
            max_age=settings.max_age,
            storage=StorageType.FILE,
            num_replicas=settings.replicas,
            allow_direct=True,
        )
    )
    await create_timers(js, settings, epoch)


def timers_stream(service: str, epoch: int) -> str:
    """The stream of a life's scheduled messages."""
    return f"timers-{service}-{epoch}"


async def create_timers(js: JetStreamContext, settings: LogSettings, epoch: int) -> None:
    """Makes the stream of scheduled messages where it is missing; what has fired leaves it when it is taken."""
    config = StreamConfig(
        name=timers_stream(settings.service, epoch),
        subjects=[f"timers.{epoch}.{settings.service}.>"],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        num_replicas=settings.replicas,
        allow_msg_schedules=True,
        allow_msg_ttl=True,
    )
    try:
        await js.add_stream(config)
    except APIError as error:
        if error.err_code != 10058:  # another process made it
            raise


async def _stream(js: JetStreamContext, service: str, epoch: int) -> StreamInfo | None:
    try:
        return await js.stream_info(stream_name(service, epoch))
    except NotFoundError:
        return None


async def _wait_for(js: JetStreamContext, service: str, epoch: int) -> int:
    """Waits for the process that registered a life to make its stream."""
    for _ in range(100):
        if await _stream(js, service, epoch) is not None:
            return epoch
        await asyncio.sleep(0.1)
    raise LogLost("the registered life of the log was never made: an operator must recover it")
