"""One screen about a service's log and store, and what to do where something is wrong."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from services.ledger.archive import Archive
from services.ledger.errors import LogUnavailable
from services.ledger.log import stream_name
from services.ledger.recovery import Finding, LogState, look
from services.ledger.repair import role_of
from services.operate.place import Place

ADVICE = {
    LogState.GONE: "the log is lost: run recover-log",
    LogState.SHORTER: "the log lost its end: run recover-log",
    LogState.UNMADE: "a life of the log is registered and not made: it starts just now, or a recovery was not finished: run recover-log",
    LogState.UNREGISTERED: "the store is lost, or is another one's: run restore",
    LogState.NEW: "nothing ever ran here",
}


@dataclass(frozen=True)
class Lag:
    """How far one consumer is: entries that it has not taken, and those of them that are with it just now."""

    source: str
    durable: str
    waiting: int
    under_way: int


@dataclass(frozen=True)
class Status:
    """What `lines` shows."""

    service: str
    finding: Finding
    settled: int | None
    consumers: tuple[Lag, ...]
    dead_letters: int

    @property
    def healthy(self) -> bool:
        """Whether an operator need not act."""
        return self.finding.state is LogState.WHOLE and not self.dead_letters

    def lines(self) -> Iterator[str]:
        """The screen."""
        found = self.finding
        yield f"{self.service}: the log is {found.state.value}"
        yield f"  store      {found.identity or 'no identity'}; newest entry {found.newest_stored or 'none'}"
        if found.registered is not None:
            yield f"  life       {found.registered}, registered {_time(found.registered)}"
        if found.ends is not None:
            held = f"{found.ends.first} to {found.ends.last}" if found.ends.last >= found.ends.first else "nothing"
            yield f"  log        holds {held}"
        elif found.newest_life is not None:
            yield f"  log        holds life {found.newest_life} only"
        if self.settled is not None and found.ends is not None:
            yield f"  settled    all but the newest {max(0, found.ends.last - self.settled)} entries are known to be stored"
        for lag in self.consumers:
            yield f"  consumer   {lag.durable:<24} {lag.waiting} waiting, {lag.under_way} under way"
        if self.dead_letters:
            yield f"  ! {self.dead_letters} dead letters: tradewind dead-letters list"
        if found.state in ADVICE:
            yield f"  ! {ADVICE[found.state]}; see docs/operations.md"


async def status(place: Place) -> Status:
    """Asks log and store.

    Raises:
        LogUnavailable, StoreUnavailable: one of them does not answer.
    """
    assert place.nats is not None
    js = place.nats.jetstream()
    found = await look(place.lives, place.archive, place.service)
    consumers = await _consumers(js, place.service, found.registered) if found.ends is not None else ()
    settled = await _settled(place.archive, place.service, found)
    return Status(place.service, found, settled, consumers, await _dead_letters(js, place.service))


async def _settled(archive: Archive, service: str, found: Finding) -> int | None:
    kept = await archive.position(role_of(found.identity or ""), service, 0)
    return kept.seq if kept is not None and kept.epoch == found.registered else None


async def _consumers(js: JetStreamContext, service: str, epoch: int | None) -> tuple[Lag, ...]:
    try:
        # Readers that keep their own place have no durable name, and are not shown.
        found = [info for info in await js.consumers_info(stream_name(service, epoch or 0)) if info.config.durable_name]
    except (TimeoutError, NatsError) as error:
        raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error
    return tuple(
        sorted(
            (Lag(service, info.name, info.num_pending or 0, info.num_ack_pending or 0) for info in found),
            key=lambda lag: lag.durable,
        )
    )


async def _dead_letters(js: JetStreamContext, service: str) -> int:
    try:
        return (await js.stream_info(f"dead-{service}")).state.messages
    except NotFoundError:
        return 0
    except (TimeoutError, NatsError) as error:
        raise LogUnavailable(f"the log did not answer: {type(error).__name__}") from error


def _time(epoch_us: int) -> str:
    return datetime.datetime.fromtimestamp(epoch_us / 1e6, datetime.UTC).isoformat(sep=" ", timespec="seconds")
