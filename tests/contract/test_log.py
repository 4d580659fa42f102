"""What every log must do for the ledger: fenced appends, reads, ageing, lives. On nats-server and on the simulated one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import nats as nats_client
import pytest

from services.ledger.errors import FenceLost, LogUnavailable, TooLarge
from services.ledger.jetstream import JetStreamLog
from services.ledger.lives import JetStreamLives
from services.ledger.log import Ends, LogSettings
from services.ledger.publisher import Publisher
from tests.integration.ledger_world import fresh_service
from tests.simulation.alone import simulated_client
from tests.tally import eventually, tally

EPOCH = 1_700_000_000_000_000
ONE, OTHER = tally("one"), tally("other, with a name to escape")


@dataclass
class Given:
    """A connection, and what stands on it."""

    nats: Any
    publisher: Publisher
    service: str

    def lives(self, max_age: float = 600.0) -> JetStreamLives:
        """The lives of the log."""
        return JetStreamLives(self.nats, LogSettings(self.service, partitions=2, max_age=max_age))

    async def log(self, epoch: int = EPOCH, max_age: float = 600.0) -> JetStreamLog:
        """A life of the log, begun."""
        await self.lives(max_age).begin(epoch)
        return JetStreamLog(self.nats, self.publisher, self.service, epoch, 2)


@pytest.fixture(params=["nats-server", "simulated"])
async def given(request: pytest.FixtureRequest) -> AsyncIterator[Given]:
    """A log's server without a life of it."""
    if request.param == "simulated":
        nats: Any = simulated_client()
    else:
        server = await asyncio.to_thread(request.getfixturevalue, "nats_server")
        nats = await nats_client.connect(server.url)
    publisher = Publisher(nats)
    await publisher.start()
    yield Given(nats, publisher, fresh_service())
    await publisher.close()
    await nats.close()


async def test_sequences_begin_at_the_epoch_and_rise_over_all_subjects(given: Given) -> None:
    log = await given.log()
    one, other = log.subject(ONE), log.subject(OTHER)
    assert await log.ends() == Ends(EPOCH, EPOCH - 1)
    assert await log.append(one, b"1", 0) == EPOCH
    assert await log.append(other, b"2", 0) == EPOCH + 1
    assert await log.append(one, b"3", EPOCH) == EPOCH + 2
    assert await log.ends() == Ends(EPOCH, EPOCH + 2)


async def test_the_fence_is_the_subject_s_last_sequence(given: Given) -> None:
    log = await given.log()
    one, other = log.subject(ONE), log.subject(OTHER)
    first = await log.append(one, b"1", 0)
    await log.append(other, b"2", 0)
    for wrong in (0, first - 1, first + 1, first + 7):
        with pytest.raises(FenceLost):
            await log.append(one, b"no", wrong)
    assert await log.append(one, b"3", first) == first + 2


async def test_of_writers_at_the_same_fence_one_wins(given: Given) -> None:
    log = await given.log()
    answers = await asyncio.gather(
        *(log.append(log.subject(ONE), b"%d" % n, 0) for n in range(9)), return_exceptions=True
    )
    assert [answer for answer in answers if not isinstance(answer, FenceLost)] == [EPOCH]


async def test_reads_of_one_subject(given: Given) -> None:
    log = await given.log()
    one, other = log.subject(ONE), log.subject(OTHER)
    fence = await log.append(one, b"first", 0)
    for n in range(4):
        await log.append(other, b"x", 0 if not n else fence + 2 * n - 1)
        await log.append(one, b"%d" % n, fence if not n else fence + 2 * n)
    for sure in (False, True):
        last = await log.last(one, sure=sure)
        assert last is not None
        assert (last.seq, last.data, last.subject) == (EPOCH + 8, b"3", one)
        assert await log.last(log.subject(tally("nobody")), sure=sure) is None
        assert [m.data for m in await log.tail(one, 0, EPOCH + 8, sure=sure)] == [b"first", b"0", b"1", b"2", b"3"]
        assert [m.seq for m in await log.tail(one, EPOCH + 2, EPOCH + 6, sure=sure)] == [EPOCH + 4, EPOCH + 6]
        assert list(await log.tail(one, EPOCH + 8, EPOCH + 8, sure=sure)) == []
    page = await log.page(EPOCH + 1, EPOCH + 5)
    assert [(m.seq, m.subject) for m in page] == [(EPOCH + n, one if n % 2 == 0 else other) for n in range(1, 6)]


async def test_what_aged_out_leaves_a_subject_as_if_it_never_was(given: Given) -> None:
    log = await given.log(max_age=0.4)
    one = log.subject(ONE)
    first = await log.append(one, b"1", 0)

    async def gone() -> bool:
        return await log.last(one, sure=True) is None

    await eventually(gone)
    assert await log.ends() == Ends(first + 1, first)
    with pytest.raises(FenceLost):
        await log.append(one, b"2", first)
    assert await log.append(one, b"2", 0) == first + 1
    assert [m.data for m in await log.tail(one, 0, first + 1, sure=True)] == [b"2"]


async def test_while_a_later_message_is_there_the_fence_stays(given: Given) -> None:
    log = await given.log(max_age=0.6)
    one = log.subject(ONE)
    first = await log.append(one, b"1", 0)
    await asyncio.sleep(0.3)
    second = await log.append(one, b"2", first)

    async def first_gone() -> bool:
        return (await log.ends()).first > first

    await eventually(first_gone)
    with pytest.raises(FenceLost):
        await log.append(one, b"3", 0)
    if (await log.ends()).first == second:  # else it aged out meanwhile too
        last = await log.last(one, sure=True)
        assert last is None or last.seq == second


async def test_a_life_that_ended_takes_and_answers_nothing(given: Given) -> None:
    log = await given.log()
    one = log.subject(ONE)
    await log.append(one, b"1", 0)
    await given.lives().end(EPOCH)
    await given.lives().end(EPOCH)
    for attempt in (log.append(one, b"2", EPOCH), log.last(one), log.last(one, sure=True), log.ends()):
        with pytest.raises(LogUnavailable):
            await attempt
    assert await given.lives().ends(EPOCH) is None


async def test_a_writer_of_an_earlier_life_reaches_nobody(given: Given) -> None:
    earlier, later = await given.log(), await given.log(EPOCH + 1000)
    await given.lives().end(EPOCH)
    with pytest.raises(LogUnavailable):
        await earlier.append(earlier.subject(ONE), b"late", 0)
    assert await later.last(later.subject(ONE), sure=True) is None
    assert await later.append(later.subject(ONE), b"1", 0) == EPOCH + 1000


async def test_lives_are_found_by_their_first_sequence(given: Given) -> None:
    lives = given.lives()
    assert await lives.newest() is None
    assert await lives.ends(EPOCH) is None
    await lives.begin(EPOCH)
    await lives.begin(EPOCH)
    assert await lives.newest() == EPOCH
    await lives.begin(EPOCH + 5)
    assert await lives.newest() == EPOCH + 5
    assert await lives.ends(EPOCH) == Ends(EPOCH, EPOCH - 1)
    await lives.end(EPOCH + 5)
    assert await lives.newest() == EPOCH


async def test_of_those_who_claim_the_first_life_one_decides(given: Given) -> None:
    answers = await asyncio.gather(*(given.lives().claim(EPOCH + n) for n in range(5)))
    assert len(set(answers)) == 1
    assert answers[0] in range(EPOCH, EPOCH + 5)


async def test_a_message_too_large_is_refused_at_once(given: Given) -> None:
    log = await given.log()
    with pytest.raises(TooLarge):
        await log.append(log.subject(ONE), b"x" * (1 << 20), 0)
    assert await log.append(log.subject(ONE), b"x" * 900_000, 0) == EPOCH
