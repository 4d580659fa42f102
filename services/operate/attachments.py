"""Attachments in backups: their bytes, as the object store holds them, copied to a backup's folder, and put back from it.

What is sealed stays sealed on the way, so a backup's folder holds nothing readable either. Each object is copied once for all backups of a
folder; what was broken off goes on with the objects that are missing. Of no object more than a chunk is in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from services.chat.attachments import domain, rows, sealing
from services.chat.attachments.kind import ATTACHMENT
from services.chat.attachments.vault import Described, Held, NoObject, Overtaken, Vault, full
from services.chat.commands import now_us
from services.chat.privacy.keys import PersonKeys
from services.ledger.archive import Archive
from services.ledger.errors import HistoryGap
from services.ledger.replay import Replay
from services.operate import catalogue

_TELL_EVERY: Final = 1000
_STALE_S: Final = 3600.0
Tell = Callable[[str], None]


@dataclass
class Copied:
    """What a backup of attachments did, in objects: thumbnails are some, too. ``size``: bytes of those that were copied."""

    copied: int = 0
    size: int = 0
    there: int = 0
    damaged: int = 0

    def line(self) -> str:
        """Say so."""
        damaged = f"; {self.damaged} damaged in the object store" if self.damaged else ""
        return f"attachments: {self.copied} copied ({self.size} bytes), {self.there} were in the folder{damaged}"


@dataclass
class PutBack:
    """What a restore of attachments did, in objects."""

    restored: int = 0
    size: int = 0
    there: int = 0
    deleted: int = 0
    erased: int = 0
    damaged: int = 0

    def line(self) -> str:
        """Say so."""
        left = f"{self.deleted} were deleted since, of {self.erased} the owner was erased"
        damaged = f"; {self.damaged} damaged or missing in the backup" if self.damaged else ""
        return f"attachments: {self.restored} restored ({self.size} bytes), {self.there} were there, {left}{damaged}"


async def back_up(vault: Vault, file: Path, backup: bytes, tell: Tell) -> Copied:
    """Copy what is finished in ``vault`` to the folder of a backup's file, and list it beside the file.

    Args:
        backup: the digest of the backup whose list it is.

    Raises:
        OSError: a file cannot be written.
        VaultUnavailable: the object store did not answer; begin again, and what was copied stays so.
    """
    done, writer = Copied(), await asyncio.to_thread(catalogue.Writer, file, backup)
    try:
        async for described in vault.every():
            try:
                await _copied(vault, file, described, done)
            except NoObject:
                continue  # deleted meanwhile
            except _Damaged:
                done.damaged += 1
                tell(f"{described.name}: damaged in the object store")
                continue
            await asyncio.to_thread(writer.add, described)
            if not (done.copied + done.there) % _TELL_EVERY:
                tell(done.line())
        await asyncio.to_thread(writer.finish)
    finally:
        await asyncio.to_thread(writer.close)
    return done


class _Damaged(Exception):
    """The bytes are not what they were."""


class _Erased(Exception):
    """The key of who uploaded it was destroyed."""


async def _copied(vault: Vault, file: Path, described: Described, done: Copied) -> None:
    place = catalogue.bytes_of(file, described.sha256)
    if await asyncio.to_thread(_is_there, place, described.size):
        done.there += 1
        return
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    output = await asyncio.to_thread(_begun, place, partial)
    try:
        digest = hashlib.sha256()
        async for data in vault.read(described.name, 0, described.size):
            await asyncio.to_thread(_written, output, digest.update, data)
        if digest.digest() != described.sha256:
            raise _Damaged
        await asyncio.to_thread(_finished, output, partial, place)
    finally:
        await asyncio.to_thread(_left, output, partial)
    done.copied += 1
    done.size += described.size


def _is_there(place: Path, size: int) -> bool:
    return place.is_file() and place.stat().st_size == size


def _begun(place: Path, partial: Path) -> IO[bytes]:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.parent.glob(f".{place.name}.*.partial"):  # of one that was killed
        if left.stat().st_mtime < time.time() - _STALE_S:
            left.unlink(missing_ok=True)
    return os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _written(output: IO[bytes], update: Callable[[bytes], None], data: bytes) -> None:
    update(data)
    output.write(data)


def _finished(output: IO[bytes], partial: Path, place: Path) -> None:
    output.flush()
    catalogue.sync(output.fileno())
    partial.replace(place)
    catalogue.sync_folder(place.parent)


def _left(output: IO[bytes], partial: Path) -> None:
    output.close()
    partial.unlink(missing_ok=True)


class Restorer:
    """Puts attachments back.

    Args:
        archive: the store, restored.
        keys: with them each chunk is opened to see that it is what was sealed, and what nobody can open any more is left out;
            None: the deployment was not told with what files are sealed, and their SHA-256 must do.
    """

    def __init__(self, archive: Archive, vault: Vault, keys: PersonKeys | None) -> None:
        """Put into ``vault`` what belongs there by ``archive``."""
        self._archive, self._vault, self._keys = archive, vault, keys
        self._attachments = Replay(ATTACHMENT, archive)
        self._done = PutBack()

    async def restore(self, file: Path, backup: bytes, tell: Tell) -> PutBack:
        """Put back what a backup's list names and the object store does not hold. Again goes on where it stopped.

        Raises:
            BackupUnusable: the list was cut or changed, or is of another backup.
            StoreUnavailable, VaultUnavailable: not finished; begin again.
        """
        count = await asyncio.to_thread(catalogue.check, file, backup)
        tell(f"{catalogue.list_of(file)}: {count} attachments and thumbnails")
        pages = catalogue.pages(file)
        while page := await asyncio.to_thread(next, pages, None):
            for described in page:
                await self._one(file, described, tell)
        return self._done

    async def _one(self, file: Path, described: Described, tell: Tell) -> None:
        tenant, attachment_id, *thumbnail = described.name.split("/")
        state = await self._state(tenant, attachment_id)
        if state.state in (domain.State.DELETED, domain.State.PURGED):
            self._done.deleted += 1
            return
        if await self._is_held(described):
            self._done.there += 1
            return
        # First of all: what the log knows beyond the backup, that its owner deleted it say, comes into the store later.
        await self._archive.put_rows([rows.restored_row(tenant, attachment_id, now_us())])
        try:
            if state.sealed and not described.note:
                raise _Damaged
            key = await self._key(described, (tenant, state.owner)) if described.note and state.owner else None
            await self._put(file, described, key, None if thumbnail else state.sha256)
        except _Erased:
            self._done.erased += 1
        except Overtaken:
            self._done.there += 1  # it is being uploaded at this moment
        except (_Damaged, FileNotFoundError):
            await self._vault.remove(described.name)
            self._done.damaged += 1
            tell(f"{described.name}: damaged or missing in the backup")

    async def _state(self, tenant: str, attachment_id: str) -> domain.Attachment:
        """Tell what the store knows; of what it holds in part only, nothing."""
        try:
            state: domain.Attachment = (
                await self._attachments.standing(rows.aggregate_of(tenant, attachment_id))
            ).state
        except HistoryGap:
            return domain.initial()
        return state

    async def _is_held(self, described: Described) -> bool:
        try:
            return await self._vault.described(described.name) == described
        except NoObject:
            return False

    async def _key(self, described: Described, owner: tuple[str, str]) -> sealing.FileKey | None:
        key_id = sealing.key_id(described.note)
        if self._keys is None or key_id is None:
            return None
        person = await self._keys.found(owner, key_id)
        if person is None:
            raise _Erased
        key = sealing.key_of(described.name, described.note, person)
        if key is None:
            raise _Damaged
        return key

    async def _put(self, file: Path, described: Described, key: sealing.FileKey | None, sha256: str | None) -> None:
        """Write an object, chunk by chunk, and finish it where it is what it was. Raises _Damaged, FileNotFoundError."""
        name, note, digest, plain = described.name, described.note, hashlib.sha256(), hashlib.sha256()
        await self._vault.remove(name)
        held, number = Held(0, note=note), 0
        chunks = _chunks(catalogue.bytes_of(file, described.sha256), full(note))
        try:
            while data := await asyncio.to_thread(next, chunks, b""):
                is_last = held.size + len(data) >= described.size
                opened = key.opened(number, data, is_last=is_last) if key is not None else data
                if opened is None or held.size + len(data) > described.size:
                    raise _Damaged
                await asyncio.to_thread(digest.update, data)
                await asyncio.to_thread(plain.update, opened)
                held, number = await self._vault.append(name, held, data), number + 1
        finally:
            await asyncio.to_thread(chunks.close)
        is_readable = key is not None or not note
        if digest.digest() != described.sha256 or (is_readable and sha256 and plain.hexdigest() != sha256):
            raise _Damaged
        inspected = await self._vault.inspect(name, _nothing)
        if inspected.sha256 != described.sha256:
            raise _Damaged
        await self._vault.finish(name, inspected)
        self._done.restored += 1
        self._done.size += described.size


def _chunks(place: Path, length: int) -> Generator[bytes, None, None]:
    with place.open("rb") as stream:
        while data := stream.read(length):
            yield data


async def _nothing(_data: bytes) -> None:
    return
