"""The Chat process itself pushes, and what one that was killed had begun the next one finishes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.push_world import register, simulator
from tests.integration.test_chat_processes import ChatProcess
from tests.servers import NatsServer


async def test_killed_in_the_middle(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with simulator(tmp_path) as pushed, asyncio.timeout(120):
        process = ChatProcess(
            own_nats_server.url,
            tmp_path,
            service_key_file=str(tmp_path / "service.pem"),
            push_gateway=pushed.address,
            push_after="0.3",
            push_every="0.3",
        )
        try:
            await process.start()
            ann, bob = process.member("ann"), process.member("bob")
            name = (await ann.create_group("bob")).conversation_id
            await register(bob, "slow:300:bob")
            await ann.send(name, "Hello")
            await asyncio.sleep(
                0.5
            )  # it is told, or about to be: whatever the moment, the next process knows what is left
            await process.kill()
            await process.start()
            (told, *more) = await pushed.until("slow:300:bob", 1, 60)
            assert (told.body, told.data["count"], more) == ("Hello", "1", [])
            # What is said now is told by the next round, and of both.
            await process.member("ann").send(name, "Hello?")
            told = (await pushed.until("slow:300:bob", 2, 60))[-1]
            assert (told.body, told.data["count"]) == ("Hello?", "2")
        finally:
            await process.close()
