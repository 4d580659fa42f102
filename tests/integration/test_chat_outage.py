"""The log is away: sends are refused one by one and told when to come again, reads go on, and streams live through it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.integration.chat_world import chat_world, reason_in
from tests.servers import NatsServer


async def test_streams_live_through_an_outage_of_the_log(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ada, bob = world.user("ada"), world.user("bob")
        name = (await ada.create_group("bob")).conversation_id
        voice, ear = ada.converse(), bob.converse()
        await ear.write(subscribe={name: 0})
        first = ada.message(name, "before")
        await voice.write(first)
        await voice.until(lambda t: first.request_id in t.results)
        await ear.until(lambda t: len(t.versions(name)) >= 2)  # subscribed before the log goes
        await asyncio.to_thread(own_nats_server.kill)
        lost = ada.message(name, "meanwhile")
        await voice.write(lost)
        await voice.until(lambda t: lost.request_id in t.results)
        refused = voice.results.pop(lost.request_id)
        assert refused.error.code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert reason_in(refused.error) == "LOG_UNAVAILABLE"
        page = pb.ListMessagesRequest(conversation_id=name)
        (told,) = (await bob.call("ListMessages", page, timeout=30)).messages
        assert told.content.text == "before"
        await asyncio.to_thread(own_nats_server.start)
        async with asyncio.timeout(60):
            while True:
                await voice.write(lost)
                await voice.until(lambda t: lost.request_id in t.results)
                if voice.results[lost.request_id].version:
                    break
                del voice.results[lost.request_id]
                await asyncio.sleep(0.2)
        last = ada.message(name, "after")
        await voice.write(last)
        await ear.until(lambda t: len(t.versions(name)) == 4)
        assert [event.message.text for event in ear.events[name][1:]] == ["before", "meanwhile", "after"]
        voice.call.cancel()
        ear.call.cancel()
