"""What every index of messages must do, whatever it stands on; for another adapter, add it to `INDEXES`."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chat.search.asked import Feature, Query, Term
from services.chat.search.embedded import EmbeddedIndex
from services.chat.search.index import (
    Change,
    Index,
    Name,
    Order,
    PlaceUnknown,
    Position,
    Reacted,
    Removed,
    Replaced,
    Reworded,
    Said,
)
from services.chat.search.matching import Sought, matches
from services.chat.search.words import compared


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Index]:
    index = await EmbeddedIndex.open(folder)
    try:
        yield index
    finally:
        await index.close()


Opener = Callable[[Path], AbstractAsyncContextManager[Index]]
INDEXES: dict[str, Opener] = {"embedded": embedded}

TENANTS, CONVERSATIONS, PEOPLE = ("a", "b"), ("c1", "c2", "c3"), ("ann", "bob", "")
TEXTS = ("tea", "Green tea", "TÉA pot", "teapot", "東京 tea", "京都東京", "", "not now", "tea\ntea tea", "👍 ok")
TERMS = ("tea", "green", "tea pot", "東京", "京", "ok", "👍", "now", "green tea")
PREFIXES = ("tea", "gre", "pot")
PLAIN = sorted(Feature, key=lambda feature: feature.value)[:4]


@pytest.fixture(params=sorted(INDEXES))
def opener(request: pytest.FixtureRequest) -> Opener:
    return INDEXES[request.param]


@dataclass
class Model:
    """Everything that was said, and what became of it."""

    messages: dict[Name, Sought] = field(default_factory=dict)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)

    def next(self, tenant: str, conversation: str) -> int:
        version = self.versions.get((tenant, conversation), 0) + 1
        self.versions[tenant, conversation] = version
        return version

    def take(self, change: Change) -> None:
        name, known = change.name, self.messages.get(change.name)
        if isinstance(change, Said):
            self.messages[name] = Sought(name.conversation_id, change.sender_id, change.at_us, change.texts, change.has)
        elif known is None:
            return
        elif isinstance(change, Removed):
            del self.messages[name]
        elif isinstance(change, Reworded):
            self.messages[name] = replace(known, texts=change.texts, has=change.has | known.has & {Feature.REACTION})
        else:
            has = known.has - {Feature.REACTION}
            self.messages[name] = replace(known, has=has | {Feature.REACTION} if change.any else has)


def drawn(data: st.DataObject, model: Model, at_us: int) -> Change:
    """Draw something that happens."""
    names = sorted(model.messages, key=str)
    what = data.draw(st.sampled_from(("say", "say", "say", "reword", "remove", "react"))) if names else "say"
    texts = data.draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=2))
    has = data.draw(st.frozensets(st.sampled_from(PLAIN), max_size=2)) - {Feature.REACTION}
    if what == "say":
        tenant, conversation = data.draw(st.sampled_from(TENANTS)), data.draw(st.sampled_from(CONVERSATIONS))
        name = Name(tenant, conversation, model.next(tenant, conversation))
        return Said(name, data.draw(st.sampled_from(PEOPLE)), at_us, texts, has)
    name = data.draw(st.sampled_from(names))
    if what == "remove":
        return Removed(name)
    revision = model.next(name.tenant, name.conversation_id)
    if what == "reword":
        return Reworded(name, revision, texts, has)
    return Reacted(name, revision, any=data.draw(st.booleans()))


def asked(data: st.DataObject) -> Query:
    """Draw a question."""
    terms = st.sampled_from(TERMS).map(lambda text: Term(compared(text)))
    prefixes = st.sampled_from(PREFIXES).map(lambda text: Term((text,), prefix=True))
    people = st.frozensets(st.sampled_from(PEOPLE), max_size=1)
    features = st.frozensets(st.sampled_from(sorted(Feature, key=lambda feature: feature.value)), max_size=1)
    times = st.none() | st.integers(0, 40)
    return Query(
        terms=tuple(data.draw(st.lists(terms | prefixes, max_size=2))),
        excluded=tuple(data.draw(st.lists(terms | prefixes, max_size=1))),
        senders=data.draw(people),
        excluded_senders=data.draw(people),
        has=data.draw(features),
        has_not=data.draw(features),
        since_us=data.draw(times),
        until_us=data.draw(times),
    )


async def everything(
    index: Index, tenant: str, query: Query, scope: Sequence[str], order: Order, limit: int
) -> list[Name]:
    """Turn all pages."""
    found, place = [], ""
    while True:
        hits = await index.search(tenant, query, scope, order, place=place, limit=limit)
        assert len(hits.hits) <= limit
        found += [Name(tenant, hit.conversation_id, hit.version) for hit in hits.hits]
        place = hits.place
        if not place:
            return found


async def compare(data: st.DataObject, index: Index, model: Model) -> None:
    """Ask something, and look it up by hand."""
    query, tenant = asked(data), data.draw(st.sampled_from(TENANTS))
    scope = data.draw(st.lists(st.sampled_from(CONVERSATIONS), unique=True))
    expected = {
        name
        for name, message in model.messages.items()
        if name.tenant == tenant and name.conversation_id in scope and matches(query, message)
    }
    for order in Order:
        found = await everything(index, tenant, query, scope, order, data.draw(st.integers(1, 4)))
        assert len(found) == len(set(found))
        assert set(found) == expected
        if order is Order.NEWEST:
            times = [model.messages[name].at_us for name in found]
            assert times == sorted(times, reverse=True)


async def play(data: st.DataObject, opener: Opener, folder: Path) -> None:
    model, told = Model(), list[Change]()
    async with opener(folder) as index:
        await index.begin("store", 1)
        at_us = 0
        for _ in range(data.draw(st.integers(1, 25))):
            at_us += data.draw(st.integers(0, 2))
            told.append(change := drawn(data, model, at_us))
            model.take(change)
        seq = 0
        for _ in range(data.draw(st.integers(1, 3))):
            # Whatever was told before may come again, from anywhere on.
            start = data.draw(st.integers(0, seq))
            end = data.draw(st.integers(seq, len(told)))
            await index.put(told[start:end], Position(0, end))
            seq = end
        await index.put(told[seq:], Position(0, len(told)))
        assert await index.begin("store", 1) == [len(told)]
        for _ in range(4):
            await compare(data, index, model)
        if data.draw(st.booleans()):
            tenant = data.draw(st.sampled_from(TENANTS))
            await index.remove_person(tenant, "ann")
            for name in [n for n, m in model.messages.items() if n.tenant == tenant and m.sender_id == "ann"]:
                del model.messages[name]
            await index.put(told)
            await compare(data, index, model)
    async with opener(folder) as index:
        await compare(data, index, model)


@settings(max_examples=40)
@given(st.data())
@pytest.mark.parametrize("name", sorted(INDEXES))
def test_it_finds_what_a_look_at_everything_finds(name: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(data, INDEXES[name], Path(folder)))


def said(version: int, *texts: str, conversation: str = "c1", tenant: str = "a", sender: str = "ann") -> Said:
    return Said(Name(tenant, conversation, version), sender, version, texts)


async def test_places_of_another_store_or_other_partitions_say_nothing(opener: Opener, tmp_path: Path) -> None:
    tea = Query((Term(("tea",)),))
    async with opener(tmp_path) as index:
        assert list(await index.begin("one", 2)) == [0, 0]
        await index.put([said(1, "tea")], Position(1, 7))
        await index.put([], Position(1, 3))
        assert list(await index.begin("one", 2)) == [0, 7]
        assert await everything(index, "a", tea, ["c1"], Order.NEWEST, 5) == [Name("a", "c1", 1)]
        assert list(await index.begin("one", 3)) == [0, 0, 0]
        assert await everything(index, "a", tea, ["c1"], Order.NEWEST, 5) == []
        await index.put([said(1, "tea")], Position(1, 7))
        assert list(await index.begin("two", 3)) == [0, 0, 0]
        assert await everything(index, "a", tea, ["c1"], Order.NEWEST, 5) == []


async def test_cleared_it_is_begun_with_again(opener: Opener, tmp_path: Path) -> None:
    async with opener(tmp_path) as index:
        await index.begin("one", 1)
        await index.put([said(1, "tea")], Position(0, 1))
        await index.clear()
        with pytest.raises(Replaced):
            await index.put([said(2, "tea")], Position(0, 2))
        assert list(await index.begin("one", 1)) == [0]
        assert await everything(index, "a", Query((Term(("tea",)),)), ["c1"], Order.NEWEST, 5) == []


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("place", ["x", "-1", "1_2", "1_x_2", "9" * 30, "\u0661"])
async def test_a_place_that_is_none_is_refused(opener: Opener, tmp_path: Path, order: Order, place: str) -> None:
    async with opener(tmp_path) as index:
        await index.begin("one", 1)
        await index.put([said(1, "tea")], Position(0, 1))
        with pytest.raises(PlaceUnknown):
            await index.search("a", Query((Term(("tea",)),)), ["c1"], order, place=place, limit=5)


async def test_relevance_is_of_what_is_searched_alone(opener: Opener, tmp_path: Path) -> None:
    """What others say elsewhere moves nothing."""
    mine = [
        said(1, "tea tea and much else besides"),
        said(2, "tea"),
        said(3, "tea with milk"),
        said(4, "milk and tea tea"),
    ]
    query = Query((Term(("tea",)), Term(("milk",))))
    orders = []
    for others in ([], [said(n, "milk", conversation="c2") for n in range(1, 60)]):
        async with opener(tmp_path / str(len(others))) as index:
            await index.begin("one", 1)
            await index.put([*mine, *others], Position(0, 1))
            orders.append(await everything(index, "a", query, ["c1"], Order.RELEVANCE, 5))
            best = await everything(index, "a", Query((Term(("tea",)),)), ["c1"], Order.RELEVANCE, 5)
            assert best.index(Name("a", "c1", 2)) < best.index(Name("a", "c1", 1))
    assert orders[0] == orders[1] == [Name("a", "c1", 4), Name("a", "c1", 3)]


async def test_nothing_of_an_erased_person_is_left(opener: Opener, tmp_path: Path) -> None:
    async with opener(tmp_path) as index:
        await index.begin("one", 1)
        anns = [said(n, f"xylophone{n} secret") for n in range(1, 40, 2)]
        bobs = [said(n, f"zither{n} secret", sender="bob") for n in range(2, 40, 2)]
        forwarded = Said(Name("a", "c1", 50), "bob", 50, ["xylophone secret"], author_id="ann")
        await index.put([*anns, *bobs, forwarded])
        await index.remove_person("a", "ann")
        everywhere = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"zither" in everywhere
        assert b"xylophone" not in everywhere
        found = await everything(index, "a", Query((Term(("secret",)),)), ["c1"], Order.NEWEST, 50)
        assert {name.version % 2 for name in found} == {0}
