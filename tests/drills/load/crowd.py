"""All clients of a run together."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import grpc

from tests.drills.load import chat, mail, order
from tests.drills.load.calling import Pace
from tests.drills.load.converse import Conversing
from tests.drills.records import Recorder
from tests.drills.stage import Stage


@dataclass(frozen=True)
class Size:
    """How many clients of each kind.

    Attributes:
        methods, readers: which payments and which recipients; see `order` and `mail`.
        think: longest pause of a client between two intents, seconds.
    """

    groups: int = 3
    speakers: int = 3
    conversing: int = 2
    watchers: int = 2
    buyers: int = 2
    writers: int = 1
    units: int = 400
    methods: tuple[str, ...] = order.PLAIN
    readers: tuple[str, ...] = mail.PLAIN
    think: float = 0.05


class Crowd:
    """Clients on a stage. Make it, `prepare`, `start`; then `settle` and `leave`.

    Attributes:
        groups: the conversations they talk in.
        places: every reader.
    """

    def __init__(self, stage: Stage, recorder: Recorder, pace: Pace, seed: str, size: Size) -> None:
        self._stage, self._recorder, self._pace, self._seed, self._size = stage, recorder, pace, seed, size
        self.groups: list[str] = []
        self.places: list[chat.Watching] = []
        self.channels: dict[str, grpc.aio.Channel] = {}
        self._working: list[asyncio.Task[None]] = []
        self._listening: list[asyncio.Task[None]] = []
        self._conversing: list[Conversing] = []

    async def prepare(self) -> None:
        """Opens channels, begins conversations, fills shelves."""
        services = [*self._stage.services, *(["payments"] if "order" in self._stage.services else [])]
        self.channels = {service: self._stage.channel(service) for service in services}
        rng = random.Random(f"{self._seed}-groups")
        if "chat" in self.channels:
            self.groups = await chat.converse_about(self._stage, self.channels["chat"], rng, self._size.groups)
        if "order" in self.channels:
            await self._buyer("stock").stock_up(self._size.units)

    def start(self) -> None:
        """Everybody begins."""
        seed, size = self._seed, self._size
        if "chat" in self.channels:
            self._start_chat()
        if "order" in self.channels:
            for n in range(size.buyers):
                self._work(self._buyer(f"buyer-{n}").run())
        if "mail" in self.channels:
            for n in range(size.writers):
                self._work(
                    mail.write(
                        self._stage,
                        self.channels["mail"],
                        self._recorder,
                        self._pace,
                        f"{seed}-writer-{n}",
                        size.readers,
                    )
                )

    def _start_chat(self) -> None:
        channel, size = self.channels["chat"], self._size
        for n in range(size.speakers):
            name = f"{self._seed}-speaker-{n}"
            self._work(chat.speak(self._stage, channel, self._recorder, self._pace, name, self.groups))
        for n in range(size.watchers):
            for group in self.groups:
                place = chat.Watching(f"{self._seed}-watcher-{n}/{group}", group)
                self.places.append(place)
                self._listen(chat.watch(self._stage, channel, self._recorder, place))
        for n in range(size.conversing):
            one = Conversing(self._recorder, self._pace, f"{self._seed}-converse-{n}", self.groups)
            self._conversing.append(one)
            self.places += one.places.values()
            self._listen(one.run(self._stage, channel))

    async def settle(self) -> None:
        """No new intents; waits until what is under way is settled or given up."""
        self._pace.end()
        await asyncio.gather(*self._working)
        while not all(one.settled for one in self._conversing):
            self._raise_failures()
            await asyncio.sleep(0.05)

    def _raise_failures(self) -> None:
        for task in self._listening:
            if task.done():
                task.result()

    def behind(self, versions: dict[str, int]) -> list[str]:
        """The readers that have not seen what there is by now."""
        self._raise_failures()
        return [place.name for place in self.places if place.after < versions.get(place.conversation, 0)]

    async def leave(self) -> None:
        """Readers go, channels close."""
        for task in (*self._listening, *self._working):
            task.cancel()
        await asyncio.gather(*self._listening, *self._working, return_exceptions=True)
        for channel in self.channels.values():
            await channel.close()

    def failed(self) -> BaseException | None:
        """What ended a client that should go on; a defect of the drill itself."""
        for task in (*self._listening, *self._working):
            if task.done() and not task.cancelled() and task.exception() is not None:
                return task.exception()
        return None

    def _buyer(self, name: str) -> order.Buying:
        return order.Buying(
            self._stage, self.channels["order"], self._recorder, self._pace, f"{self._seed}-{name}", self._size.methods
        )

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        self._working.append(asyncio.get_running_loop().create_task(work))

    def _listen(self, work: Coroutine[Any, Any, None]) -> None:
        self._listening.append(asyncio.get_running_loop().create_task(work))
