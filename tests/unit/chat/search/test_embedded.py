"""The embedded index: several processes on one folder, and folders that are not as they should be."""

import asyncio
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chat.domain import Refused
from services.chat.search import generations, query
from services.chat.search.asked import Query, Term
from services.chat.search.embedded import EmbeddedIndex
from services.chat.search.file import TIDY_AFTER_S, IndexFile
from services.chat.search.index import Name, Order, Position, Removed, Replaced, Reworded, Said
from services.ledger.ending import end
from services.ledger.errors import StoreUnavailable

TEA = Query((Term(("tea",)),))


def said(version: int, text: str = "tea") -> Said:
    return Said(Name("a", "c", version), "ann", version, [text])


async def versions(index: EmbeddedIndex, asked: Query = TEA) -> list[int]:
    hits = await index.search("a", asked, ["c"], Order.NEWEST, place="", limit=50)
    return [hit.version for hit in hits.hits]


async def test_one_writes_and_all_read(tmp_path: Path) -> None:
    one, other = await EmbeddedIndex.open(tmp_path), await EmbeddedIndex.open(tmp_path)
    assert await one.lead()
    assert not await other.lead()
    await one.begin("store", 1)
    await one.put([said(1)], Position(0, 1))
    assert await versions(other) == [1]
    await one.close()
    assert await other.lead()
    assert list(await other.begin("store", 1)) == [1]
    await other.put([said(2)], Position(0, 2))
    assert await versions(other) == [2, 1]
    await other.close()


async def test_its_files_are_their_owners_alone(tmp_path: Path) -> None:
    index = await EmbeddedIndex.open(tmp_path)
    assert await index.lead()
    await index.begin("store", 1)
    await index.put([said(1)], Position(0, 1))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    await index.close()


async def test_who_leaves_a_long_search_holds_up_nobody(tmp_path: Path) -> None:
    index = await EmbeddedIndex.open(tmp_path)
    begun, over = threading.Event(), threading.Event()

    def long(_: IndexFile) -> None:
        begun.set()
        over.wait(30)

    asking = asyncio.create_task(index._read(long))
    assert await asyncio.to_thread(begun.wait, 30)
    await end([asking])
    try:
        async with asyncio.timeout(60):
            assert await versions(index) == []  # the other thread is free
    finally:
        over.set()
        await index.close()


async def test_a_new_file_is_seen_by_all_and_not_written_unawares(tmp_path: Path) -> None:
    one, other = await EmbeddedIndex.open(tmp_path), await EmbeddedIndex.open(tmp_path)
    await one.begin("store", 1)
    await one.put([said(1)], Position(0, 1))
    before = generations.newest(tmp_path)
    building = generations.begin(tmp_path)
    building.put([said(1), said(2)], [Position(0, 9)], [("source", "store/1")])
    building.close()
    assert generations.newest(tmp_path) == before
    assert await versions(other) == [1]
    generations.finish(tmp_path)
    assert await versions(other) == [2, 1]
    with pytest.raises(Replaced):
        await one.put([said(3)], Position(0, 3))
    assert list(await one.begin("store", 1)) == [9]
    await one.put([said(3)], Position(0, 10))
    assert await versions(other) == [3, 2, 1]
    assert [path.name for path in tmp_path.glob("index*.db")] == ["index-1-00000002.db"]
    await one.close()
    await other.close()


async def test_a_folder_that_cannot_be_used_is_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "file" / "search"
    place.parent.write_text("no folder")
    with pytest.raises(StoreUnavailable):
        await EmbeddedIndex.open(place)
    index = EmbeddedIndex(place)
    with pytest.raises(StoreUnavailable):
        await index.lead()
    with pytest.raises(StoreUnavailable):
        await versions(index)
    place.parent.unlink()
    assert await index.lead()
    await index.begin("store", 1)
    await index.put([said(1)])
    assert await versions(index) == [1]
    await index.close()


async def test_a_broken_file_is_an_outage(tmp_path: Path) -> None:
    index = await EmbeddedIndex.open(tmp_path)
    path = generations.newest(tmp_path)
    assert path is not None
    path.write_bytes(b"no database" * 1000)
    for companion in tmp_path.glob("*-wal"):
        companion.unlink()
    with pytest.raises(StoreUnavailable):
        await versions(index)
    await index.close()


def test_words_that_were_deleted_leave_the_file_within_a_day(tmp_path: Path) -> None:
    def held() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(tmp_path.glob("building*")))

    file = generations.begin(tmp_path)
    file.put([said(1, "xylophone"), said(2, "zither"), said(3, "bassoon")])
    file.put([Removed(Name("a", "c", 1)), Reworded(Name("a", "c", 3), 4, ["oboe"])])
    now = time.time()
    file.tidy(now)
    assert b"xylophone" in held()
    file.tidy(now + TIDY_AFTER_S + 1)
    assert [word in held() for word in (b"xylophone", b"bassoon", b"zither", b"oboe")] == [False, False, True, True]
    file.close()


async def test_more_conversations_than_an_expression_names(tmp_path: Path) -> None:
    index = await EmbeddedIndex.open(tmp_path)
    await index.begin("store", 1)
    await index.put([Said(Name("a", f"c{n}", 1), "ann", n, ["tea"]) for n in range(1500)])
    odd = [f"c{n}" for n in range(1, 1500, 2)]
    for order in Order:
        found, place = [], ""
        while True:
            hits = await index.search("a", TEA, odd, order, place=place, limit=100)
            found += [hit.conversation_id for hit in hits.hits]
            place = hits.place
            if not place:
                break
        assert sorted(found) == sorted(odd)
    await index.close()


@settings(max_examples=25)
@given(
    st.lists(st.text(max_size=40) | st.text(alphabet='ab"*:^()-+{}, ANDORTNE東', max_size=20), min_size=5, max_size=15)
)
def test_no_query_is_more_than_words_to_sqlite(texts: list[str]) -> None:
    async def ask() -> None:
        with tempfile.TemporaryDirectory() as folder:
            index = await EmbeddedIndex.open(Path(folder))
            await index.begin("store", 1)
            await index.put([said(n + 1, text) for n, text in enumerate(texts)])
            for number, text in enumerate(texts):
                try:
                    asked = query.read("", phrases=[text])
                except Refused:
                    continue
                # Whatever was said is found by all of it.
                assert number + 1 in await versions(index, asked)
            await index.close()

    asyncio.run(ask())
