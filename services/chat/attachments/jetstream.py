"""The vault on a JetStream object store: the bucket format of ADR-20 of NATS, written and read chunk by chunk.

nats-py's own ``ObjectStore`` takes and gives whole objects and can neither go on with a broken upload nor read from the middle, so the
messages are written here: an object's chunks on one subject, each conditional on the one before it (so two writers never mix), and its
description, which makes it an object, last. The chunks' places in the stream are noted in the description, so that reading may begin
anywhere. Any client of the object store reads these objects.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from services.chat.attachments.vault import (
    Described,
    Held,
    Inspected,
    NoObject,
    Overtaken,
    Take,
    VaultUnavailable,
    full,
)
from services.ledger.varint import read_varint, varint

_ANSWER_WITHIN: Final = 5.0
_NAME_IN_USE: Final = 10058
_WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
_PASSED_ON: Final = _WRONG_LAST_SEQUENCE | {_NAME_IN_USE}
_PLACES: Final = "tradewind-places"
_NOTE: Final = "tradewind-note"
_NOTE_HEADER: Final = "Tradewind-Note"
_MOST_DESCRIPTIONS: Final = 256
_AHEAD: Final = 2
_T = TypeVar("_T")


class JetStreamVault:
    """Holds objects in a bucket.

    Args:
        nats: a connection of its own, so that files do not stand in the way of the log.
        bucket: its name; made where it is not there.
        replicas, max_bytes: of a bucket that is made; -1: as much as the servers hold.
    """

    def __init__(self, nats: Client, bucket: str, *, replicas: int = 1, max_bytes: int = -1) -> None:
        """Hold objects over a connection, which is closed with the vault."""
        self._nats = nats
        self._js = nats.jetstream(timeout=_ANSWER_WITHIN)
        self._bucket, self._stream = bucket, f"OBJ_{bucket}"
        self._replicas, self._max_bytes = replicas, max_bytes
        self._made = False
        self._descriptions: OrderedDict[str, tuple[Described, tuple[int, ...]]] = OrderedDict()

    async def held(self, name: str) -> Held:
        """See ``Vault.held``."""
        await self._make()
        subject = self._chunks(name)
        try:
            last = await _answered(self._js.get_last_msg(self._stream, subject))
        except NotFoundError:
            return Held(0)
        info = await _answered(self._js.stream_info(self._stream, subjects_filter=subject))
        count = (info.state.subjects or {}).get(subject, 0)
        note = base64.b64decode((last.headers or {}).get(_NOTE_HEADER, ""))
        return Held((count - 1) * full(note) + len(last.data or b""), last.seq or 0, note)

    async def append(self, name: str, held: Held, data: bytes) -> Held:
        """See ``Vault.append``."""
        await self._make()
        if held.size % full(held.note):
            raise Overtaken
        headers = {"Nats-Expected-Last-Subject-Sequence": str(held.mark)}
        if held.note:
            headers[_NOTE_HEADER] = base64.b64encode(held.note).decode()
        publish = self._js.publish(self._chunks(name), data, timeout=_ANSWER_WITHIN, headers=headers)
        try:
            return Held(held.size + len(data), (await _answered(publish)).seq, held.note)
        except APIError as error:
            raise Overtaken from error
        except VaultUnavailable:
            self._made = False  # the bucket may be gone with all its servers held
            raise

    async def inspect(self, name: str, take: Take) -> Inspected:
        """See ``Vault.inspect``."""
        held = await self.held(name)
        last = held.mark
        digest, size = hashlib.sha256(), 0
        places: list[int] = []
        while not places or places[-1] < last:
            chunk = await self._next(self._chunks(name), (places[-1] if places else 0) + 1) if last else None
            if chunk is None:
                break
            seq, data = chunk
            await asyncio.to_thread(digest.update, data)
            await take(data)
            size += len(data)
            places.append(seq)
        return Inspected(size, digest.digest(), tuple(places), held.note)

    async def finish(self, name: str, inspected: Inspected) -> None:
        """See ``Vault.finish``."""
        digest = base64.urlsafe_b64encode(inspected.sha256).decode()
        places, before = b"", 0
        for place in inspected.places:
            places += varint(place - before)
            before = place
        metadata = {_PLACES: base64.b64encode(places).decode()}
        if inspected.note:
            metadata[_NOTE] = base64.b64encode(inspected.note).decode()
        description = {
            "name": name,
            "bucket": self._bucket,
            "nuid": _token(name),
            "size": inspected.size,
            "chunks": len(inspected.places),
            "digest": f"SHA-256={digest}",
            "mtime": datetime.now(UTC).isoformat(),
            "options": {"max_chunk_size": full(inspected.note)},
            "metadata": metadata,
        }
        await _answered(
            self._js.publish(self._description(name), json.dumps(description).encode(), headers={"Nats-Rollup": "sub"})
        )

    async def described(self, name: str) -> Described:
        """See ``Vault.described``."""
        return (await self._described(name))[0]

    async def every(self) -> AsyncIterator[Described]:
        """See ``Vault.every``."""
        await self._make()
        seq = 0
        while (found := await self._next(f"$O.{self._bucket}.M.>", seq + 1)) is not None:
            seq, data = found
            description = json.loads(data or b"{}")
            if _PLACES in (description.get("metadata") or {}):  # what another client put there is not ours
                yield _read(description)[0]

    async def read(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        """See ``Vault.read``."""
        described, places = await self._described(name)
        if offset > described.size:
            raise ValueError("the offset is beyond the object's end")
        end, each = min(described.size, offset + length), full(described.note)
        numbers = range(offset // each, -(-end // each)) if end > offset else range(0)
        async for number, chunk in self._in_order(places, numbers):
            begins = number * each
            yield chunk[max(0, offset - begins) : end - begins]

    async def remove(self, name: str) -> None:
        """See ``Vault.remove``."""
        await self._make()
        self._descriptions.pop(name, None)
        # The description first: what has one can be read.
        for subject in (self._description(name), self._chunks(name)):
            with suppress(NotFoundError):
                await _answered(self._js.purge_stream(self._stream, subject=subject))

    async def close(self) -> None:
        """Close the connection."""
        await self._nats.close()

    async def _in_order(self, places: tuple[int, ...], numbers: range) -> AsyncIterator[tuple[int, bytes]]:
        """Read chunks a little ahead of whoever takes them."""
        under_way: list[asyncio.Task[bytes]] = []
        try:
            for number in numbers:
                while len(under_way) < min(_AHEAD, numbers.stop - number):
                    place = places[number + len(under_way)]
                    under_way.append(asyncio.create_task(self._chunk(place), name="attachment-chunk"))
                yield number, await under_way.pop(0)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _chunk(self, seq: int) -> bytes:
        for direct in (True, False):  # a replica may not have it yet; the leader has
            try:
                found = await _answered(self._js.get_msg(self._stream, seq=seq, direct=direct))
                return found.data or b""
            except NotFoundError:
                continue
        raise NoObject("a chunk is not there")

    async def _next(self, subject: str, seq: int) -> tuple[int, bytes] | None:
        for direct in (True, False):
            try:
                found = await _answered(
                    self._js.get_msg(self._stream, seq=seq, subject=subject, direct=direct, next=True)
                )
                return found.seq or 0, found.data or b""
            except NotFoundError:
                continue
        return None

    async def _described(self, name: str) -> tuple[Described, tuple[int, ...]]:
        """Read an object's description and where its chunks are; never changes while it is there."""
        known = self._descriptions.get(name)
        if known is not None:
            self._descriptions.move_to_end(name)
            return known
        await self._make()
        try:
            message = await _answered(self._js.get_last_msg(self._stream, self._description(name)))
        except NotFoundError as error:
            raise NoObject("no such object") from error
        found = _read(json.loads(message.data or b"{}"))
        self._descriptions[name] = found
        if len(self._descriptions) > _MOST_DESCRIPTIONS:
            self._descriptions.popitem(last=False)
        return found

    async def _make(self) -> None:
        """Make the bucket where it is not there; what is there stays as it is, also its limits."""
        if self._made:
            return
        config = StreamConfig(
            name=self._stream,
            subjects=[f"$O.{self._bucket}.C.>", f"$O.{self._bucket}.M.>"],
            storage=StorageType.FILE,
            num_replicas=self._replicas,
            max_bytes=self._max_bytes,
            discard=DiscardPolicy.NEW,  # full is an error to who writes, never the end of what is there
            allow_rollup_hdrs=True,
            allow_direct=True,
        )
        with suppress(APIError):  # it is there
            await _answered(self._js.add_stream(config))
        self._made = True

    def _chunks(self, name: str) -> str:
        return f"$O.{self._bucket}.C.{_token(name)}"

    def _description(self, name: str) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


async def _answered(asked: Awaitable[_T]) -> _T:
    """Await the server's answer. Raises VaultUnavailable; what whoever asked can make something of, as it is."""
    try:
        return await asked
    except APIError as error:
        if isinstance(error, NotFoundError) or error.err_code in _PASSED_ON:
            raise
        raise VaultUnavailable(f"the object store refused: {error.err_code}", 5.0) from error
    except (TimeoutError, NatsError) as error:
        raise VaultUnavailable(f"the object store did not answer: {type(error).__name__}") from error


def _read(description: dict[str, Any]) -> tuple[Described, tuple[int, ...]]:
    """Read a description, and where the chunks are."""
    metadata = description["metadata"]
    digest = base64.urlsafe_b64decode(description["digest"].removeprefix("SHA-256="))
    note = base64.b64decode(metadata.get(_NOTE, ""))
    return Described(description["name"], int(description["size"]), digest, note), _places(metadata[_PLACES])


def _places(text: str) -> tuple[int, ...]:
    raw, at, place = base64.b64decode(text), 0, 0
    places: list[int] = []
    while at < len(raw):
        step, at = read_varint(raw, at)
        place += step
        places.append(place)
    return tuple(places)


def _token(name: str) -> str:
    """Give an object's name as one token of a subject."""
    return base64.urlsafe_b64encode(name.encode()).rstrip(b"=").decode()
