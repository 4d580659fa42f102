"""wipe-store: all that the store holds is deleted under load: refused until an operator has restored backup and log."""

import asyncio
import random

import grpc
from nats.js import JetStreamContext
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import chat_service_pb2_grpc as rpc

from tests.drills.load.chat import PEOPLE, bearer, converse_about, message
from tests.drills.logs import jetstream, log_of
from tests.drills.play import Play, eventually

_SAID = 8


async def faults(play: Play) -> None:
    """A backup under load; a conversation that neither it nor the log holds whole; then everything is deleted and restored."""
    await asyncio.sleep(max(0.5, play.seconds / 4))
    await play.operate("backup took, s", lambda service: ("backup", _file(play, service)))
    partial = await _in_part(play) if "chat" in play.stage.services else ""
    await asyncio.sleep(max(0.5, play.seconds / 4))
    async with play.fault("store wiped", "store", outage=True):
        await play.stage.lose_store()
        await play.refuses(3.0)
        await play.operate(
            "restore took, s",
            lambda service: ("restore", _file(play, service), *(("--accept-loss",) if service == "chat" else ())),
        )
    play.expect(await play.more(30, 180.0), "writes go on once the store is restored")
    if partial:
        play.expect(await eventually(lambda: _is_a_gap(play, partial), 120.0), "what is there in part shows as a gap")
        play.expect(
            partial not in " ".join(await asyncio.to_thread(play.stage.history, "chat")), "a gap is no version 1"
        )


def _file(play: Play, service: str) -> str:
    return str(play.stage.folder / f"{service}.backup")


async def _in_part(play: Play) -> str:
    """A conversation made after the backup, of which the log then loses the beginning; its id."""
    rng = random.Random(play.rng.random())
    async with play.stage.channel("chat") as channel:
        (conversation,) = await converse_about(play.stage, channel, rng, 1)
        stub = rpc.ChatServiceStub(channel)
        for _ in range(_SAID):
            said = message(rng, conversation, 2)
            await stub.SendMessage(said, metadata=bearer(play.stage, PEOPLE[0], "customer"), timeout=20)
    async with jetstream(play.stage) as js:
        await _forget_beginning(js, conversation)
    return conversation


async def _forget_beginning(js: JetStreamContext, conversation: str) -> None:
    log = await log_of(js, "chat")
    name = str(log.config.name)
    subject = f"ledger.{name.rpartition('-')[2]}.chat.*.*.conversation.{conversation}"
    await js.purge_stream(name, subject=subject, keep=_SAID // 2)


async def _is_a_gap(play: Play, conversation: str) -> bool:
    async with play.stage.channel("chat") as channel:
        stub = rpc.ChatServiceStub(channel)
        request = pb.GetConversationRequest(conversation_id=conversation)
        try:
            await stub.GetConversation(request, metadata=bearer(play.stage, PEOPLE[0], "customer"), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.DATA_LOSS
    return False
