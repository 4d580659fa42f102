"""Contents with their keys, as a process holds them: who was erased is heard of, and nothing is held longer than it may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from services.chat.contents import Contents
from services.chat.privacy.keys import LOOK_S, PersonKeys
from services.chat.privacy.master import Master
from services.chat.whispers import Whispers
from services.ledger.ending import end
from services.ledger.errors import StoreUnavailable
from services.ledger.ledger import Ledger
from services.runtime.config import Unstartable

TOPIC: Final = "person-erased"
EVERYONE: Final = " "
"""In a tenant's place: what is whispered so concerns all tenants. No tenant is called so."""
_AGAIN_S: Final = 1.0
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def private(ledger: Ledger, key_file: Path | None, whispers: Whispers) -> AsyncIterator[Contents]:
    """Give what seals and opens contents in this process; without a key file nothing is sealed, and the log says so.

    What is held in memory of a person who was erased goes as soon as this process hears of it, and within a minute where it does not: it
    looks for erasures, and what it could not look for it does not use.

    Raises:
        Unstartable: the key file is not what it must be, or of another store.
    """
    if key_file is None:
        _log.warning("contents_are_not_sealed", reason="person_key_file is not set")
        yield Contents()
        return
    master = await asyncio.to_thread(Master.from_file, key_file)
    ledger.engine.digest_key = master.digest_key
    keys = PersonKeys(ledger, master)
    if not await _told(keys.is_ours):
        raise Unstartable(f"{key_file} lacks the key that the keys of persons in the store are wrapped with")
    contents = Contents(keys)
    contents.on_erased(lambda *_: ledger.engine.shelf.forget_runs())

    def heard(data: bytes) -> None:
        tenant, _, user_id = data.decode().partition("/")
        contents.erased(tenant, user_id)

    listener = await whispers.listen(EVERYONE, TOPIC, heard)
    looking = asyncio.create_task(_look(ledger, keys, contents), name="look-for-erasures")
    try:
        yield contents
    finally:
        await end([looking])
        await whispers.leave(listener)


async def tell(whispers: Whispers, tenant: str, user_id: str) -> None:
    """Tell all processes that a person was erased."""
    await whispers.say(EVERYONE, TOPIC, f"{tenant}/{user_id}".encode())


async def _told(ask: Callable[[], Awaitable[bool]]) -> bool:
    """Ask the store, for as long as it takes."""
    while True:
        try:
            return await ask()
        except StoreUnavailable as error:
            _log.warning("person_keys_wait", reason=str(error))
            await asyncio.sleep(_AGAIN_S)


async def _look(ledger: Ledger, keys: PersonKeys, contents: Contents) -> None:
    while True:
        if keys.lapsed:  # the process slept, or could not look: whose words are in them nobody knows
            ledger.engine.shelf.forget_runs()
        try:
            for person in await keys.look():
                contents.erased(*person)
        except StoreUnavailable as error:
            _log.warning("erasures_not_seen", reason=str(error))
            ledger.engine.shelf.forget_runs()  # nobody knows whether what they say may still be said
        except Exception:  # noqa: BLE001 - a look that fails, however, must not be the last
            _log.error("erasures_not_seen", exc_info=True)
            ledger.engine.shelf.forget_runs()
        keys.prune()
        await asyncio.sleep(LOOK_S)
