"""A draft: what a batch of commands would write, each decided on what those before it would leave."""

import asyncio
import time

import pytest

from services.ledger import entries
from services.ledger.decider import Receipt, Request
from services.ledger.draft import Draft, Pending
from services.ledger.engine import Limits
from services.ledger.entries import answered, find, last_version, recorded
from services.ledger.errors import DeadlineExceeded, InvalidRequestId, RequestIdReused, TooLarge
from services.ledger.ids import milliseconds_of, request_bytes
from services.ledger.replay import Standing
from services.ledger.requests import Answered
from tests.tally import TALLY, Add, Refused, Tally, WakeAt, request

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def pending(command: object, what: Request, *, within: float = 10.0) -> Pending:
    """A command that waits."""
    return Pending(command, what, time.monotonic() + within, time.time_ns() // 1000)


def draft(*batch: Pending, known: dict[bytes, Answered] | None = None, limits: Limits | None = None) -> Draft:
    """A batch decided on a tally of 5 at version 3."""
    made = Draft(TALLY, Standing(Tally(5, 3), 3, last_seq=77), limits or Limits())
    made.decide(batch, known or {}, time.monotonic())
    return made


async def test_commands_are_decided_on_what_those_before_them_left() -> None:
    made = draft(pending(Add(-4), request(1)), pending(Add(-2), request(2)), pending(Add(3), request(3)))
    one, two, three = [outcome for _, outcome in made.outcomes]
    assert isinstance(two, Refused)
    assert [(r.first_version, r.last_version) for r in (one, three) if isinstance(r, Receipt)] == [(4, 4), (5, 5)]
    assert (made.state.total, made.version, len(made.events)) == (4, 5, 2)
    entry = entries.parse(made.entry("a server"))
    assert (entry.first_version, entry.base_version, entry.base_seq) == (4, 3, 77)
    assert [command.events for command in entry.commands] == [1, 1]
    assert last_version(entry) == 5


async def test_the_same_id_twice_in_one_batch_is_applied_once() -> None:
    made = draft(pending(Add(1), request("a")), pending(Add(1), request("a")), pending(Add(2), request("a", "other")))
    one, two, three = [outcome for _, outcome in made.outcomes]
    assert isinstance(one, Receipt)
    assert isinstance(two, Receipt)
    assert (two.first_version, two.payloads, one.replayed, two.replayed) == (4, one.payloads, False, True)
    assert isinstance(three, RequestIdReused)
    assert len(made.events) == 1


async def test_what_is_known_is_answered_and_not_decided() -> None:
    what = request("a")
    before = Answered(2, 1, what.fingerprint)
    ident = request_bytes(what.id)
    made = draft(pending(Add(1), what), pending(Add(2), request("a", "other")), known={ident: before})
    assert [type(outcome) for _, outcome in made.outcomes] == [Answered, RequestIdReused]
    assert made.events == []


async def test_who_went_away_or_came_too_late_is_not_decided() -> None:
    gone, late = pending(Add(1), request(1)), pending(Add(2), request(2), within=-1.0)
    gone.future.cancel()
    made = draft(gone, late, pending(Add(4), request(3)))
    assert [type(outcome) for _, outcome in made.outcomes] == [DeadlineExceeded, Receipt]
    assert made.state.total == 9


async def test_what_does_not_fit_is_left_over_in_order() -> None:
    big = [pending(WakeAt(10**17 + n), request(n)) for n in range(10)]
    made = draft(*big, limits=Limits(entry_bytes=100))
    taken = len(made.outcomes)
    assert 1 <= taken < 10
    assert made.left_over == big[taken:]
    assert sum(map(len, made.events)) <= 100
    alone = draft(big[0], limits=Limits(entry_bytes=1))
    assert len(alone.outcomes) == 1
    assert alone.left_over == []


async def test_what_fits_nowhere_is_refused_alone() -> None:
    made = draft(
        pending(Add(1), request(1)), pending(WakeAt(10**17), request(2)), pending(Add(2), request(3)),
        limits=Limits(command_bytes=15),
    )  # fmt: skip
    assert [type(outcome) for _, outcome in made.outcomes] == [Receipt, TooLarge, Receipt]
    assert made.state.total == 8


async def test_a_command_without_events_writes_nothing() -> None:
    made = draft(pending(Add(0), request(1)))
    [(_, receipt)] = made.outcomes
    assert receipt == Receipt(4, 3, ())
    assert made.events == []


async def test_a_defect_in_the_domain_is_one_command_s_answer() -> None:
    made = draft(pending("no command", request(1)), pending(Add(1), request(2)))
    assert [type(outcome) for _, outcome in made.outcomes] == [AttributeError, Receipt]


async def test_an_entry_tells_who_wrote_what() -> None:
    requests = [request(n, n) for n in range(3)]
    sampled = Request(requests[1].id, requests[1].fingerprint, PARENT)
    made = draft(*(pending(Add(n + 1), what) for n, what in enumerate((requests[0], sampled, requests[2]))))
    entry = entries.parse(made.entry("a server"))
    ids = [request_bytes(what.id) for what in requests]
    assert [(event.version, event.request_id) for event in recorded(entry)] == list(zip((4, 5, 6), ids, strict=True))
    assert [event.traceparent for event in recorded(entry)] == ["", PARENT, ""]
    assert made.traceparent == PARENT
    assert dict(answered(entry)) == {
        ident: Answered(4 + n, 1, requests[n].fingerprint) for n, ident in enumerate(ids)
    }  # fmt: skip
    assert find(entry, ids[2]) == Answered(6, 1, requests[2].fingerprint)
    assert find(entry, bytes(16)) is None
    assert made.newest_request_ms == milliseconds_of(ids[0])


async def test_only_uuids_of_about_now_wait() -> None:
    tomorrow_and_more = request("later", at_us=int((time.time() + 2 * 86400) * 1e6))
    for what in (Request("nothing", b""), tomorrow_and_more):
        with pytest.raises(InvalidRequestId):
            pending(Add(1), what)
    assert isinstance(pending(Add(1), request(1)).future, asyncio.Future)
