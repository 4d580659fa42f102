"""What makes a round due, beside processes whose clocks are not the same."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
from opentelemetry.metrics import NoOpMeter

from services.chat.contents import Contents
from services.chat.push.domain import End
from services.chat.push.gateway import Gateway
from services.chat.push.kinds import ROUNDS
from services.chat.push.presence import NobodyIsHere
from services.chat.push.round import Round
from services.chat.push.worker import PushWorker
from services.ledger.ids import AggregateId
from tests.integration.chat_world import TENANT, ChatWorld, chat_world
from tests.servers import NatsServer
from tests.tally import eventually, fresh_request


async def good(_tenant: str, _user_id: str) -> None:
    """Nobody is banned here."""


async def due(world: ChatWorld, rounds: AggregateId) -> int:
    due_us: int = (await world.ledger.read(rounds)).state.due_us
    return due_us


async def test_what_is_said_after_a_round_of_a_process_whose_clock_is_ahead_is_told(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        chat_world(own_nats_server.url, tmp_path, push_after=600.0) as world,
        grpc.aio.insecure_channel("127.0.0.1:1") as nowhere,
    ):
        gateway = Gateway(nowhere, NoOpMeter("push"))
        round_ = Round(world.ledger, Contents(), gateway, NobodyIsHere(), good, world.settings)
        worker = PushWorker(world.ledger, round_, world.settings)
        worker.start()
        ann = world.user("ann")
        name = (await ann.create_group("bob")).conversation_id
        rounds = AggregateId(TENANT, ROUNDS.name, name)

        async def is_due() -> bool:
            return await due(world, rounds) > 0

        said = await ann.send(name, "one")
        await eventually(is_due)
        ended_us = await due(world, rounds) + 1  # ten minutes from now, by this clock
        await world.ledger.execute(rounds, End(ended_us, said, 0, False), fresh_request())
        assert not await is_due()
        await ann.send(name, "two")
        await eventually(is_due)
        assert await due(world, rounds) > time.time_ns() // 1000
