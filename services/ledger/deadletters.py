"""Events that a consumer could not take: kept with the reason, listed, and handed over once more on an operator's word."""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError
from tradewind.ledger.v1 import entry_pb2

from services.ledger.errors import LogUnavailable
from services.ledger.publisher import Publisher

_KEPT_SECONDS = 30 * 24 * 3600.0
_MOST_LETTERS = 100_000
_NAME_IN_USE = 10058


def _stream_of(service: str) -> str:
    return f"dead-{service}"


async def open_letters(nats: Client, service: str, replicas: int) -> None:
    """Makes the stream of a service's dead letters where it is missing.

    Raises:
        LogUnavailable: JetStream cannot be asked now.
    """
    config = StreamConfig(
        name=_stream_of(service), subjects=[f"dead.{service}.>"], max_age=_KEPT_SECONDS, max_msgs=_MOST_LETTERS,
        storage=StorageType.FILE, num_replicas=replicas, allow_direct=True,
    )  # fmt: skip
    try:
        await nats.jetstream().add_stream(config)
    except APIError as error:
        if error.err_code != _NAME_IN_USE:
            raise LogUnavailable(f"JetStream refused a stream: {error.err_code}") from error
    except (TimeoutError, NatsError) as error:
        raise LogUnavailable(f"JetStream did not answer: {type(error).__name__}") from error


class DeadLetters:
    """One service's dead letters: a stream of its own, the oldest beyond 100,000 or 30 days are let go."""

    def __init__(self, nats: Client, publisher: Publisher, service: str) -> None:
        self._js = nats.jetstream()
        self._publisher = publisher
        self._service = service
        self._stream = _stream_of(service)

    async def put(self, letter: entry_pb2.DeadLetter) -> None:
        """Keeps a letter.

        Raises:
            LogUnavailable: it is not kept.
        """
        await self._publisher.publish(f"dead.{self._service}.{letter.role}", letter.SerializeToString(), {})

    async def list(self, after: int, limit: int) -> Sequence[tuple[int, entry_pb2.DeadLetter]]:
        """Letters above id `after`, oldest first, at most `limit`.

        Raises:
            LogUnavailable: they cannot be read now.
        """
        found: list[tuple[int, entry_pb2.DeadLetter]] = []
        try:
            while len(found) < limit:
                message = await self._js.get_msg(
                    self._stream, seq=after + 1, next=True, subject=f"dead.{self._service}.>"
                )
                after = int(message.seq or 0)
                found.append((after, entry_pb2.DeadLetter.FromString(message.data or b"")))
        except NotFoundError:
            return found
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"JetStream did not answer: {type(error).__name__}") from error
        return found

    async def get(self, letter_id: int) -> entry_pb2.DeadLetter | None:
        """One letter; None where there is none of this id.

        Raises:
            LogUnavailable: it cannot be read now.
        """
        found = await self.list(letter_id - 1, 1)
        return found[0][1] if found and found[0][0] == letter_id else None

    async def remove(self, letter_id: int) -> None:
        """Lets a letter go.

        Raises:
            LogUnavailable: it is still there.
        """
        try:
            await self._js.delete_msg(self._stream, letter_id)
        except NotFoundError:
            return  # somebody else was first
        except (TimeoutError, NatsError) as error:
            raise LogUnavailable(f"JetStream did not answer: {type(error).__name__}") from error
