"""After a pause: what was not heard meanwhile is asked for, many entries with one question, and whose turn it is becomes known again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from tradewind.ledger.v1 import entry_pb2

from services.ledger.stored import StoredEntries
from services.ledger.turns import Turns
from tests.integration.ledger_world import Seen, add, append_by_hand, fresh_service
from tests.servers import NatsServer
from tests.tally import open_ledger, tally

ENTRIES = 300


async def test_what_was_missed_is_asked_for_with_few_questions(nats_server: NatsServer, tmp_path: Path) -> None:
    """A reader that was away heard no announcement of what was written meanwhile; a void entry among it is handed to nobody."""
    order, mail, seen, hot = fresh_service(), fresh_service(), Seen(), tally("hot")
    tills = [tally(f"till {number}") for number in range(ENTRIES)]
    questions: list[int] = []

    async def listen(message: Msg) -> None:
        questions.append(len(entry_pb2.SettleManyRequest.FromString(message.data).entries))

    ear = await nats.connect(nats_server.url)
    try:
        await ear.subscribe(f"desk.{order}.settle-many", cb=listen)
        await ear.flush()
        async with open_ledger(nats_server.url, tmp_path / "order.db", service=order) as writer:
            for _ in range(ENTRIES):
                await add(writer, hot)
            void = entry_pb2.Entry(first_version=1, events=[b"void"], commands=[entry_pb2.Command(events=1)])
            await append_by_hand(writer, hot, void)
            await asyncio.gather(*(add(writer, till) for till in (hot, *tills)))
            await asyncio.sleep(1.1)  # from then on no announcement is waited for
            async with open_ledger(nats_server.url, tmp_path / "mail.db", service=mail) as reader:
                reader.consume("receipts", seen, source=order)
                assert await seen.until(hot, ENTRIES + 1) == list(range(1, ENTRIES + 2))
                for till in tills:
                    await seen.until(till, 1)
    finally:
        await ear.close()
    # Some are asked for again where an answer takes its time.
    assert 2 * ENTRIES < sum(questions) < 4 * ENTRIES
    assert len(questions) <= ENTRIES / 5


async def test_two_who_wait_for_one_entry_each_hear_of_it() -> None:
    """The one that has waited long enough takes nothing away from the other."""
    stored = StoredEntries("me")
    patient = asyncio.create_task(stored.wait(7, 30.0))
    assert not await stored.wait(7, 0.01)
    stored.add(7)
    assert await asyncio.wait_for(patient, 60)


async def test_a_process_that_starts_late_learns_what_others_took(nats_server: NatsServer) -> None:
    """The durable's floor stands still below an entry that waits for an outage; what was taken above it is known to who took it."""
    name = fresh_service()
    client = await nats.connect(nats_server.url)
    js = client.jetstream()
    try:
        await js.add_stream(name=name, subjects=[f"{name}.>"])
        await js.add_consumer(name, ConsumerConfig(durable_name="role", ack_policy=AckPolicy.EXPLICIT))
        for number in range(5):
            await js.publish(f"{name}.{number}", b"")
        early, late = (Turns(client, name, "role", 0) for _ in range(2))
        await early.listen()
        for seq in (2, 3, 4):
            early.took(seq)
        await client.flush()
        await late.listen()
        waiting = {seq: asyncio.create_task(late.wait(seq)) for seq in (1, 2, 3)}
        # Nobody took 1, and the others must not wait for it.
        await asyncio.gather(waiting[2], waiting[3])
        assert not waiting[1].done()
        assert [late.known(seq) for seq in (1, 2, 3)] == [False, True, True]
        early.took(1)
        await waiting[1]
        assert late.known(1)
        await js.purge_stream(name)
        await js.publish(f"{name}.5", b"")
        await late.wait(5)
        assert late.known(5), "what the log no longer holds is waited for by nobody"
        await early.close()
        await late.close()
    finally:
        await js.delete_stream(name)
        await client.close()
