"""The lives of a service's log on JetStream: each is a stream of its own, with a stream of timers beside it."""

from __future__ import annotations

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from services.ledger.errors import LogUnavailable
from services.ledger.log import Ends, LogSettings, stream_name, subject_filter

_NAME_IN_USE = 10058
_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
_CLAIMS = "lives"
PARTITIONS = "partitions"
"""Key in the metadata of a life's stream: into how many parts it is shared."""


class JetStreamLives:
    """`log.Lives` on JetStream.

    Args:
        settings: whose log, and how a new life of it is kept.
    """

    def __init__(self, nats: Client, settings: LogSettings) -> None:
        self._js: JetStreamContext = nats.jetstream()
        self._settings = settings

    async def newest(self) -> int | None:
        """See `Lives.newest`."""
        return await newest_life(self._js, self._settings.service)

    async def ends(self, epoch: int) -> Ends | None:
        """See `Lives.ends`."""
        try:
            state = (await self._js.stream_info(stream_name(self._settings.service, epoch))).state
        except NotFoundError:
            return None
        except (TimeoutError, NatsError) as error:
            raise _unavailable(error) from error
        return Ends(int(state.first_seq), int(state.last_seq))

    async def claim(self, epoch: int) -> int:
        """See `Lives.claim`: a fence of 0 on a subject of its own decides."""
        subject = f"{_CLAIMS}.{self._settings.service}"
        await self._make(StreamConfig(name=_CLAIMS, subjects=[f"{_CLAIMS}.*"], num_replicas=self._settings.replicas))
        try:
            headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
            await self._js.publish(subject, str(epoch).encode(), headers=headers)
            return epoch
        except APIError as error:
            if error.err_code not in _WRONG_LAST_SEQUENCE:
                raise _unavailable(error) from error
        except (TimeoutError, NatsError) as error:
            raise _unavailable(error) from error
        try:
            return int((await self._js.get_last_msg(_CLAIMS, subject)).data or b"0")
        except (TimeoutError, NatsError) as error:
            raise _unavailable(error) from error

    async def first(self) -> int | None:
        """The very first life, where the log remembers its name; None where it was wholly lost since.

        Raises:
            LogUnavailable: JetStream cannot be asked now.
        """
        try:
            return int((await self._js.get_last_msg(_CLAIMS, f"{_CLAIMS}.{self._settings.service}")).data or b"0")
        except NotFoundError:
            return None
        except (TimeoutError, NatsError) as error:
            raise _unavailable(error) from error

    async def begin(self, epoch: int) -> None:
        """See `Lives.begin`; timers first, so that a life that is there has them."""
        settings = self._settings
        await self.begin_timers(epoch)
        await self._make(
            StreamConfig(
                name=stream_name(settings.service, epoch),
                subjects=[subject_filter(settings.service, epoch)],
                first_seq=epoch,
                max_age=settings.max_age,
                max_bytes=settings.max_bytes,
                discard=DiscardPolicy.NEW,  # full is an error to the writer, never the end of an entry that may not be stored
                storage=StorageType.FILE,
                num_replicas=settings.replicas,
                allow_direct=True,
                metadata={PARTITIONS: str(settings.partitions)},
            )
        )

    async def begin_timers(self, epoch: int) -> None:
        """Makes the stream of scheduled messages where it is missing; what has fired leaves it when it is taken.

        Raises:
            LogUnavailable: it cannot be made now.
        """
        settings = self._settings
        await self._make(
            StreamConfig(
                name=timers_stream(settings.service, epoch),
                subjects=[f"timers.{epoch}.{settings.service}.>"],
                retention=RetentionPolicy.WORK_QUEUE,
                storage=StorageType.FILE,
                num_replicas=settings.replicas,
                allow_msg_schedules=True,
                allow_msg_ttl=True,
            )
        )

    async def end(self, epoch: int) -> None:
        """See `Lives.end`."""
        for name in (stream_name(self._settings.service, epoch), timers_stream(self._settings.service, epoch)):
            try:
                await self._js.delete_stream(name)
            except NotFoundError:
                continue  # that is what was lost
            except (TimeoutError, NatsError) as error:
                raise _unavailable(error) from error

    async def _make(self, config: StreamConfig) -> None:
        try:
            await self._js.add_stream(config)
        except APIError as error:
            if error.err_code != _NAME_IN_USE:  # else another process made it
                raise _unavailable(error) from error
        except (TimeoutError, NatsError) as error:
            raise _unavailable(error) from error


def timers_stream(service: str, epoch: int) -> str:
    """The stream of a life's scheduled messages."""
    return f"timers-{service}-{epoch}"


async def newest_life(js: JetStreamContext, service: str) -> int | None:
    """The newest life of a service's log that JetStream holds; None where there is none.

    Raises:
        LogUnavailable: JetStream cannot be asked now.
    """
    prefix = f"ledger-{service}-"
    names: list[str] = []
    try:
        while True:
            page = await js.streams_info(offset=len(names))
            names += [info.config.name or "" for info in page]
            if not page:
                break
    except (TimeoutError, NatsError) as error:
        raise _unavailable(error) from error
    return max((int(name[len(prefix) :]) for name in names if name.startswith(prefix)), default=None)


async def partitions_of(js: JetStreamContext, service: str, epoch: int) -> int | None:
    """Into how many parts a life of another service's log is shared; None where it does not say.

    Raises:
        LogUnavailable: JetStream cannot be asked now.
    """
    try:
        info = await js.stream_info(stream_name(service, epoch))
    except (TimeoutError, NatsError) as error:
        raise _unavailable(error) from error
    said = (info.config.metadata or {}).get(PARTITIONS)
    return int(said) if said else None


def _unavailable(error: Exception) -> LogUnavailable:
    code = getattr(error, "err_code", None) or type(error).__name__
    return LogUnavailable(f"the log did not answer: {code}")
