"""A conversation that cannot be read is told as such, and takes nobody's list along."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tradewind.chat.v1 import inbox_service_pb2 as pb

from services.chat.commands import KIND
from services.ledger.ids import AggregateId
from services.ledger.log import stream_name
from services.runtime.tokens import Signer
from tests.integration.chat_world import TENANT, chat_world
from tests.integration.inbox_world import Reader, say
from tests.servers import NatsServer


def take_out(file: Path, key: str) -> list[Any]:
    """Leave of an aggregate in the store nothing but where it ended."""
    with sqlite3.connect(file) as store:
        held = store.execute("SELECT * FROM entries WHERE key = ?", (key,)).fetchall()
        store.execute("DELETE FROM entries WHERE key = ?", (key,))
    store.close()
    return held


def put_back(file: Path, held: list[Any]) -> None:
    """Restore it."""
    with sqlite3.connect(file) as store:
        store.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", held)
    store.close()


async def test_one_conversation_that_cannot_be_read_takes_no_list_along(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "signer": Signer(Ed25519PrivateKey.generate()), "inbox_interval": 0.02, "inbox_survey": 0.1
    }  # fmt: skip
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        ada = world.user("ada")
        names = [(await ada.create_group("bob", title=f"group {number}")).conversation_id for number in range(3)]
        for name in names:
            await say(ada, name)
        lost = AggregateId(TENANT, KIND, names[1])
        log = world.ledger.engine.log
        await world.client.jetstream().purge_stream(stream_name("chat", log.epoch), subject=log.subject(lost))
    held = take_out(tmp_path / "chat.db", lost.key)
    assert held
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        ada, bob = world.user("ada"), Reader(world.user("bob"))
        shown = bob.watch()
        await shown.until(lambda shown: bool(shown.failures))
        assert [failure.conversation_id for failure in shown.failures] == [names[1]]
        assert shown.failures[0].error.code == grpc.StatusCode.DATA_LOSS.value[0]
        assert shown.order == [names[2], names[0]]
        await say(ada, names[0], "still here")
        await shown.until(lambda shown: shown.unread(names[0]) == (2, 0))
        page = await bob.call("ListInbox", pb.ListInboxRequest())
        assert [entry.conversation_id for entry in page.entries] == [names[0], names[2]]
        assert [failure.conversation_id for failure in page.failures] == [names[1]]
        assert await bob.totals() == shown.totals
        assert shown.totals.unread_count == 3
        put_back(tmp_path / "chat.db", held)
        await shown.until(lambda shown: shown.unread(names[1]) == (1, 0) and shown.totals.unread_count == 4)
        assert len(shown.failures) == 1  # told once, however often it was looked at
        assert not (await bob.call("ListInbox", pb.ListInboxRequest())).failures
