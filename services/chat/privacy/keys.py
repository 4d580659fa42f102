"""Keys of persons: made when first needed, kept wrapped in the store, held in memory for some time, destroyed with the person's words.

A person may have several at a time, each with an id of its own, so nobody must agree with anybody: a process that finds none makes one, and
it is in the store before anything is sealed with it. What opens is looked up by id; an id that the store has no key for was destroyed.

A key in memory may be used for as long as it is known that the person was not erased since it was read. Erasures of all tenants stand in
rows by time, so one look at the newest of them every quarter of a minute answers that for all keys there are.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chat.privacy.master import Master
from services.chat.privacy.sealing import KEY_ID_BYTES, Key
from services.ledger.archive import Archive, Row
from services.ledger.errors import StoreUnavailable
from services.ledger.ledger import Ledger

TABLE: Final = "person_keys"
"""Keys by tenant and person, and by their id: when made (µs since the Unix epoch, 8 bytes), and the key, wrapped; empty: destroyed."""
ERASED: Final = "erased_persons"
"""Who was erased, by day, and by when; so that a process sees what is new without reading all."""
TRUSTED_S: Final = 45.0
"""A key is used for so long after it was read, or after a look at the erasures."""
LOOK_S: Final = 15.0
"""Every so often is looked for erasures."""
GONE_S: Final = TRUSTED_S + LOOK_S
"""So long after a person was erased no process uses a key of it any more, whatever it heard."""
HELD_S: Final = 600.0
"""A key is read anew after so long all the same: erasures that come late out of a backup are dated back."""
SEALS_S: Final = 90 * 86_400.0
"""So long after it was made a key seals; what it sealed it opens for good. NIST SP 800-38D allows 2^32 random nonces a key, which is 550 a
second."""
MOST_HELD: Final = 50_000
_PAGE: Final = 100
_AT_ONCE: Final = 16
_TRIES: Final = 8
_SEQ: Final = 1  # below any entry's, so that the event which destroys a key always wins
_KEY_BYTES: Final = 32
_DAY_US: Final = 86_400_000_000
_OVERLAP_US: Final = 600_000_000
"""How far clocks of processes may be apart, and a write may take, without an erasure being missed."""

Person = tuple[str, str]
"""Tenant and user id."""
_NOBODY: Final[Person] = (" ", " ")
"""No tenant is called so: under this name stands what tells whether a deployment's secret is the one of its store."""
_NOBODYS_KEY: Final = bytes(KEY_ID_BYTES)
_T = TypeVar("_T")


@dataclass(slots=True)
class Held:
    """A person's keys as the store had them, the one to seal with, and ids that it had no key for: those were destroyed."""

    keys: dict[bytes, Key]
    seals: Key | None
    read_at: float
    gone: set[bytes] = field(default_factory=set)


def partition(tenant: str, user_id: str) -> str:
    """Name a person's keys in the store."""
    return f"{tenant}/{user_id}"


def destroyed(tenant: str, user_id: str, key_ids: Iterable[str]) -> list[Row]:
    """Give the rows that destroy keys: written over, and not deleted, as stores forget after a time that a row was deleted."""
    return [Row(TABLE, partition(tenant, user_id), key_id, b"") for key_id in key_ids]


def erasure(tenant: str, user_id: str, at_us: int) -> Row:
    """Give the row that tells of an erasure."""
    return Row(ERASED, _day(at_us), f"{at_us:016x}-{tenant}/{user_id}", b"")


class PersonKeys:
    """The keys that this process uses."""

    def __init__(self, ledger: Ledger | Archive, master: Master) -> None:
        """Keep keys in the store of ``ledger``, wrapped by ``master``."""
        self._ledger = ledger
        self._master = master
        self._held: OrderedDict[Person, Held] = OrderedDict()
        self._reading: dict[Person, asyncio.Task[Held]] = {}
        self._needing: dict[Person, asyncio.Task[Key]] = {}
        self._forgotten = 0
        self._looked_at = -math.inf
        self._seen: dict[str, None] = {}

    @property
    def lapsed(self) -> bool:
        """Whether it is so long ago that somebody looked for erasures, that what is in memory may be of persons who were erased."""
        return time.monotonic() - self._looked_at > TRUSTED_S

    async def is_ours(self) -> bool:
        """Tell whether the store's keys are wrapped with what this deployment has; a new store notes with what. Raises StoreUnavailable."""
        where, bound = partition(*_NOBODY), _bound(_NOBODY, _NOBODYS_KEY)
        for row in await self._ledger.rows(TABLE, where, limit=1):
            return self._master.unwrap((row.value or b"")[8:], bound=bound) is not None
        value = _made_now() + self._master.wrap(bytes(_KEY_BYTES), bound=bound)
        await self._ledger.put_rows([Row(TABLE, where, _NOBODYS_KEY.hex(), value, _SEQ)])
        return True

    def at_hand(self, person: Person) -> Held | None:
        """Give what is in memory of a person, and may be used just now."""
        held = self._held.get(person)
        if held is None:
            return None
        now = time.monotonic()
        age = now - held.read_at
        if age > HELD_S or (age > TRUSTED_S and now - self._looked_at > TRUSTED_S):
            return None
        return held

    def current(self, person: Person) -> Key | None:
        """Give a key to seal with, where one is in memory."""
        held = self.at_hand(person)
        return held.seals if held is not None else None

    async def needed(self, person: Person) -> Key:
        """Give a key to seal with, made where the person has none; all who ask meanwhile get the same. Raises StoreUnavailable."""
        key = self.current(person)
        return key if key is not None else await _shared(self._needing, person, self._found_or_made)

    def key(self, person: Person, key_id: bytes) -> Key | None:
        """Give a key by its id; None where it was destroyed (``gone``), or is not in memory (``read``)."""
        held = self.at_hand(person)
        return held.keys.get(key_id) if held is not None else None

    def gone(self, person: Person, key_id: bytes) -> bool:
        """Tell whether the store was asked for a key and has none: it was destroyed."""
        held = self.at_hand(person)
        return held is not None and key_id in held.gone

    async def found(self, person: Person, key_id: bytes) -> Key | None:
        """Give a key by its id, read where it is not in memory; None where it was destroyed. Raises StoreUnavailable."""
        for _ in range(_TRIES):
            key = self.key(person, key_id)
            if key is not None or self.gone(person, key_id):
                return key
            await self.read([(person, key_id)])
        raise StoreUnavailable("the keys of persons change too fast to be read")

    async def read(self, wanted: Iterable[tuple[Person, bytes]]) -> None:
        """Ask the store for keys that are wanted. Raises StoreUnavailable."""
        by_person: dict[Person, set[bytes]] = {}
        for person, key_id in wanted:
            by_person.setdefault(person, set()).add(key_id)
        waiting = iter(by_person.items())
        while some := list(islice(waiting, _AT_ONCE)):
            await asyncio.gather(*(self._asked(person, key_ids) for person, key_ids in some))

    async def listed(self, person: Person) -> Sequence[tuple[str, int]]:
        """Give the ids of all keys that a person has, and when each was made (µs since the Unix epoch). Raises StoreUnavailable."""
        return [(row.key, _made_us(row)) for row in await self._rows(person)]

    def forget(self, person: Person) -> None:
        """Hold a person's keys no more, nor what is being read of them now."""
        self._held.pop(person, None)
        self._reading.pop(person, None)  # what is being read may be of before: it is for those alone who wait for it
        self._needing.pop(person, None)
        self._forgotten += 1

    async def look(self) -> list[Person]:
        """Look who was erased since the last look, and before it; who is given is to be forgotten. Raises StoreUnavailable.

        It sees ten minutes back. After a pause that may have been longer nothing that was held before it is held on.
        """
        now, wall_us = time.monotonic(), time.time_ns() // 1000
        if self.lapsed:
            self._held.clear()
            self._forgotten += 1
        since = f"{wall_us - _OVERLAP_US:016x}"
        found: list[str] = []
        for day in sorted({_day(wall_us + moved) for moved in (-_OVERLAP_US, 0, _OVERLAP_US)}):
            after: str = since
            while page := await self._ledger.rows(ERASED, day, after=after, limit=_PAGE):
                found += [row.key for row in page if row.key not in self._seen]
                after = page[-1].key
                if len(page) < _PAGE:
                    break
        self._seen = {key: None for key in (*self._seen, *found) if key > since}
        self._looked_at = now
        persons = [key[17:].partition("/") for key in found]
        return [(tenant, user_id) for tenant, _, user_id in persons]

    def prune(self) -> None:
        """Hold no key longer than it may be used."""
        oldest = time.monotonic() - HELD_S
        for person in [person for person, held in self._held.items() if held.read_at < oldest]:
            del self._held[person]

    async def _asked(self, person: Person, wanted: set[bytes]) -> None:
        """Read keys of a person. A look that was under way already may have begun before a key was there: what it lacks is asked again."""
        was_under_way = person in self._reading
        held = await _shared(self._reading, person, self._read)
        if was_under_way and not wanted <= held.keys.keys():
            held = await _shared(self._reading, person, self._read)
        held.gone |= wanted - held.keys.keys()

    async def _read(self, person: Person) -> Held:
        forgotten, read_at = self._forgotten, time.monotonic()
        rows = await self._rows(person)
        keys = {key.id: key for key in (self._unwrapped(person, row) for row in rows)}
        newest = max(rows, key=_made_us, default=None)
        seals = None
        if newest is not None and time.time_ns() // 1000 - _made_us(newest) < SEALS_S * 1e6:
            seals = keys[bytes.fromhex(newest.key)]
        held = Held(keys, seals, read_at)
        self._hold(person, held, forgotten)
        return held

    async def _found_or_made(self, person: Person) -> Key:
        held = await self._read(person)
        return held.seals or await self._make(person, held.keys)

    async def _rows(self, person: Person) -> list[Row]:
        found: list[Row] = []
        after: str | None = None
        while page := await self._ledger.rows(TABLE, partition(*person), after=after, limit=_PAGE):
            found += [row for row in page if row.value]
            if len(page) < _PAGE:
                break
            after = page[-1].key
        return found

    def _unwrapped(self, person: Person, row: Row) -> Key:
        key_id = bytes.fromhex(row.key)
        raw = self._master.unwrap((row.value or b"")[8:], bound=_bound(person, key_id))
        if raw is None:
            raise StoreUnavailable("a person's key was wrapped with a key that this deployment does not have")
        return Key(*person, key_id, AESGCM(raw))

    async def _make(self, person: Person, known: Mapping[bytes, Key]) -> Key:
        forgotten, read_at = self._forgotten, time.monotonic()
        key_id, raw = os.urandom(KEY_ID_BYTES), secrets.token_bytes(_KEY_BYTES)
        value = _made_now() + self._master.wrap(raw, bound=_bound(person, key_id))
        await self._ledger.put_rows([Row(TABLE, partition(*person), key_id.hex(), value, _SEQ)])
        key = Key(*person, key_id, AESGCM(raw))
        self._hold(person, Held({**known, key_id: key}, key, read_at), forgotten)
        return key

    def _hold(self, person: Person, held: Held, forgotten: int) -> None:
        if self._forgotten != forgotten:
            return  # somebody was erased meanwhile, perhaps this one: what was read may be of before
        before = self._held.pop(person, None)
        if before is not None:
            held.gone |= before.gone  # what was destroyed never comes back
        self._held[person] = held
        if len(self._held) > MOST_HELD:
            self._held.popitem(last=False)


async def _shared(
    under_way: dict[Person, asyncio.Task[_T]], person: Person, work: Callable[[Person], Awaitable[_T]]
) -> _T:
    """Do something for a person once for all who want it at the same time; one who gives up leaves it to the others."""
    task = under_way.get(person)
    if task is None:
        task = under_way[person] = asyncio.ensure_future(work(person))
        task.add_done_callback(partial(_over, under_way, person))
    return await asyncio.shield(task)


def _over(under_way: dict[Person, asyncio.Task[_T]], person: Person, task: asyncio.Task[_T]) -> None:
    if under_way.get(person) is task:
        del under_way[person]
    if not task.cancelled():
        task.exception()  # whoever still waits is told


def _made_now() -> bytes:
    return (time.time_ns() // 1000).to_bytes(8, "big")


def _made_us(row: Row) -> int:
    return int.from_bytes((row.value or b"")[:8], "big")


def _day(at_us: int) -> str:
    return f"all/{at_us // _DAY_US:06d}"


def _bound(person: Person, key_id: bytes) -> bytes:
    tenant, user_id = (part.encode() for part in person)
    return b"".join((len(tenant).to_bytes(4, "big"), tenant, len(user_id).to_bytes(4, "big"), user_id, key_id))
