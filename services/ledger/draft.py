"""Deciding a batch: which commands are answered already, what the others write, and the entry of it all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from services.ledger import entries
from services.ledger.decider import Kind, Receipt, Request
from services.ledger.engine import Limits
from services.ledger.errors import DeadlineExceeded, InvalidRequestId, LedgerError, RequestIdReused, TooLarge
from services.ledger.ids import milliseconds_of, request_bytes
from services.ledger.replay import Standing
from services.ledger.requests import Answered

_AHEAD_MS = 24 * 3600 * 1000


class Pending:
    """A command that waits, with its caller's future.

    Raises:
        InvalidRequestId: the request id is no UUIDv7, or dated more than a day ahead (it would make later ids look old).
    """

    __slots__ = ("command", "fingerprint", "future", "made_ms", "plain", "request_id", "traceparent", "until")

    def __init__(self, command: Any, request: Request, until: float, wall_us: int) -> None:
        try:
            self.request_id = request_bytes(request.id)
        except ValueError as error:
            raise InvalidRequestId("request_id must be a UUIDv7") from error
        self.made_ms = milliseconds_of(self.request_id)
        if self.made_ms > wall_us // 1000 + _AHEAD_MS:
            raise InvalidRequestId("request_id is dated more than a day ahead")
        self.command = command
        self.fingerprint = self.plain = request.fingerprint  # plain: also where the other is keyed
        self.traceparent = request.traceparent
        self.until = until
        self.future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()


class Refresh:
    """A look into the log that somebody waits for."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


Outcome = Receipt | Answered | Exception


class Draft:
    """What a batch of commands would write on top of a standing; nothing of it is true before it is stored.

    Attributes:
        state, version: after all events.
        events: their public bytes.
        decided: (version, event).
        answered: (request id, what it wrote) of every command with events.
        outcomes: every decided command with its answer; given only after the draft is stored, because it may rest on
            events before it in the draft.
        left_over: commands that did not fit; they go first into the next entry.
        traceparent: of the first sampled command.
        newest_request_ms: time of the newest request id among them.
    """

    def __init__(self, kind: Kind[Any, Any, Any], standing: Standing, limits: Limits) -> None:
        self._kind = kind
        self._standing = standing
        self._limits = limits
        self.state = standing.state
        self.version = standing.version
        self.events: list[bytes] = []
        self.decided: list[tuple[int, Any]] = []
        self.answered: list[tuple[bytes, Answered]] = []
        self.outcomes: list[tuple[Pending, Outcome]] = []
        self.left_over: list[Pending] = []
        self.traceparent: str | None = None
        self.newest_request_ms = 0
        self._commands: list[bytes] = []
        self._bytes = 0

    def decide(self, batch: Sequence[Pending], known: Mapping[bytes, Answered], now: float) -> None:
        """Decides every command in order. `known`: what memory and store hold of the batch's older request ids."""
        here: dict[bytes, tuple[bytes, Receipt]] = {}
        for index, pending in enumerate(batch):
            if pending.future.done():
                continue
            outcome = self._outcome(pending, known, here, now)
            if outcome is None:
                self.left_over = list(batch[index:])
                return
            self.outcomes.append((pending, outcome))

    @property
    def unproven(self) -> bool:
        """True: somebody is refused, or has nothing to write, by a state that no append shows to be the newest one."""
        return not self.events and any(
            not outcome.payloads
            if isinstance(outcome, Receipt)
            else isinstance(outcome, Exception) and not isinstance(outcome, LedgerError)
            for _, outcome in self.outcomes
        )

    def entry(self, writer: str) -> bytes:
        """The draft as the entry to append."""
        standing = self._standing
        return entries.encode(standing.version, standing.last_seq, self.events, self._commands, writer)

    def _outcome(
        self, pending: Pending, known: Mapping[bytes, Answered], here: dict[bytes, tuple[bytes, Receipt]], now: float
    ) -> Outcome | None:
        """A command's answer; None where its events do not fit beside the others."""
        request_id = pending.request_id
        before = here.get(request_id)
        if before is not None:
            print_, receipt = before
            if print_ not in (pending.fingerprint, pending.plain):
                return RequestIdReused("this request id was used for another content")
            return Receipt(receipt.first_version, receipt.last_version, receipt.payloads, replayed=True)
        answered = known.get(request_id)
        if answered is not None:
            if answered.fingerprint not in (pending.fingerprint, pending.plain):
                return RequestIdReused("this request id was used for another content")
            return answered
        if pending.until <= now:
            return DeadlineExceeded("the deadline passed before the command was decided")
        try:
            return self._apply(pending, here)
        except Exception as refusal:  # noqa: BLE001 - the domain's word, or a defect in it: this command's answer alone
            return refusal

    def _apply(self, pending: Pending, here: dict[bytes, tuple[bytes, Receipt]]) -> Receipt | None:
        kind = self._kind
        events = kind.decide(self.state, pending.command)
        if not events:
            return Receipt(self.version + 1, self.version, ())
        if len(events) == 1:  # a message, and most else: spare it the lists
            version = self.version + 1
            payloads: tuple[bytes, ...] = (kind.encode(events[0], version),)
            state = kind.evolve(self.state, events[0])
            decided: Sequence[tuple[int, Any]] = ((version, events[0]),)
            size = len(payloads[0])
        else:
            state, version, payloads, decided = self._fold(events)
            size = sum(map(len, payloads))
        if size > self._limits.command_bytes:
            raise TooLarge("what one command writes is larger than the log takes in one message")
        if self._bytes and self._bytes + size > self._limits.entry_bytes:
            return None
        first = self.version + 1
        self.state, self.version = state, version
        self.events += payloads
        self.decided += decided
        self._bytes += size
        receipt = Receipt(first, version, payloads)
        here[pending.request_id] = (pending.fingerprint, receipt)
        self._note(pending, first, len(payloads))
        return receipt

    def _fold(self, events: Sequence[Any]) -> tuple[Any, int, tuple[bytes, ...], Sequence[tuple[int, Any]]]:
        kind, state, version = self._kind, self.state, self.version
        payloads: list[bytes] = []
        decided: list[tuple[int, Any]] = []
        for event in events:
            version += 1
            payloads.append(kind.encode(event, version))
            state = kind.evolve(state, event)
            decided.append((version, event))
        return state, version, tuple(payloads), decided

    def _note(self, pending: Pending, first: int, events: int) -> None:
        request_id = pending.request_id
        self._commands.append(entries.command(request_id, pending.fingerprint, events, pending.traceparent))
        self.answered.append((request_id, Answered(first, events, pending.fingerprint)))
        if pending.made_ms > self.newest_request_ms:
            self.newest_request_ms = pending.made_ms
        if self.traceparent is None and pending.traceparent:
            self.traceparent = pending.traceparent
