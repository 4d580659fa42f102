"""Search over a whole Chat: what is found, by whom, and what is found no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tradewind.chat.v1 import (
    chat_pb2,
    privacy_service_pb2,
    privacy_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1.search_service_pb2 import SearchMessagesRequest as Search

from services.chat.contents import Contents
from services.chat.privacy.keys import PersonKeys
from services.chat.privacy.master import Master
from services.chat.search import generations
from services.chat.search.rebuilding import rebuild
from services.chat.search.running import searching as searching_in
from services.ledger.archive import Archive, Scanned
from services.ledger.errors import StoreUnavailable
from services.ledger.sqlite import SqliteArchive
from tests.integration.chat_world import ChatWorld, User, chat_world, refused, request_id
from tests.servers import NatsServer

NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
FORBIDDEN = (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
BAD_TOKEN = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path, search="embedded") as running:
        yield running


def searching(world: ChatWorld, user: User) -> Callable[..., Awaitable[search_service_pb2.SearchMessagesResponse]]:
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}")
    world._channels.append(channel)
    stub = search_service_pb2_grpc.SearchServiceStub(channel)

    async def search(query: str = "", **fields: Any) -> search_service_pb2.SearchMessagesResponse:
        answer: search_service_pb2.SearchMessagesResponse = await stub.SearchMessages(
            Search(query=query, **fields), metadata=user.metadata
        )
        return answer

    return search


async def until(search: Awaitable[Any] | Callable[[], Awaitable[Any]], holds: Callable[[Any], bool]) -> Any:
    """Search until an answer is as it must become."""
    assert callable(search)
    async with asyncio.timeout(60):
        while True:
            answer = await search()
            if holds(answer):
                return answer
            await asyncio.sleep(0.01)


def places(answer: search_service_pb2.SearchMessagesResponse) -> list[tuple[str, int]]:
    return [(found.conversation_id, found.message.version) for found in answer.results]


async def indexed(world: ChatWorld, user: User, where: str) -> None:
    """Wait until all that was said in a conversation before is in the index: its partition is read in order."""
    word = f"marker{request_id().replace('-', '')}"
    version = await user.send(where, word)
    search = searching(world, user)
    await until(lambda: search(word), lambda answer: places(answer) == [(where, version)])


async def test_words_are_found_by_those_who_may_read_them(world: ChatWorld) -> None:
    ada, bob, cy = world.user("ada"), world.user("bob"), world.user("cy")
    lunch = (await ada.create_group("bob")).conversation_id
    other = (await ada.create_group("cy")).conversation_id
    first = await ada.send(lunch, "Shall we have Crème brûlée for lunch?")
    second = await bob.send(lunch, "LUNCH at noon, https://example.org/menu")
    third = await cy.send(other, "no lunch for me")
    await indexed(world, ada, lunch)
    await indexed(world, ada, other)

    everything = await searching(world, ada)("lunch", order=search_service_pb2.SEARCH_ORDER_NEWEST_FIRST)
    assert places(everything) == [(other, third), (lunch, second), (lunch, first)]
    assert set(places(await searching(world, bob)("lunch"))) == {(lunch, first), (lunch, second)}
    assert places(await searching(world, cy)("lunch")) == [(other, third)]
    assert places(await searching(world, world.user("eve"))("lunch")) == []
    assert places(await searching(world, world.user("ada", tenant="other"))("lunch")) == []

    search = searching(world, ada)
    assert places(await search("creme brulee from:ada")) == [(lunch, first)]
    assert places(await search("lunch from:bob")) == [(lunch, second)]
    assert places(await search("lunch", sender_ids=["bob"])) == [(lunch, second)]
    assert places(await search(f"lunch -in:{lunch}")) == [(other, third)]
    assert places(await search("lunch", conversation_ids=[other])) == [(other, third)]
    assert places(await search("has:link")) == [(lunch, second)]
    assert places(await search('"brulee for lunch" -noon')) == [(lunch, first)]
    assert places(await search("lunch after:2020-01-01 before:2020-01-02")) == []
    [found] = (await search("brul*")).results
    [span] = found.highlights
    text = found.message.content.text
    assert text[span.start : span.start + span.length] == "brûlée"
    assert found.message.sender_id == "ada"


async def test_what_is_gone_is_not_found(world: ChatWorld) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    where = (await ada.create_group("bob")).conversation_id
    edited = await ada.send(where, "apples and pears")
    deleted = await ada.send(where, "apples alone")
    hidden = await ada.send(where, "apples for bob")
    find = searching(world, ada)
    await indexed(world, ada, where)
    assert {v for _, v in places(await find("apples"))} == {edited, deleted, hidden}

    content = chat_pb2.MessageContent(text="plums and pears")
    await ada.call(
        "EditMessage",
        chat.EditMessageRequest(
            request_id=request_id(), conversation_id=where, message_version=edited, content=content
        ),
    )
    # It is checked when it is asked for: at once it is not found by what it said before.
    assert edited not in {v for _, v in places(await find("apples"))}
    gone = chat.DeleteMessageRequest(request_id=request_id(), conversation_id=where, message_version=deleted)
    await ada.call("DeleteMessage", gone)
    mine = chat.DeleteMessageRequest(
        request_id=request_id(), conversation_id=where, message_version=hidden, for_me=True
    )
    await bob.call("DeleteMessage", mine)
    assert places(await searching(world, bob)("apples")) == []
    assert places(await find("apples")) == [(where, hidden)]
    await indexed(world, ada, where)
    assert places(await find("plums")) == [(where, edited)]
    assert places(await find("apples")) == [(where, hidden)]

    react = chat.AddReactionRequest(request_id=request_id(), conversation_id=where, message_version=edited, emoji="👍")
    await bob.call("AddReaction", react)
    await indexed(world, ada, where)
    assert places(await find("has:reaction")) == [(where, edited)]

    leave = chat.LeaveConversationRequest(request_id=request_id(), conversation_id=where)
    await bob.call("LeaveConversation", leave)
    assert places(await searching(world, bob)("pears")) == []
    assert await refused(searching(world, bob)("pears", conversation_ids=[where])) == NOT_FOUND


async def test_only_who_oversees_searches_elsewhere(world: ChatWorld) -> None:
    ada, root = world.user("ada"), world.user("root", "admin")
    where = (await ada.create_group("bob")).conversation_id
    version = await ada.send(where, "quiet words")
    await indexed(world, ada, where)
    assert places(await searching(world, root)("quiet")) == []
    assert places(await searching(world, root)("quiet", user_id="bob")) == [(where, version)]
    assert places(await searching(world, root)(f"quiet in:{where}")) == [(where, version)]
    eve = searching(world, world.user("eve"))
    assert await refused(eve("quiet", user_id="bob")) == FORBIDDEN
    assert await refused(eve(f"quiet in:{where}")) == await refused(eve("quiet in:nowhere")) == NOT_FOUND


@pytest.mark.parametrize(
    "query", ["", "has:nothing", "before:soon", '"open', "wo*", "from:", "!?", "x " * 33, "in:a/b"]
)
async def test_what_cannot_be_read_is_refused(world: ChatWorld, query: str) -> None:
    assert await refused(searching(world, world.user("ada"))(query)) == INVALID


async def test_pages_go_on_over_a_restart(own_nats_server: NatsServer, tmp_path: Path) -> None:
    orders = (search_service_pb2.SEARCH_ORDER_RELEVANCE, search_service_pb2.SEARCH_ORDER_NEWEST_FIRST)
    tokens = {}
    async with chat_world(own_nats_server.url, tmp_path, search="embedded") as world:
        ada = world.user("ada")
        where = (await ada.create_group("bob")).conversation_id
        versions = [await ada.send(where, f"tea {'and tea ' * (number % 3)}{number}") for number in range(25)]
        await indexed(world, ada, where)
        find = searching(world, ada)
        for order in orders:
            page = await find("tea", order=order, page_size=10)
            assert len(page.results) == 10
            tokens[order] = (page.next_page_token, [v for _, v in places(page)])
        assert await refused(find("tee", order=orders[0], page_token=tokens[orders[0]][0])) == BAD_TOKEN
        eve = searching(world, world.user("eve"))
        assert await refused(eve("tea", order=orders[0], page_token=tokens[orders[0]][0])) == BAD_TOKEN
        assert await refused(find("tea", page_token="nonsense")) == BAD_TOKEN
    async with chat_world(own_nats_server.url, tmp_path, search="embedded") as world:
        find = searching(world, world.user("ada"))
        for order, (token, found) in tokens.items():
            while token:
                page = await find("tea", order=order, page_size=7, page_token=token)
                found += [v for _, v in places(page)]
                token = page.next_page_token
            assert sorted(found) == versions
            if order == search_service_pb2.SEARCH_ORDER_NEWEST_FIRST:
                assert found == versions[::-1]


async def test_the_index_is_made_anew_while_it_answers(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, search="embedded") as world:
        ada = world.user("ada")
        where = (await ada.create_group("bob")).conversation_id
        versions = [await ada.send(where, f"tea number {number}") for number in range(30)]
        gone = chat.DeleteMessageRequest(request_id=request_id(), conversation_id=where, message_version=versions[3])
        await ada.call("DeleteMessage", gone)
        await indexed(world, ada, where)
        search, folder = searching(world, ada), tmp_path / "search"
        before = generations.newest(folder)

        said: list[str] = []
        keys = PersonKeys(world.archive, Master.from_file(world.settings.person_key_file or Path()))
        contents = Contents(keys)
        with pytest.raises(StoreUnavailable):
            await rebuild(Failing(world.archive), contents, folder, 2, said.append, page=7)
        version = await ada.send(where, "tea while it is made")
        assert generations.newest(folder) == before
        done = await rebuild(world.archive, contents, folder, 2, said.append)
        assert done.resumed
        assert 0 < done.messages < 32  # the first pages were not read again
        assert generations.newest(folder) != before

        expected = {(where, v) for v in (*versions, version) if v != versions[3]}
        answer = await until(lambda: search("tea", page_size=100), lambda answer: set(places(answer)) == expected)
        assert len(answer.results) == len(expected)
        # Who follows the log changes over to it, and goes on.
        await indexed(world, ada, where)
        assert before is not None
        assert not before.exists()


class Failing(SqliteArchive):
    """A store that is gone after two pages."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._left = archive, 2

    async def identity(self) -> str | None:
        return await self._archive.identity()

    async def scan(self, *, after_seq: int, place: str = "", limit: int) -> Scanned:
        self._left -= 1
        if self._left < 0:
            raise StoreUnavailable("gone")
        return await self._archive.scan(after_seq=after_seq, place=place, limit=limit)


async def test_where_it_is_off_there_is_none(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as world:
        code, _ = await refused(searching(world, world.user("ada"))("tea"))
        assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_what_an_erased_person_said_goes_from_every_machines_index(world: ChatWorld, tmp_path: Path) -> None:
    ada, bob, root = world.user("ada"), world.user("bob"), world.user("root", "admin")
    where = (await ada.create_group("bob")).conversation_id
    await ada.send(where, "xylophone lessons")
    kept = await bob.send(where, "zither lessons")
    await indexed(world, bob, where)

    # Another machine, with an index of its own.
    keys = PersonKeys(world.ledger, Master.from_file(world.settings.person_key_file or Path()))
    elsewhere = tmp_path / "elsewhere"
    async with searching_in(world.ledger, Contents(keys), elsewhere, 2):
        await until_holds(elsewhere, b"xylophone", b"zither")
        erase = privacy_service_pb2.ErasePersonRequest(request_id=request_id(), user_id="ada")
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}")
        world._channels.append(channel)
        stub = privacy_service_pb2_grpc.PrivacyServiceStub(channel)
        answer = await stub.ErasePerson(erase, metadata=root.metadata)
        assert "search" in {part.name for part in answer.parts}
        assert b"xylophone" not in held(tmp_path / "search")
        assert places(await searching(world, bob)("lessons")) == [(where, kept)]
        async with asyncio.timeout(60):
            while b"xylophone" in held(elsewhere):
                await asyncio.sleep(0.02)
        assert b"zither" in held(elsewhere)


def held(folder: Path) -> bytes:
    """Give all bytes that an index keeps."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("index*")))


async def until_holds(folder: Path, *words: bytes) -> None:
    """Wait until words are in an index."""
    async with asyncio.timeout(60):
        while not folder.is_dir() or not all(word in held(folder) for word in words):
            await asyncio.sleep(0.02)
