"""Whatever people do with a conversation, in any order, over several devices, streams and processes of Chat: as the model says.

Every replica holds the same bytes at a version; lists, unread counts and receipts are exact; nobody does what its role does not allow,
and whoever is refused is told which permission is missing.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.chat_world import ChatWorld, chat_world
from tests.integration.talk_checks import look, look_at_all
from tests.integration.talk_model import CHIEF
from tests.integration.talk_player import PEOPLE, Player, Step
from tests.servers import NatsServer

EXAMPLES = {"sqlite": 50, "cql": 8}
_WHAT = {
    "rest": 1, "send": 10, "burst": 3, "again": 2, "edit": 4, "delete": 3, "hide": 2, "forward": 2, "react": 5, "pin": 3, "mark": 5,
    "add": 3, "remove": 2, "leave": 1, "join": 3, "role": 6, "sanction": 4, "pardon": 2, "change": 2, "connect": 9, "cut": 1,
    "follow": 4, "look": 1,
}  # fmt: skip
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([what for what, often in _WHAT.items() for _ in range(often)]),
        st.sampled_from((0, 0, 0, 1, 1, 2, 2, 3, 4, 5)),
        st.integers(0, 31),
        st.integers(0, 31),
        st.integers(0, 15),
    ),
    min_size=30,
    max_size=60,
)
KINDS = st.sampled_from(("group", "channel", "group", "channel", "direct"))


async def play(player: Player, kind: str, others: int, is_open: bool, steps: list[Step]) -> None:
    """Play one schedule to its end, and look at all of it."""
    await player.begin(kind, others, is_open)
    try:
        for step in steps:
            if step.what == "look":
                await look(player, (*PEOPLE, CHIEF)[step.who], step.way)
            else:
                await player.play(step)
        await look_at_all(player, len(steps))
    finally:
        await player.end()


class Stage:
    """Two processes' worth of Chat on one log and one store, kept over all schedules."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._parts = AsyncExitStack()
        self._numbers = itertools.count(1)
        self._worlds: list[ChatWorld] = []
        self._channels: dict[tuple[int, str], grpc.aio.Channel] = {}

    def open(self, nats_url: str, folder: Path) -> None:
        self._runner.run(self._open(nats_url, folder))

    async def _open(self, nats_url: str, folder: Path) -> None:
        one = await self._parts.enter_async_context(chat_world(nats_url, folder))
        other = await self._parts.enter_async_context(chat_world(nats_url, folder, signer=one.signer))
        self._worlds = [one, other]
        self._channels = {
            (place, name): world.user(name).channel
            for place, world in enumerate(self._worlds)
            for name in (*PEOPLE, CHIEF)
        }

    def play(self, kind: str, others: int, is_open: bool, steps: list[Step]) -> None:
        player = Player(self._worlds, self._channels, f"tenant-{next(self._numbers)}")
        self._runner.run(play(player, kind, others, is_open, steps))

    def close(self) -> None:
        self._runner.run(self._parts.aclose())


@pytest.mark.timeout(300)
def test_a_conversation_is_what_the_model_says(
    each_chat_store: str, own_nats_server: NatsServer, tmp_path: Path
) -> None:
    with asyncio.Runner() as runner:
        stage = Stage(runner)
        stage.open(own_nats_server.url, tmp_path)
        try:

            @settings(max_examples=EXAMPLES[each_chat_store], suppress_health_check=list(HealthCheck))
            @given(KINDS, st.integers(0, 4), st.booleans(), STEPS)
            def tell(kind: str, others: int, is_open: bool, steps: list[Step]) -> None:
                stage.play(kind, others, is_open, steps)

            tell()
        finally:
            stage.close()
