"""Which processes of Chat there are: each says so once a beat, and one that was silent for a few beats is not there.

It is a view, not an agreement. Two processes may see otherwise for a moment; whoever builds on it must bear that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.chat.presence import words
from services.chat.presence.words import Beat
from services.ledger.ending import end
from services.ledger.lasting import keep_up

SILENT_BEATS: Final = 3.5
_log = structlog.get_logger(__name__)


class Peers:
    """The processes that are there, this one included.

    Args:
        client: the process's connection to NATS.
        process: its name.
        beat: seconds between two signs of life.
        numbers: gives what a sign of life says of this process's slots.
        heard: takes another's, or this one's own, sign of life.
        changed: called when the ready processes are others than before; with True where there is one more besides this one.
    """

    def __init__(
        self,
        client: Client,
        process: str,
        beat: float,
        numbers: Callable[[], dict[int, int]],
        heard: Callable[[Beat], None],
        changed: Callable[[bool], None],
    ) -> None:
        """Know nobody yet."""
        self.ready: frozenset[str] = frozenset()
        self._client = client
        self._process = process
        self._beat = beat
        self._numbers = numbers
        self._heard = heard
        self._changed = changed
        self._is_ready = False
        self._until: dict[str, tuple[float, bool]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen, and ask who is there. Raises nats.errors.Error."""
        await self._client.subscribe(words.BEATS, cb=self._on_beat)
        await self.say(greets=True)
        self._task = asyncio.create_task(keep_up("presence-beats", self._live), name="presence-beats")

    async def close(self) -> None:
        """Say goodbye, so that the others need not wait."""
        if self._task is not None:
            await end([self._task])
        self._is_ready = False
        await self.say(gone=True)

    @property
    def others(self) -> set[str]:
        """All other processes that live, ready or not."""
        return set(self._until)

    async def be_ready(self, ready: bool) -> None:
        """Say whether this process holds what it is to hold."""
        self._is_ready = ready
        self._look()
        await self.say()

    async def say(self, *, gone: bool = False, greets: bool = False) -> None:
        """Give a sign of life; where NATS cannot take it, it is not given."""
        beat = Beat(self._process, self._is_ready, gone, greets, self._numbers() if self._is_ready else {})
        try:
            await self._client.publish(words.BEATS, words.encode_beat(beat))
        except NatsError as error:
            _log.info("presence_beat_lost", error=type(error).__name__)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self._beat)
            await self.say()
            self._look()

    async def _on_beat(self, message: Msg) -> None:
        beat = words.decode_beat(message.data)
        if beat.process != self._process:
            if beat.gone:
                self._until.pop(beat.process, None)
            else:
                until = asyncio.get_running_loop().time() + SILENT_BEATS * self._beat
                self._until[beat.process] = (until, beat.ready)
            self._look()
            if beat.greets:
                await self.say()
        self._heard(beat)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for process in [each for each, (until, _) in self._until.items() if until <= now]:
            del self._until[process]
        ready = {process for process, (_, is_ready) in self._until.items() if is_ready}
        if self._is_ready:
            ready.add(self._process)
        if ready != self.ready:
            gained = bool(ready - self.ready - {self._process})
            self.ready = frozenset(ready)
            self._changed(gained)
