"""Filling a store that was lost: from a backup, from the log, or from both (rule 12).

Entries are applied in order, as a load applies them, so read models, request ids and heads come out as they were. Rows that no entry
writes are put back with their sequences, as the newest backup has them, so what an entry deleted of them, in the backup or in the log, or
anybody before that backup was made, stays deleted. What the log holds
beyond a backup is left to repair, which begins at the log's beginning, as its place was in the lost store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tradewind.ledger.v1 import backup_pb2

from services.ledger import backup, entries
from services.ledger.archive import Archive, Position, StoredEntry, Write
from services.ledger.clock import SYSTEM, Clock
from services.ledger.decider import Kind
from services.ledger.ending import end
from services.ledger.errors import HistoryGap
from services.ledger.ids import AggregateId
from services.ledger.lives import JetStreamLives
from services.ledger.log import Ends
from services.ledger.recovery import QUIET, NotNow, Tell, put_in_charge, require_unused
from services.ledger.replay import Replay, Standing

_AT_ONCE = 64
_SNAPSHOT_AFTER = 1000
_TELL_EVERY = 50_000


@dataclass(frozen=True)
class Restored:
    """What a restore did.

    Attributes:
        entries: how many the store did not have yet.
        epoch: the life of the log that is registered now.
        loss: what can be gone for good, in words; None where backup and log leave nothing out.
    """

    entries: int
    epoch: int
    loss: str | None


async def restore(
    archive: Archive, lives: JetStreamLives, service: str, kinds: Iterable[Kind[Any, Any, Any]], files: Sequence[Path], tell: Tell,
    *, accept_loss: bool = False, clock: Clock = SYSTEM, quiet: float = QUIET,
) -> Restored:  # fmt: skip
    """Fills an empty store, and puts it in charge.

    Args:
        files: a whole backup, and those of what came after it, oldest first; none: the log alone.
        accept_loss: go on where backup and log leave something out.
        quiet: seconds for which the store must have been without a registered life before it is put in charge.

    Raises:
        NotNow: the store is in use, there is nothing to restore from, or something would be lost.
        BackupUnusable: a file is no whole backup of this service.
        LogUnavailable, StoreUnavailable: not finished; begin again, with the same files.
    """
    known = await _series(files, service)
    mark = f"restoring:{known[0].trailer.digest.hex()[:32] if known else 'log'}"
    await require_unused(archive, service, tell, mark)
    epoch, loss = await _weigh(lives, known[-1].header if known else None)
    if loss is not None and not accept_loss:
        raise NotNow(f"{loss}; what is gone stays gone: --accept-loss goes on without it")
    since = clock.monotonic()
    await archive.put_identity(mark)
    count = 0
    for file, what in zip(files, known, strict=True):
        tell(f"{file}: {what.trailer.entries} entries of {what.trailer.aggregates} aggregates")
        count += await _fill(archive, kinds, file, tell, whole=not what.header.after_seq)
        if file == files[-1]:  # which has all of them; those before it have some that were deleted since
            async for rows in backup.rows_of(file):
                await archive.put_rows(rows)
        for kept in what.header.positions:
            await archive.put_position(kept.role, kept.source, kept.partition, Position(kept.epoch, kept.seq))
    await put_in_charge(archive, service, epoch, since, tell, clock=clock, quiet=quiet)
    return Restored(count, epoch, loss)


async def merge(
    archive: Archive, service: str, kinds: Iterable[Kind[Any, Any, Any]], file: Path, tell: Tell
) -> Restored:
    """Adds what a backup holds to a store in use that has what came before it. Services may go on meanwhile.

    Raises:
        NotNow: the store is not in use, or lacks what came before.
        BackupUnusable: the file is no whole backup of this service.
        StoreUnavailable: not finished; begin again.
    """
    await _series([file], service, whole=False)
    epoch = await archive.epoch(service)
    if epoch is None:
        raise NotNow("the store is empty: restore a whole backup first")
    count = await _fill(archive, kinds, file, tell, at_once=1, whole=False)
    async for rows in backup.rows_of(file):
        await archive.put_rows(rows)
    return Restored(count, epoch, None)


async def _series(files: Sequence[Path], service: str, *, whole: bool = True) -> list[backup.Contents]:
    """What each file says of itself; they must go on from each other."""
    known: list[backup.Contents] = []
    for file in files:
        found = await backup.contents(file)
        if found.header.service != service:
            raise backup.BackupUnusable(f"{file} is a backup of {found.header.service}, not of {service}")
        after, reached = found.header.after_seq, known[-1].header.complete_seq if known else 0
        if whole and after > reached:
            raise NotNow(f"{file} holds only what came after sequence {after}: restore what was before it first")
        known.append(found)
    return known


async def _weigh(lives: JetStreamLives, header: backup_pb2.BackupHeader | None) -> tuple[int, str | None]:
    """Which life of the log to register, and what neither backup nor log can give back."""
    newest = await lives.newest()
    if header is None:
        if newest is None:
            raise NotNow("the log holds nothing of this service: there is nothing to restore from")
        ends = await lives.ends(newest) or Ends(newest, newest)
        if await lives.first() != newest:
            return newest, "the log had earlier lives, and holds nothing of them"
        return newest, None if ends.first == newest else "the log does not reach back to its beginning"
    complete = f"the backup is complete up to sequence {header.complete_seq}"
    if newest is None or newest < header.epoch:
        return header.epoch, f"{complete}, and the log that goes on from there is lost"
    ends = await lives.ends(newest) or Ends(newest, newest)
    if newest == header.complete_epoch:
        hole = ends.first > header.complete_seq + 1
        return newest, f"{complete}, and the log begins only at {ends.first}" if hole else None
    return newest, f"{complete}, and the log began anew since, at {newest}"


async def _fill(
    archive: Archive, kinds: Iterable[Kind[Any, Any, Any]], file: Path, tell: Tell, *, whole: bool, at_once: int = _AT_ONCE
) -> int:  # fmt: skip
    """Stores every entry that the store has not.

    A store that is not in charge yet is read by nobody, so it does not matter in which order entries come to it; in one that is,
    each must be there before the next.

    Args:
        whole: the file holds every aggregate from its beginning.
    """
    replays = {kind.name: Replay(kind, archive) for kind in kinds}
    count = 0
    aggregate: AggregateId | None = None
    found = Standing(None)
    crowd = _Crowd(at_once)
    try:
        async for page in backup.entries_of(file):
            for one in page:
                name, entry = AggregateId(one.tenant, one.kind, one.id), StoredEntry(0, one.seq, one.entry)
                if name != aggregate:
                    await _finish(archive, replays, aggregate, found)
                    replay = _replay(replays, name)
                    aggregate, found = name, Standing(replay.kind.initial()) if whole else await _in_store(replay, name)
                if entry.seq > found.last_seq:
                    await crowd.add(archive.store(_write(replays[name.kind], name, found, entry)))
                    count += 1
                    if count % _TELL_EVERY == 0:
                        tell(f"{count} entries restored")
        await crowd.wait()
    finally:
        await crowd.close()
    await _finish(archive, replays, aggregate, found)
    return count


class _Crowd:
    """Some writes at once; the first that fails is raised to whoever adds or waits."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, write: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(write))
        if len(self._tasks) >= self._most:
            await self._some(asyncio.FIRST_COMPLETED)

    async def wait(self) -> None:
        if self._tasks:
            await self._some(asyncio.ALL_COMPLETED)

    async def close(self) -> None:
        await end(self._tasks)

    async def _some(self, until: str) -> None:
        done, self._tasks = await asyncio.wait(self._tasks, return_when=until)
        failures = [error for task in done if (error := task.exception()) is not None]
        if failures:
            raise failures[0]


async def _finish(archive: Archive, replays: dict[str, Replay], aggregate: AggregateId | None, found: Standing) -> None:
    """A snapshot of a long history, so that its first load is quick."""
    if aggregate is not None and found.version >= _SNAPSHOT_AFTER:
        snapshot = replays[aggregate.kind].snapshot(found.version, found.last_seq, found.state)
        await archive.put_snapshot(aggregate.key, snapshot)


async def _in_store(replay: Replay, aggregate: AggregateId) -> Standing:
    try:
        return await replay.standing(aggregate)
    except HistoryGap as error:
        raise NotNow(f"the store holds {aggregate.kind} {aggregate.id} only in part") from error


def _write(replay: Replay, aggregate: AggregateId, found: Standing, entry: StoredEntry) -> Write:
    if not found.continued_by(entries.parse(entry.data)):
        raise NotNow(
            f"{aggregate.kind} {aggregate.id} is not continued by this backup: restore what was before it first"
        )
    write = replay.apply(aggregate, found, entry, writes=True)
    found.fresh.clear()
    assert write is not None
    return write


def _replay(replays: dict[str, Replay], aggregate: AggregateId) -> Replay:
    replay = replays.get(aggregate.kind)
    if replay is None:
        raise backup.BackupUnusable(f"the backup holds aggregates of kind {aggregate.kind}, which this service has not")
    return replay
