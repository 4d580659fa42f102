"""Consumers are handed what is stored, at least once, in order per aggregate; what cannot be taken is kept, listed and replayed."""

import asyncio
from pathlib import Path

import pytest
from tradewind.ledger.v1 import entry_pb2

from services.ledger.decider import Delivered
from services.ledger.errors import LedgerError
from tests.integration.ledger_world import Seen, add, append_by_hand, fresh_service, reckon, server_process
from tests.servers import NatsServer
from tests.tally import Add, decode, eventually, fresh_request, open_ledger, tally

pytestmark = pytest.mark.usefixtures("each_store")


class Broken(Exception):
    """A defect in a handler."""

    reason = "TEMPLATE_FAILED"


class GatewayDown(Exception):
    """What a handler needs is away for a while."""

    reason = "DEPENDENCY_UNAVAILABLE"
    retry_after = 0.1


async def test_every_event_comes_once_and_in_order(nats_server: NatsServer, tmp_path: Path) -> None:
    seen, tills = Seen(), [tally(f"till {n}") for n in range(10)]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.consume("reader", seen)
        await asyncio.gather(*(add(ledger, till) for _ in range(30) for till in tills))
        for till in tills:
            assert await seen.until(till, 30) == list(range(1, 31))


async def test_two_servers_share_a_consumer_in_order(nats_server: NatsServer, tmp_path: Path) -> None:
    """Whoever is handed an event, the one before it was taken already."""
    service, till, handed = fresh_service(), tally("till"), asyncio.Queue[int]()
    under_way: set[int] = set()
    overlaps = 0

    async def handle(delivered: Delivered) -> None:
        nonlocal overlaps
        overlaps += bool(under_way)
        under_way.add(delivered.seq)
        await asyncio.sleep(0.002)
        under_way.remove(delivered.seq)
        for event in delivered.events:
            handed.put_nowait(event.version)

    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as one,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as other,
    ):
        one.consume("reader", handle)
        other.consume("reader", handle)
        for _ in range(100):
            await add(one, till)
        got = [await asyncio.wait_for(handed.get(), 60) for _ in range(100)]
        assert got == list(range(1, 101))
        assert overlaps == 0


async def test_a_poison_event_is_buried_and_the_rest_flows(nats_server: NatsServer, tmp_path: Path) -> None:
    seen, fixed = Seen(), False
    till, other = tally("till"), tally("other")
    tries: list[int] = []

    async def handle(delivered: Delivered) -> None:
        if decode(delivered.events[0].payload) == 13 and not fixed:
            tries.append(delivered.seq)
            raise Broken
        await seen(delivered)

    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.consume("reader", handle)
        for amount in (1, 13, 2):
            await add(ledger, till, amount)
        await add(ledger, other)
        assert await seen.until(other, 1) == [1]
        assert await seen.until(till, 3) == [1, 3]
        assert len(tries) == 5
        assert len(set(tries)) == 1

        async def letters() -> list[tuple[int, entry_pb2.DeadLetter]]:
            return list(await ledger.dead_letters(0, 10))

        [(letter_id, letter)] = await eventually(letters)
        assert (letter.role, letter.id, letter.tries, letter.reason) == ("reader", "till", 5, "TEMPLATE_FAILED")
        assert await ledger.replay(letter_id) == "TEMPLATE_FAILED"
        assert await ledger.replay(letter_id + 1) is None
        fixed = True
        assert await ledger.replay(letter_id) == ""
        assert seen.versions(till) == [1, 3, 2]
        assert await letters() == []


async def test_an_outage_is_waited_out_and_buries_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    seen, till, tried = Seen(), tally("till"), 0
    back = asyncio.Event()

    async def handle(delivered: Delivered) -> None:
        nonlocal tried
        tried += 1
        if tried > 7:
            back.set()
        if not back.is_set():
            raise GatewayDown
        await seen(delivered)

    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.consume("reader", handle)
        await add(ledger, till)
        await add(ledger, till)
        assert await seen.until(till, 2, timeout=60) == [1, 2]
        assert list(await ledger.dead_letters(0, 10)) == []


async def test_a_consumer_of_another_service_is_handed_what_is_stored(nats_server: NatsServer, tmp_path: Path) -> None:
    """Order writes, Mail reads: another store, another connection, the same events."""
    order, mail, seen, till = fresh_service(), fresh_service(), Seen(), tally("till")
    async with (
        open_ledger(nats_server.url, tmp_path / "order.db", service=order) as writer,
        open_ledger(nats_server.url, tmp_path / "mail.db", service=mail) as reader,
    ):
        reader.consume("receipts", seen, source=order)
        for _ in range(5):
            await add(writer, till)
        assert await seen.until(till, 5) == [1, 2, 3, 4, 5]
        async with server_process(nats_server.url, tmp_path / "order.db", order, at="appended") as mortal:
            mortal.ask("till", 7, "seven")
            assert await mortal.answer() is None
        assert await seen.until(till, 6) == [1, 2, 3, 4, 5, 6]
        assert await reckon(writer, till) == 12


async def test_nothing_is_handed_on_before_it_is_stored(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till, stored = fresh_service(), tally("till"), asyncio.Event()
    async with (
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as writer,
        open_ledger(nats_server.url, tmp_path / "a.db", service=service) as reader,
    ):
        heads: list[bool] = []

        async def handle(delivered: Delivered) -> None:
            head = await reader.engine.archive.head(delivered.aggregate.key)
            heads.append(head is not None and head.seq >= delivered.seq)
            stored.set()

        reader.consume("reader", handle)
        hold, appended = asyncio.Event(), asyncio.Event()

        async def pause(point: str) -> None:
            if point == "appended":
                appended.set()
                await hold.wait()

        writer.engine.pause = pause
        slow = asyncio.create_task(add(writer, till))
        await appended.wait()
        await asyncio.wait_for(stored.wait(), 60)  # the reader's own load stored it
        assert heads == [True]
        hold.set()
        assert await slow == 1
        assert await reckon(reader, till) == 1


async def test_a_void_entry_is_handed_to_nobody(nats_server: NatsServer, tmp_path: Path) -> None:
    seen, till = Seen(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        ledger.consume("reader", seen)
        await add(ledger, till)
        void = entry_pb2.Entry(first_version=1, events=[b"void"], commands=[entry_pb2.Command(events=1)])
        await append_by_hand(ledger, till, void)
        await add(ledger, till)
        assert await seen.until(till, 2) == [1, 2]
        assert await reckon(ledger, till) == 2


async def test_an_event_nobody_can_ask_about_waits(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """While the log cannot be asked whether an entry is void, it is neither handed on nor forgotten."""
    seen, till = Seen(), tally("till")
    service, url = fresh_service(), own_nats_server.url
    async with open_ledger(url, tmp_path / "a.db", service=service) as ledger:
        await add(ledger, till)
        seq = ledger._residents[till].standing.last_seq  # type: ignore[union-attr]
        entry = entry_pb2.Entry(
            first_version=2, base_version=1, base_seq=seq, events=[b"i\x08\x07"],
            commands=[entry_pb2.Command(request_id=bytes(6) + b"\x70" + bytes(9), events=1)],
        )  # fmt: skip
        await append_by_hand(ledger, till, entry)
        own_nats_server.kill()
        try:
            settled: object = await ledger._desk.settle(till, 2, seq + 1)
        except LedgerError as error:
            settled = error.reason
        assert settled == "LOG_UNAVAILABLE"
        own_nats_server.start()
        ledger.consume("reader", seen)
        assert await seen.until(till, 2) == [1, 2]


async def test_a_new_role_reads_from_the_beginning(nats_server: NatsServer, tmp_path: Path) -> None:
    late, till = Seen(), tally("till")
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=fresh_service()) as ledger:
        for _ in range(3):
            await add(ledger, till)
        ledger.consume("latecomer", late)
        assert await late.until(till, 3) == [1, 2, 3]


async def test_what_was_taken_does_not_come_again_after_a_restart(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till = fresh_service(), tally("till")
    first, second = Seen(), Seen()

    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        ledger.consume("reader", first)
        for _ in range(3):
            await add(ledger, till)
        await first.until(till, 3)
        last = ledger._residents[till].standing.last_seq  # type: ignore[union-attr]

        async def acknowledged() -> bool:
            return max([await c._feed.floor() for c in ledger._sources.consumers]) >= last

        await eventually(acknowledged)
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        ledger.consume("reader", second)
        await ledger.execute(till, Add(1), fresh_request())
        assert await second.until(till, 4) == [4]
