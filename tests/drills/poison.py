"""poison: events that no consumer can take: to the dead letters after bounded tries, the rest flows, replayed after the fix."""

import asyncio

from tradewind.admin.v1 import admin_service_pb2 as pb
from tradewind.admin.v1 import admin_service_pb2_grpc as rpc

from tests.drills.load.chat import bearer
from tests.drills.play import Play, eventually

ROLES = {"order": "saga", "chat": "chat-orders"}
ONE_IN = 6
TRIES = 5


async def faults(play: Play) -> None:
    """Of every sixth order the saga's and the conversation's consumers can take nothing, until they are mended."""
    parts = [(part, role) for service, role in ROLES.items() for part in play.stage.parts(service)]
    for part, role in parts:
        play.order(part, f"poison {role} {ONE_IN}")
    async with play.fault("poisoned", "saga, chat-orders"):
        play.expect(await eventually(lambda: _any_letters(play), 180.0), "poison ends in the dead letters")
        await asyncio.sleep(max(0.0, play.left() * 0.6))
        play.expect(await play.more(20, 180.0), "the rest flows")
        for part, role in parts:
            play.order(part, f"poison {role} 0")
    await asyncio.sleep(1.0)  # what is in its tries meets the mended handler
    play.figures["dead letters replayed"] = await _replay(play)


async def _any_letters(play: Play) -> bool:
    return bool(await _letters(play, "order")) and bool(await _letters(play, "chat"))


async def _letters(play: Play, service: str) -> list[pb.DeadLetter]:
    async with play.stage.channel(service) as channel:
        metadata = bearer(play.stage, "operator", "operator")
        stub = rpc.AdminServiceStub(channel)
        page = await stub.ListDeadLetters(pb.ListDeadLettersRequest(page_size=1000), metadata=metadata, timeout=10)
        return list(page.dead_letters)


async def _replay(play: Play) -> int:
    """Hands every letter over once more, oldest first, until there is none."""
    replayed = 0
    for service in ROLES:
        async with play.stage.channel(service) as channel:
            metadata = bearer(play.stage, "operator", "operator")
            stub = rpc.AdminServiceStub(channel)
            for _ in range(20):
                letters = await _letters(play, service)
                for letter in letters:
                    play.expect(
                        letter.tries >= TRIES and letter.reason == "ValueError", "a letter says why and how often"
                    )
                    request = pb.ReplayDeadLetterRequest(letter_id=letter.letter_id)
                    answer = await stub.ReplayDeadLetter(request, metadata=metadata, timeout=30)
                    replayed += answer.taken
                if not letters:
                    break
                await asyncio.sleep(0.5)
            play.expect(not await _letters(play, service), f"every dead letter of {service} is taken after the fix")
    return replayed
