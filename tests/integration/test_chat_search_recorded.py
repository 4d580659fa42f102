"""Real talk, said in Chat: search finds in it what somebody finds who reads all of it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tradewind.chat.v1 import chat_pb2, search_service_pb2, search_service_pb2_grpc
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.cli.naming import user_id_of

from tests.integration.chat_world import ChatWorld, User, chat_world, request_id
from tests.servers import NatsServer

pytestmark = pytest.mark.data
DAYS, LINES, QUESTIONS = 10, 1250, 200
MOST_FOUND = 100
_HAN = re.compile("([\u4e00-\u9fff])")
_WORD = re.compile(r"[^\W_]+")


@dataclass
class Line:
    """A message as it was listed, and its words, cut by rules of this test's own."""

    conversation: str
    message: chat_pb2.Message
    words: list[str]


def plain(text: str) -> list[str]:
    unmarked = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return _WORD.findall(_HAN.sub(r" \1 ", unmarked.casefold()))


async def tell(world: ChatWorld, service: User, day: Path) -> str:
    """Say a day's lines in a group of its own, as those who said them."""
    lines = [json.loads(line) for line in day.read_text(encoding="utf-8").splitlines()[-LINES:]]
    lines = [line for line in lines if line["kind"] in ("message", "action") and line["text"].strip()]
    nicks = sorted({user_id_of(line["from"]) for line in lines})
    create = chat.CreateConversationRequest(
        request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP, member_ids=["reader", *nicks]
    )
    where: str = (await service.call("CreateConversation", create)).conversation.conversation_id
    talk = service.converse()
    sends = [service.message(where, line["text"], sender_id=user_id_of(line["from"])) for line in lines]
    for start in range(0, len(sends), 100):
        await talk.write(*sends[start : start + 100])
    await talk.until(lambda talk: len(talk.results) == len(sends))
    assert not any(result.HasField("error") for result in talk.results.values())
    talk.call.cancel()
    return where


async def listed(user: User, where: str) -> list[Line]:
    """Read all of a conversation."""
    found, token = [], ""
    while True:
        request = chat.ListMessagesRequest(conversation_id=where, page_size=500, page_token=token)
        page = await user.call("ListMessages", request)
        found += [Line(where, message, plain(message.content.text)) for message in page.messages]
        token = page.next_page_token
        if not token:
            return found


def row(wanted: Sequence[str], words: Sequence[str], *, prefix: bool = False) -> bool:
    """Tell whether words stand in a row; the last may go on."""
    size = len(wanted)
    for place in range(len(words) - size + 1):
        there = words[place : place + size]
        if there == list(wanted) or (prefix and there[:-1] == list(wanted[:-1]) and there[-1].startswith(wanted[-1])):
            return True
    return False


def question(chance: random.Random, lines: Sequence[Line]) -> tuple[str, list[Line]]:
    """Draw a query, and look it up by reading everything."""
    said = chance.choice([line for line in lines if len(line.words) > 2])
    start = chance.randrange(len(said.words) - 1)
    one, two = said.words[start], said.words[start + 1]
    kind = chance.choice(("word", "phrase", "prefix", "both", "without", "from", "in", "link", "before", "after"))
    of = [line for line in lines if one in line.words]
    at = said.message.send_time.ToJsonString()
    moment = said.message.send_time.ToNanoseconds()
    match kind:
        case "word":
            return one, of
        case "phrase":
            return f'"{one} {two}"', [line for line in lines if row((one, two), line.words)]
        case "prefix" if len(one) > 3:
            return f"{one[:3]}*", [line for line in lines if row((one[:3],), line.words, prefix=True)]
        case "both":
            return f"{two} {one}", [line for line in of if two in line.words]
        case "without":
            return f"{one} -{two}", [line for line in of if two not in line.words]
        case "from":
            sender = said.message.sender_id
            return f'{one} from:"{sender}"', [line for line in of if line.message.sender_id == sender]
        case "in":
            return f"{one} in:{said.conversation}", [line for line in of if line.conversation == said.conversation]
        case "before":
            return f"{one} before:{at}", [line for line in of if line.message.send_time.ToNanoseconds() < moment]
        case "after":
            return f"{one} after:{at}", [line for line in of if line.message.send_time.ToNanoseconds() >= moment]
    return f"{one} has:link", [line for line in of if re.search(r"https?://\S", line.message.content.text, re.I)]


async def test_search_finds_what_a_plain_scan_finds(
    own_nats_server: NatsServer, tmp_path: Path, recorded_data: Path
) -> None:
    days = sorted((recorded_data / "chat").glob("*.jsonl"))[:DAYS]
    if not days:
        pytest.skip(f"no recorded chats in {recorded_data}")
    async with chat_world(own_nats_server.url, tmp_path, search="embedded") as world:
        service, reader = world.user("recorder", "service"), world.user("reader")
        places = [await tell(world, service, day) for day in days]
        lines = [line for where in places for line in await listed(reader, where)]
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}")
        stub = search_service_pb2_grpc.SearchServiceStub(channel)

        async def found(query: str) -> tuple[list[tuple[str, int]], list[search_service_pb2.FoundMessage]]:
            results: list[Any] = []
            request = search_service_pb2.SearchMessagesRequest(query=query, page_size=100)
            while True:
                page = await stub.SearchMessages(request, metadata=reader.metadata)
                results += page.results
                request.page_token = page.next_page_token
                if not page.next_page_token:
                    return [(one.conversation_id, one.message.version) for one in results], results

        for where in places:  # each partition is read in order, so all that came before is indexed too
            newest = max((line.message for line in lines if line.conversation == where), key=lambda each: each.version)
            mark = f"in:{where} after:{newest.send_time.ToJsonString()}"
            async with asyncio.timeout(60):
                while (where, newest.version) not in (await found(mark))[0]:
                    await asyncio.sleep(0.02)

        chance = random.Random(20161219)
        asked = 0
        while asked < QUESTIONS:
            query, expected = question(chance, lines)
            if len(expected) > MOST_FOUND:
                continue
            asked += 1
            names, results = await found(query)
            assert len(names) == len(set(names)), query
            assert set(names) == {(line.conversation, line.message.version) for line in expected}, query
            for one in results:
                text = one.message.content.text
                assert one.highlights or '"' not in query, query
                for span in one.highlights:
                    assert plain(text[span.start : span.start + span.length]), query
        await channel.close()
