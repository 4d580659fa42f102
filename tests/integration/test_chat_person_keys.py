"""Keys of persons as processes hold them: read and made once for all who want them, and let go after a pause."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from services.chat.privacy import keys, upkeep
from services.chat.privacy.keys import ERASED, TABLE, PersonKeys, erasure, partition
from services.chat.privacy.master import Master
from services.ledger.archive import Row
from services.ledger.errors import StoreUnavailable
from services.ledger.sqlite import SqliteArchive
from services.runtime.config import Unstartable
from tests.integration.chat_world import TENANT, chat_world
from tests.integration.test_chat_privacy import read
from tests.servers import NatsServer
from tests.tally import eventually

ANN = (TENANT, "ann")


class Store(SqliteArchive):
    """A store that counts what is read of keys, and may hold it up or fail."""

    reads = 0
    fails = False
    holds: asyncio.Event | None = None

    async def rows(
        self, table: str, partition: str, *, after: str | None = None, limit: int, descending: bool = False
    ) -> list[Row]:
        found = list(await super().rows(table, partition, after=after, limit=limit, descending=descending))
        if table == TABLE:
            self.reads += 1
            if self.holds is not None:
                await self.holds.wait()
            if self.fails:
                raise StoreUnavailable("not now")
        return found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    archive = Store.open(tmp_path / "chat.db")
    assert isinstance(archive, Store)
    yield archive
    await archive.close()


def keys_of(store: Store, key: bytes = bytes(32)) -> PersonKeys:
    return PersonKeys(store, Master([key]))


async def stored(store: Store) -> Sequence[Row]:
    return await store.rows(TABLE, partition(*ANN), limit=100)


async def test_all_who_need_a_key_at_once_get_the_same(store: Store) -> None:
    here = keys_of(store)
    found = await asyncio.gather(*(here.needed(ANN) for _ in range(50)))
    assert len({key.id for key in found}) == 1
    assert store.reads == 1
    assert len(await stored(store)) == 1


async def test_all_who_read_a_key_at_once_read_once(store: Store) -> None:
    key = await keys_of(store).needed(ANN)
    here, before = keys_of(store), store.reads
    await asyncio.gather(*(here.read([(ANN, key.id)]) for _ in range(1000)))
    assert here.key(ANN, key.id) is not None
    assert store.reads == before + 1
    store.fails = True
    away = keys_of(store)
    answers = await asyncio.gather(*(away.read([(ANN, key.id)]) for _ in range(1000)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert store.reads == before + 2
    store.fails = False
    await away.read([(ANN, key.id)])
    assert away.key(ANN, key.id) is not None


async def test_a_key_that_came_while_another_read_was_under_way_is_not_taken_for_destroyed(store: Store) -> None:
    here, there = keys_of(store), keys_of(store)
    store.holds = asyncio.Event()
    early = asyncio.create_task(here.read([(ANN, b"no key 1")]))
    while not store.reads:  # then it has read, and is not answered yet
        await asyncio.sleep(0)
    holds, store.holds = store.holds, None
    key = await there.needed(ANN)
    late = asyncio.create_task(here.read([(ANN, key.id)]))
    await asyncio.sleep(0)
    holds.set()
    await asyncio.gather(early, late)
    assert here.key(ANN, key.id) is not None
    assert not here.gone(ANN, key.id)
    assert here.gone(ANN, b"no key 1")


async def test_who_gives_up_leaves_the_others_their_key(store: Store) -> None:
    here = keys_of(store)
    store.holds = asyncio.Event()
    first, second = (asyncio.create_task(here.needed(ANN)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    store.holds.set()
    assert (await second).person == "ann"


async def test_an_old_key_opens_and_a_new_one_seals(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    here = keys_of(store)
    old = await here.needed(ANN)
    assert (await keys_of(store).needed(ANN)).id == old.id
    monkeypatch.setattr(keys, "SEALS_S", 0.0)
    later = keys_of(store)
    new = await later.needed(ANN)
    assert new.id != old.id
    assert later.key(ANN, old.id) is not None
    monkeypatch.undo()
    assert (await keys_of(store).needed(ANN)).id == new.id


async def test_after_a_long_pause_nothing_is_held_that_was_held_before(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was erased during the pause may be more than a look can see."""
    here = keys_of(store)
    assert here.lapsed
    assert await here.look() == []
    assert not here.lapsed
    key = await here.needed(ANN)
    long_ago = time.time_ns() // 1000 - 3_600_000_000
    await store.put_rows([erasure(*ANN, long_ago), Row(TABLE, partition(*ANN), key.id.hex(), b"", 1 << 40)])
    assert [row.key[17:] for row in await store.rows(ERASED, erasure(*ANN, long_ago).partition, limit=9)] == [
        f"{TENANT}/ann"
    ]
    assert await here.look() == []
    assert here.key(ANN, key.id) is not None
    # As after an hour in which the process did not run.
    monkeypatch.setattr(here, "_looked_at", here._looked_at - 3600.0)
    assert here.lapsed
    assert await here.look() == []
    assert here.key(ANN, key.id) is None
    await here.read([(ANN, key.id)])
    assert here.gone(ANN, key.id)


async def test_a_store_of_another_deployment_is_told(store: Store) -> None:
    one, other = secrets.token_bytes(32), secrets.token_bytes(32)
    assert await keys_of(store, one).is_ours()
    assert await keys_of(store, one).is_ours()
    assert not await keys_of(store, other).is_ours()
    assert await PersonKeys(store, Master([other, one])).is_ours()


async def test_a_wrong_key_file_is_said_at_the_start(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        ann = world.user("ann")
        group = (await ann.create_group()).conversation_id
        version = await ann.send(group, "hello")
    right = (tmp_path / "persons.key").read_text()
    (tmp_path / "persons.key").write_text(secrets.token_hex(32))
    with pytest.raises(Unstartable, match=r"persons\.key lacks the key"):
        async with chat_world(own_nats_server.url, tmp_path):
            pass
    (tmp_path / "persons.key").write_text(f"{secrets.token_hex(32)}\n{right}")
    async with chat_world(own_nats_server.url, tmp_path) as world:
        assert (await read(world.user("ann"), group))[version].content.text == "hello"


async def test_a_look_that_fails_is_followed_by_the_next(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, real = 0, PersonKeys.look

    async def look(self: PersonKeys) -> list[keys.Person]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("a defect")
        return await real(self)

    async def looked_again() -> bool:
        return looks > 2

    monkeypatch.setattr(PersonKeys, "look", look)
    monkeypatch.setattr(upkeep, "LOOK_S", 0.02)
    async with chat_world(own_nats_server.url, tmp_path):
        await eventually(looked_again)
