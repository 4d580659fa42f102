"""An aggregate in memory: a mailbox of commands, and group commit.

While one entry is on its way into log and store, commands queue; the next entry carries the events of all of them. One loop per
busy aggregate does everything to it (load, decide, append, store, answer), so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from services.ledger.archive import Head, StoredEntry, Write, entry_size
from services.ledger.decider import Kind, Receipt, Request, View
from services.ledger.draft import Draft, Pending, Refresh
from services.ledger.engine import Engine
from services.ledger.entries import find, parse
from services.ledger.errors import Contention, FenceLost, LedgerError, LogLost, LogUnavailable, Overloaded
from services.ledger.ids import AggregateId, keyed
from services.ledger.loading import Loader
from services.ledger.replay import Standing
from services.ledger.requests import Answered, RequestMemory
from services.ledger.ring import Ring


class Aggregate:
    """One aggregate as this process knows it.

    Attributes:
        standing: its state as stored, and its place in the log; None before the first load.
        current: False where the log may know more: the next command loads first.
        ring: recent encoded events while somebody watches.
        watchers: cursors to wake.
    """

    __slots__ = (
        "_busy", "_engine", "_loader", "_memory", "_queue", "_snapshot_version", "_subject", "_task",
        "current", "id", "kind", "ring", "standing", "watchers",
    )  # fmt: skip

    def __init__(self, aggregate: AggregateId, kind: Kind[Any, Any, Any], loader: Loader, engine: Engine) -> None:
        self.id = aggregate
        self.kind = kind
        self.standing: Standing | None = None
        self.current = False
        self.ring: Ring | None = None
        self.watchers: dict[Any, None] = {}
        self._loader = loader
        self._engine = engine
        self._subject = engine.log.subject(aggregate)
        self._memory = RequestMemory(0)
        self._queue: deque[Pending | Refresh] = deque()
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._snapshot_version = 0

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What is under way; None where nothing is."""
        return self._task

    @property
    def idle(self) -> bool:
        """True: nobody waits on it and nobody watches it; it can be let go."""
        return not self._busy and not self.watchers

    @property
    def version(self) -> int:
        """Version of its last stored event, as far as this process knows."""
        return self.standing.version if self.standing else 0

    def submit(self, command: Any, request: Request, until: float) -> asyncio.Future[Receipt]:
        """Queues a command; see `Ledger.submit`."""
        if len(self._queue) >= self._engine.limits.queue:
            raise Overloaded("too many commands wait on this aggregate", kind=self.id.kind)
        pending = Pending(command, request, until, self._engine.clock.wall_us())
        if self._engine.digest_key:
            pending.fingerprint = keyed(pending.fingerprint, self._engine.digest_key)
        self._enqueue(pending)
        return pending.future

    def refresh(self) -> asyncio.Future[View[Any]]:
        """Queues a look into the log; the future carries the state as it then stands."""
        waiting = Refresh()
        self._enqueue(waiting)
        return waiting.future

    def _enqueue(self, waiting: Pending | Refresh) -> None:
        self._queue.append(waiting)
        if not self._busy:
            self._busy = True
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """The loop: takes what waits until nothing waits."""
        try:
            while self._queue:
                batch: list[Pending] = []
                refreshes: list[Refresh] = []
                while self._queue and len(batch) < self._engine.limits.batch:
                    waiting = self._queue.popleft()
                    (batch if isinstance(waiting, Pending) else refreshes).append(waiting)  # type: ignore[arg-type]
                await self._serve(batch, refreshes)
        finally:
            self._busy = False
            self._task = None

    async def _serve(self, batch: list[Pending], refreshes: list[Refresh]) -> None:
        try:
            if refreshes:
                await self._load()
                self._answer_refreshes(refreshes)
            if batch:
                await self._commit(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is every waiting caller's answer
            self.current = False
            futures = [p.future for p in batch] + [r.future for r in refreshes]
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    def _answer_refreshes(self, refreshes: list[Refresh]) -> None:
        standing = self.standing
        assert standing is not None
        for waiting in refreshes:
            if not waiting.future.done():
                waiting.future.set_result(View(standing.state, standing.version))

    async def _commit(self, batch: list[Pending]) -> None:
        limits, clock, handover = self._engine.limits, self._engine.clock, self._engine.handover
        lost_answers = 0
        for attempt in range(limits.attempts):
            try:
                if handover.contended(self.id):
                    await handover.turn(self.id)
                    self._join(batch)
                begun = clock.monotonic()
                remembered = self.current
                if not remembered:
                    await self._load(sure=attempt > 0)
                draft = await self._decide(batch)
                if draft.events:
                    await self._write(draft)
                    handover.wrote(self.id, draft.version, clock.monotonic() - begun)
                elif remembered and draft.unproven:
                    self.current = False  # another process may have written what would have it decided otherwise
                    continue
            except FenceLost:
                self.current = False
                self._engine.counters.fences_lost += 1
                handover.lost(self.id, attempt + 1, clock.monotonic() - begun)
                continue
            except LogLost:
                raise
            except LogUnavailable:
                # The entry may still land. A load finds it, or finds that it cannot be asked; request ids make the retry harmless.
                self.current = False
                lost_answers += 1
                if lost_answers > 1:
                    raise
                continue
            await self._settle(draft)
            self._queue.extendleft(reversed(draft.left_over))
            return
        raise Contention("too many other writers on this aggregate", kind=self.id.kind)

    def _join(self, batch: list[Pending]) -> None:
        """What came while the batch waited for its turn goes with it."""
        queue, most = self._queue, self._engine.limits.batch
        while queue and len(batch) < most and isinstance(queue[0], Pending):
            batch.append(queue.popleft())  # type: ignore[arg-type]

    async def _decide(self, batch: list[Pending]) -> Draft:
        standing = self.standing
        assert standing is not None
        old = [p.request_id for p in batch if not self._memory.surely_new(p.request_id, p.made_ms)]
        known = {rid: found for rid in old if (found := self._memory.find(rid)) is not None}
        for rid in dict.fromkeys(old):
            if rid not in known and (stored := await self._look_up(rid)) is not None:
                known[rid] = stored
        draft = Draft(self.kind, standing, self._engine.limits)
        draft.decide(batch, known, self._engine.clock.monotonic())
        return draft

    async def _look_up(self, request_id: bytes) -> Answered | None:
        self._engine.counters.look_ups += 1
        stored = await self._engine.archive.find_request(self.id.key, request_id)
        if (
            stored is not None
            and self.standing is not None
            and self.standing.last_seq < stored.seq < self._engine.log.epoch
        ):
            raise FenceLost  # an earlier life's writer stored it since the load: only another load tells whether it stands
        found = find(parse(stored.data), request_id) if stored is not None else None
        if found is None:
            await self._engine.confirm_life()  # a store that was wiped a moment ago knows no id
        return found

    async def _write(self, draft: Draft) -> None:
        """Append, store, and only then believe it: the order that everything rests on."""
        engine, standing = self._engine, self.standing
        assert standing is not None
        if standing.fence == 0 and engine.clock.monotonic() - standing.read_at > engine.limits.fence_zero_within:
            raise FenceLost  # 0 may by now mean "aged out": read the log again
        rows = self._loader.replay.rows(self.id, standing.state, draft.state, draft.decided)
        data = draft.entry(engine.writer)
        parent = draft.traceparent
        await engine.reached("decided")
        sent_at = engine.clock.monotonic()
        if parent is None:
            seq = await engine.log.append(self._subject, data, standing.fence)
        else:
            with engine.tracer.span(
                "ledger.append", parent, attributes={"ledger.kind": self.id.kind, "ledger.events": len(draft.events)}
            ):
                seq = await engine.log.append(self._subject, data, standing.fence)
        await engine.reached("appended")
        if seq <= standing.last_seq:
            raise LogLost("the log gave a sequence anew: it lost its end, and an operator must recover it")
        if standing.fence == 0 and engine.clock.monotonic() - standing.read_at > engine.limits.fence_zero_within:
            raise FenceLost  # nobody knows when it was sent: a load tells whether it counts
        if engine.clock.monotonic() - sent_at > engine.limits.fence_zero_within:
            raise LogUnavailable(
                "the entry may have left the log before it was stored"
            )  # a load stores what is still there
        newest = max(standing.newest_request_ms, draft.newest_request_ms)
        size = standing.size + entry_size(data)
        write = Write(
            self.id.key,
            StoredEntry(standing.version + 1, seq, data),
            Head(draft.version, seq, newest, size),
            [request_id for request_id, _ in draft.answered],
            rows,
        )
        if parent is None:
            await engine.archive.store(write)
        else:
            with engine.tracer.span("ledger.store", parent, attributes={"ledger.kind": self.id.kind}):
                await engine.archive.store(write)
        if not engine.counts(sent_at):
            await engine.confirm_life()  # rule 5
        await engine.reached("stored")
        self._adopt(draft, seq, newest, size)

    def _adopt(self, draft: Draft, seq: int, newest_request_ms: int, size: int) -> None:
        """What is stored becomes the state, and is shown."""
        standing = self.standing
        assert standing is not None
        standing.state, standing.version = draft.state, draft.version
        standing.last_seq = standing.fence = seq
        standing.newest_request_ms, standing.size = newest_request_ms, size
        self._memory.add(draft.answered, draft.newest_request_ms)
        self._engine.counters.appends += 1
        self._engine.counters.events += len(draft.events)
        self._engine.stored(self.id, seq, draft.version)
        self._show(draft.events)
        self._engine.hearers.written(self.id, draft.decided)
        if draft.version - self._snapshot_version >= self._engine.limits.snapshot_every:
            self._snapshot_version = draft.version
            self._engine.start(self._keep_snapshot(draft.version, seq, draft.state))

    async def _keep_snapshot(self, version: int, seq: int, state: Any) -> None:
        try:
            # In a store that was lost meanwhile and is being restored it would hide that what is before it is missing.
            await self._engine.confirm_life()
            await self._engine.archive.put_snapshot(self.id.key, self._loader.replay.snapshot(version, seq, state))
        except LedgerError:
            self._snapshot_version = 0  # only a shortcut was lost: try again with the next entry

    def _show(self, payloads: list[bytes]) -> None:
        if not self.watchers:
            self.drop_ring()
            return
        if self.ring is None:
            self.ring = Ring(self.version + 1 - len(payloads))
        self._engine.shelf.push(self.ring, payloads)
        for cursor in self.watchers:
            cursor.wake()

    def drop_ring(self) -> None:
        """Lets go of the encoded events; the next watcher reads the store first."""
        self._engine.shelf.drop(self.ring)
        self.ring = None

    async def _settle(self, draft: Draft) -> None:
        """Answers everybody whose command was decided."""
        for pending, outcome in draft.outcomes:
            answer: Receipt | Exception
            if not isinstance(outcome, Answered):
                answer = outcome
            elif pending.future.done():
                continue
            else:
                try:
                    answer = await self._first_answer(outcome)
                except LedgerError as error:
                    answer = error  # this caller's alone: the others' commands are done
            if pending.future.done():
                continue  # its caller left, perhaps just now
            if isinstance(answer, Exception):
                pending.future.set_exception(answer)
            else:
                pending.future.set_result(answer)

    async def _first_answer(self, answered: Answered) -> Receipt:
        last = answered.first_version + answered.events - 1
        payloads: list[bytes] = []
        if answered.events:
            page = await self._engine.archive.entries(self.id.key, after=answered.first_version - 1, limit=1)
            for stored in page:
                entry = parse(stored.data)
                start = answered.first_version - entry.first_version
                payloads = list(entry.events[start : start + answered.events])
        return Receipt(answered.first_version, last, tuple(payloads), replayed=True)

    async def _load(self, *, sure: bool = False) -> None:
        """Loads, or catches up from what is known; events that another process wrote are shown to the watchers here."""
        known = self.standing
        found = await self._loader.load(self.id, known, sure=sure)
        if known is None:
            self._memory = RequestMemory(found.newest_request_ms)
            self._snapshot_version = found.snapshot_version
        elif found.last_seq != known.last_seq:
            self._memory.horizon_ms = found.newest_request_ms  # another writer's ids are not in this memory
        self.standing = found
        self.current = True
        if known is not None and found.version > known.version:
            if len(found.fresh) != found.version - known.version:
                self.drop_ring()  # read anew from the store: the watchers read there too
                found.fresh = []
            if self.ring is None and self.watchers:
                self.ring = Ring(found.version + 1 - len(found.fresh))
            self._show(found.fresh)
        found.fresh = []
