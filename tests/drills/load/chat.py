"""People talk by unary sends, and read Watch streams, of which every event's bytes are recorded."""

import asyncio
import random
from collections.abc import Sequence

import grpc
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import chat_service_pb2_grpc as rpc

from tests.drills.fields import integer, repeated
from tests.drills.load.calling import Answer, Intent, Pace, new_request_id, settle
from tests.drills.records import Frame, Recorder, digest
from tests.drills.stage import Stage

PEOPLE = ("ann", "ben", "cleo")
CHAT = "/tradewind.chat.v1.ChatService/"


def bearer(stage: Stage, subject: str, *roles: str) -> tuple[tuple[str, str], ...]:
    """The metadata that says who calls."""
    return (("authorization", f"Bearer {stage.token(subject, *roles)}"),)


async def converse_about(stage: Stage, channel: grpc.aio.Channel, rng: random.Random, count: int) -> list[str]:
    """Begins so many groups of all people; their ids. Before any fault."""
    stub = rpc.ChatServiceStub(channel)
    found = []
    for _ in range(count):
        request = pb.CreateConversationRequest(
            request_id=new_request_id(rng), kind=chat_pb2.CONVERSATION_KIND_GROUP, member_ids=PEOPLE, title="drill"
        )
        made = await stub.CreateConversation(request, metadata=bearer(stage, PEOPLE[0], "customer"), timeout=20)
        found.append(str(made.conversation.conversation_id))
    return found


def message(rng: random.Random, conversation: str, words: int) -> pb.SendMessageRequest:
    """A message whose text no other has."""
    request = pb.SendMessageRequest(request_id=new_request_id(rng), conversation_id=conversation)
    request.content.text = f"{request.request_id} " + " ".join(f"{rng.getrandbits(24):06x}" for _ in range(words))
    return request


async def speak(
    stage: Stage, channel: grpc.aio.Channel, recorder: Recorder, pace: Pace, seed: str, groups: Sequence[str]
) -> None:
    """One person's unary sends, one after the other."""
    rng = random.Random(seed)
    who = rng.choice(PEOPLE)
    stub = rpc.ChatServiceStub(channel)
    metadata = bearer(stage, who, "customer")
    while not pace.ending.is_set():
        request = message(rng, rng.choice(groups), rng.randrange(1, 30))
        intent = Intent(
            "chat.send", seed, request.conversation_id, request.request_id, digest(request.content.text), {"who": who}
        )

        async def attempt(deadline: float, request: pb.SendMessageRequest = request) -> Answer:
            said = await stub.SendMessage(request, metadata=metadata, timeout=deadline)
            return Answer(int(said.version))

        await settle(recorder, pace, rng, intent, attempt)
        await pace.pause(rng)


class Watching:
    """One reader of one conversation: over as many streams as it takes, each from where the one before ended."""

    def __init__(self, name: str, conversation: str) -> None:
        self.name, self.conversation = name, conversation
        self.after = 0
        self.streams = 0

    def take(self, recorder: Recorder, events: Sequence[bytes]) -> None:
        """Notes a frame's events by their bytes."""
        if events:
            seen = [(integer(event, 1), digest(event)) for event in events]
            recorder.add(Frame(self.name, self.conversation, self.streams, recorder.now(), seen))
            self.after = seen[-1][0]


async def watch(stage: Stage, channel: grpc.aio.Channel, recorder: Recorder, watching: Watching) -> None:
    """Reads until cancelled."""
    call: grpc.aio.UnaryStreamMultiCallable[pb.WatchRequest, bytes] = channel.unary_stream(
        CHAT + "Watch", request_serializer=pb.WatchRequest.SerializeToString
    )
    metadata = bearer(stage, PEOPLE[1], "customer")
    while True:
        watching.streams += 1
        request = pb.WatchRequest(conversation_id=watching.conversation, after_version=watching.after)
        stream = call(request, metadata=metadata)
        try:
            async for frame in stream:
                watching.take(recorder, repeated(frame, 2))
                if repeated(frame, 3):
                    break
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.1)
        finally:
            stream.cancel()
