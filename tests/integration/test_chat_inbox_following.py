"""After a reconnect everything that is followed is looked at again, whatever becomes of some of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from services.chat.commands import KIND
from services.chat.inbox.following import Follower
from services.chat.whispers import Whispers
from services.ledger.errors import HistoryGap, StoreUnavailable
from services.ledger.ids import AggregateId
from tests.integration.chat_world import TENANT, chat_world
from tests.servers import NatsServer
from tests.tally import eventually

HERE = [AggregateId(TENANT, KIND, f"c-{number}") for number in range(100)]
BROKEN, LATE = HERE[0], HERE[1]


class Told:
    """A stream that notes what it is told."""

    def __init__(self) -> None:
        self.grown: set[AggregateId] = set()

    def grew(self, conversation: AggregateId) -> None:
        self.grown.add(conversation)

    def turned(self, conversation_id: str) -> None:
        """Nothing turns here."""

    def missed(self) -> None:
        """It has no list to look at."""


async def test_what_cannot_be_looked_at_keeps_nothing_else_waiting(own_nats_server: NatsServer, tmp_path: Path) -> None:
    looks: Counter[AggregateId] = Counter()

    async def look(conversation: AggregateId) -> int:
        looks[conversation] += 1
        if conversation == BROKEN:
            raise HistoryGap("an entry is missing")
        if conversation == LATE and looks[LATE] == 1:
            raise StoreUnavailable("not now")
        return 7

    async with chat_world(own_nats_server.url, tmp_path) as world:
        follower, told = Follower(world.ledger, Whispers(world.client), look), Told()
        for conversation in HERE:
            follower.follow(conversation, told)
        world.ledger.engine.hearers.reconnected()
        world.ledger.engine.hearers.reconnected()

        async def all_told() -> bool:
            return told.grown == set(HERE) - {BROKEN}

        await eventually(all_told)
        assert looks == Counter(dict.fromkeys(HERE, 1)) + Counter([LATE])
