"""One intent: a call that is repeated with its own request id until it is settled, given up, or out of time. Every try is recorded."""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from tests.drills.records import ACKNOWLEDGED, REFUSED, UNKNOWN, Call, Recorder

_Code = grpc.StatusCode
_NOT_NOW = frozenset({_Code.RESOURCE_EXHAUSTED, _Code.ABORTED})
"""Refused, nothing written, and the same may succeed later."""
_NO = frozenset(
    {
        _Code.INVALID_ARGUMENT, _Code.NOT_FOUND, _Code.ALREADY_EXISTS, _Code.PERMISSION_DENIED, _Code.FAILED_PRECONDITION,
        _Code.UNAUTHENTICATED, _Code.UNIMPLEMENTED,
    }
)  # fmt: skip
"""Refused, and refused again."""


def new_request_id(rng: random.Random) -> str:
    """A UUIDv7 (RFC 9562) of now, its other bits by the seed."""
    number = (time.time_ns() // 1_000_000) << 80 | rng.getrandbits(80)
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))


@dataclass
class Pace:
    """How the load goes on and ends.

    Attributes:
        ending: set when no new intent begins.
        patience: seconds after that during which unknown ones are still settled.
        deadline: of one try, seconds.
        give_up: share of intents that are never tried again after an unknown outcome.
        hurry: share of tries with a deadline so short that they are often cut in the middle.
        think: longest pause of a client between two intents, seconds.
    """

    ending: asyncio.Event = field(default_factory=asyncio.Event)
    patience: float = 20.0
    deadline: float = 4.0
    give_up: float = 0.15
    hurry: float = 0.02
    think: float = 0.05
    _until: float = 0.0

    def end(self) -> None:
        """No new intents from now on."""
        self._until = time.monotonic() + self.patience
        self.ending.set()

    @property
    def over(self) -> bool:
        """True: nothing is settled any more."""
        return self.ending.is_set() and time.monotonic() > self._until

    async def pause(self, rng: random.Random) -> None:
        """A client thinks."""
        await asyncio.sleep(rng.uniform(0, self.think))


@dataclass(frozen=True)
class Intent:
    """What one client wants once."""

    kind: str
    client: str
    target: str
    request_id: str
    digest: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What an acknowledgement says: its version, and what it names."""

    version: int = 0
    target: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


Try = Callable[[float], Awaitable[Answer]]


async def settle(recorder: Recorder, pace: Pace, rng: random.Random, intent: Intent, attempt: Try) -> Answer | None:
    """Tries until there is an answer; None where it was refused for good or its outcome stays unknown."""
    gives_up = rng.random() < pace.give_up
    wait = 0.05
    while True:
        hurried = rng.random() < pace.hurry
        deadline = rng.uniform(0.002, 0.05) if hurried else pace.deadline
        start = recorder.now()
        try:
            answer = await attempt(deadline)
        except grpc.aio.AioRpcError as error:
            outcome = outcome_of(error.code())
            _note(recorder, intent, start, outcome, reason=reason_of(error))
            final = error.code() in _NO or (outcome == UNKNOWN and gives_up) or pace.over
        else:
            _note(recorder, intent, start, ACKNOWLEDGED, answer)
            return answer
        if final:
            return None
        await asyncio.sleep(wait * rng.uniform(0.5, 1.0))
        wait = min(1.0, wait * 2)


def outcome_of(code: grpc.StatusCode) -> str:
    """What a status says of the write: nothing was written, or nobody knows."""
    return REFUSED if code in _NO or code in _NOT_NOW else UNKNOWN


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The code, and the reason of the error's ErrorInfo where there is one."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return f"{error.code().name} {reason_in(status_pb2.Status.FromString(value))}".rstrip()
    return str(error.code().name)


def reason_in(status: status_pb2.Status) -> str:
    """The reason of a status's ErrorInfo; empty where there is none."""
    info = error_details_pb2.ErrorInfo()
    return next((str(info.reason) for detail in status.details if detail.Unpack(info)), "")


def _note(
    recorder: Recorder, intent: Intent, start: float, outcome: str, answer: Answer | None = None, reason: str = ""
) -> None:
    answered = answer or Answer()
    recorder.add(
        Call(
            intent.kind, intent.client, answered.target or intent.target, intent.request_id, intent.digest, start,
            recorder.now(), outcome, answered.version, reason, {**intent.facts, **answered.facts},
        )
    )  # fmt: skip
