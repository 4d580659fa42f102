"""Simulated nats-servers: streams with fences, ages and lives, durable pull consumers, and core subjects.

What it does was seen on nats-server 2.15.1; `tests/contract/test_log.py` holds both to the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WRONG_LAST_SEQUENCE = 10071
NAME_IN_USE = 10058


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream, and when it came (seconds of the simulation)."""

    seq: int
    subject: str
    data: bytes
    at: float


class Refusal(Exception):
    """JetStream's error, by its number."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Stream:
    """One stream.

    Args:
        prefix: of the subjects it holds.
        first: sequence of its first message.
        max_age: seconds a message stays; None: for ever.
        may_leave: whether a message that is old enough may leave.
    """

    def __init__(
        self, name: str, prefix: str, first: int, max_age: float | None, metadata: dict[str, str],
        may_leave: Callable[[Message], bool],
    ) -> None:  # fmt: skip
        self.name, self.prefix, self.metadata = name, prefix, metadata
        self.begun = first
        self.max_age, self._may_leave = max_age, may_leave
        self.messages: list[Message] = []
        self.last_seq = first - 1
        self.durables: dict[str, Durable] = {}
        self._lasts: dict[str, int] = {}

    @property
    def first_seq(self) -> int:
        """Of the oldest message; the next one's where there is none."""
        return self.messages[0].seq if self.messages else self.last_seq + 1

    def append(self, subject: str, data: bytes, fence: int | None, now: float) -> int:
        """Appends; `fence`: what the subject's last sequence must be.

        Raises:
            Refusal: it is not.
        """
        self.age(now)
        if fence is not None and self._lasts.get(subject, 0) != fence:
            raise Refusal(WRONG_LAST_SEQUENCE)
        self.last_seq += 1
        self.messages.append(Message(self.last_seq, subject, data, now))
        self._lasts[subject] = self.last_seq
        return self.last_seq

    def age(self, now: float) -> None:
        """Lets go of what is too old."""
        if self.max_age is None:
            return
        gone = 0
        for message in self.messages:
            if message.at > now - self.max_age or not self._may_leave(message):
                break
            gone += 1
        if gone:
            self._drop(self.messages[:gone])
            del self.messages[:gone]

    def lose_end(self, count: int) -> int:
        """A power failure: the last messages were never written to a disk, and their sequences are given anew."""
        count = min(count, len(self.messages))
        if count:
            lost = self.messages[-count:]
            del self.messages[-count:]
            self.last_seq = lost[0].seq - 1
            self._lasts = {message.subject: message.seq for message in self.messages}
            for durable in self.durables.values():
                durable.forget_above(self.last_seq)
        return count

    def last(self, subject: str, upto: float | None = None) -> Message | None:
        """The subject's last message; with `upto` as a copy knows it that has seen nothing after that moment."""
        seq = self._lasts.get(subject)
        if seq is None:
            return None
        for message in reversed(self.messages):
            if message.subject == subject and (upto is None or message.at <= upto):
                return message
        return None

    def following(self, start: int, subject: str, limit: int, upto: float | None = None) -> list[Message]:
        """Messages from a sequence on, of a subject (or of all below it where it ends with ">")."""
        found: list[Message] = []
        wild = subject[:-1] if subject.endswith(">") else None
        place = bisect_right(self.messages, start - 1, key=_seq)
        for message in self.messages[place:]:
            if upto is not None and message.at > upto:
                break
            if message.subject == subject or (wild is not None and message.subject.startswith(wild)):
                found.append(message)
                if len(found) == limit:
                    break
        return found

    def _drop(self, gone: list[Message]) -> None:
        for message in gone:
            if self._lasts.get(message.subject) == message.seq:
                del self._lasts[message.subject]
        for durable in self.durables.values():
            durable.forget_below(gone[-1].seq)


class Durable:
    """A durable pull consumer with explicit acknowledgements, shared by whoever pulls.

    Attributes:
        pending: delivered and not acknowledged: sequence to (until when, how often).
    """

    def __init__(self, stream: Stream, subject: str, ack_wait: float) -> None:
        self._stream, self.subject, self._ack_wait = stream, subject, ack_wait
        self.pending: dict[int, tuple[float, int]] = {}
        self.delivered = stream.begun - 1
        self.sent = 0
        self.waiting: list[Callable[[], None]] = []

    @property
    def floor(self) -> int:
        """All that it was handed at or below this sequence is acknowledged; 0: nothing yet."""
        if self.pending:
            below = min(self.pending) - 1
            return below if below >= self._stream.begun else 0
        return self.delivered if self.delivered >= self._stream.begun else 0

    def take(self, limit: int, now: float) -> list[tuple[Message, int, int]]:
        """Delivers at most so many: (message, how often delivered, number of the delivery)."""
        handed: list[tuple[Message, int, int]] = []
        for seq in sorted(seq for seq, (until, _) in self.pending.items() if until <= now):
            found = self._stream.following(seq, self.subject, 1)
            if not found or found[0].seq != seq:
                del self.pending[seq]
            elif len(handed) < limit:
                self._hand(found[0], now, handed)
        if len(handed) < limit:
            for message in self._stream.following(self.delivered + 1, self.subject, limit - len(handed)):
                self.delivered = message.seq
                self._hand(message, now, handed)
        return handed

    def _hand(self, message: Message, now: float, handed: list[tuple[Message, int, int]]) -> None:
        tries = self.pending.get(message.seq, (0.0, 0))[1] + 1
        self.pending[message.seq] = (now + self._ack_wait, tries)
        self.sent += 1
        handed.append((message, tries, self.sent))

    def acknowledge(self, seq: int) -> None:
        """It is done."""
        self.pending.pop(seq, None)

    def progress(self, seq: int, now: float) -> None:
        """It is being worked on."""
        if seq in self.pending:
            self.pending[seq] = (now + self._ack_wait, self.pending[seq][1])

    def due(self) -> float | None:
        """When the next message comes again."""
        return min((until for until, _ in self.pending.values()), default=None)

    def forget_below(self, seq: int) -> None:
        """Aged out."""
        self.delivered = max(self.delivered, seq)
        for gone in [known for known in self.pending if known <= seq]:
            del self.pending[gone]

    def forget_above(self, seq: int) -> None:
        """Lost."""
        self.delivered = min(self.delivered, seq)
        for gone in [known for known in self.pending if known > seq]:
            del self.pending[gone]


def _seq(message: Message) -> int:
    return message.seq


Answer = Callable[[Any], None]
