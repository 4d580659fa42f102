"""Presence as push asks for it: who is online by the reports of its devices."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import structlog

from services.chat.presence.domain import State
from services.chat.presence.roster import Roster
from services.ledger.errors import LedgerError
from services.runtime.errors import Refused

_TIMEOUT_S: Final = 2.0
_MOST_AT_ONCE: Final = 500
_log = structlog.get_logger(__name__)


class OnlineIsHere:
    """Asks the roster; where that cannot say, nobody is here."""

    def __init__(self, roster: Roster) -> None:
        """Ask ``roster``."""
        self._roster = roster

    async def is_here(self, tenant: str, users: Collection[str]) -> set[str]:
        """Give those who are online."""
        keys = [(tenant, user_id) for user_id in users]
        here: set[str] = set()
        for first in range(0, len(keys), _MOST_AT_ONCE):
            asked = keys[first : first + _MOST_AT_ONCE]
            try:
                found = await self._roster.ask(asked, _TIMEOUT_S)
            except (LedgerError, Refused, TimeoutError) as error:
                _log.warning("presence_unknown", error=type(error).__name__)
                break
            here.update(key[1] for key, seen in found.items() if seen.state is State.ONLINE)
        return here
