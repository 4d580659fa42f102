"""What is told to and asked of the homes of users once: a device's report, and who is there now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from services.chat.presence import words
from services.chat.presence.domain import ALL_DEVICES, State
from services.chat.presence.slots import Key, slot_of
from services.chat.presence.words import Report, Seen, Told
from services.runtime.errors import Refused

ASK_SECONDS: Final = 1.0
TOGETHER: Final = 16
"""Slots that are asked at a time."""
AGAIN: Final = 0.25
"""Seconds before who did not answer is asked again."""
_log = structlog.get_logger(__name__)


class Asking:
    """Asks over the process's connection to NATS; ``patience`` is in seconds, beyond which a home that changes is waited for no more."""

    def __init__(self, client: Client, patience: float) -> None:
        """Ask nothing yet."""
        self.questions = 0
        """How many were asked so far."""
        self._client = client
        self._patience = patience

    async def report(self, report: Report, seconds: float) -> Seen:
        """Report a device, and give its user's state after it. Raises Refused (DEPENDENCY_UNAVAILABLE, OVERLOADED)."""
        subject = words.reports_of(slot_of(report.key))
        told = await self._patiently(subject, words.encode_report(report), seconds)
        if report.key not in told.people:
            raise Refused("OVERLOADED", "as many users are there as the server may hold")
        return told.people[report.key]

    async def sign_off(self, key: Key) -> None:
        """Say that a user is gone with all its devices. Where that is lost, their leases end by themselves."""
        report = Report(key, ALL_DEVICES, State.OFFLINE, 0.0)
        try:
            await self._client.publish(words.reports_of(slot_of(key)), words.encode_report(report))
        except NatsError as error:
            _log.info("presence_sign_off_lost", error=type(error).__name__)

    async def ask(self, keys: Sequence[Key], seconds: float) -> dict[Key, Seen]:
        """Give the state of users as it is. Raises Refused (DEPENDENCY_UNAVAILABLE)."""
        by_slot: dict[int, list[Key]] = {}
        for key in keys:
            by_slot.setdefault(slot_of(key), []).append(key)
        room = asyncio.Semaphore(TOGETHER)

        async def one(slot: int, wanted: list[Key]) -> Told:
            async with room:
                self.questions += 1
                return await self._patiently(words.questions_of(slot), words.encode_keys(wanted), seconds)

        found: dict[Key, Seen] = {}
        for told in await asyncio.gather(*(one(slot, wanted) for slot, wanted in by_slot.items())):
            found.update(told.people)
        return found

    async def _patiently(self, subject: str, data: bytes, seconds: float) -> Told:
        """Ask a slot's home; while it changes, for a few beats."""
        loop = asyncio.get_running_loop()
        until = loop.time() + min(seconds, self._patience + 3 * ASK_SECONDS)
        while self._client.is_connected:
            left = until - loop.time()
            if left <= 0:
                break
            try:
                answer = await self._client.request(subject, data, timeout=min(ASK_SECONDS, left))
                return words.decode_told(answer.data)
            except NatsError:
                await asyncio.sleep(min(AGAIN, max(0.0, until - loop.time())))
        raise Refused("DEPENDENCY_UNAVAILABLE", "presence cannot be reached now")
