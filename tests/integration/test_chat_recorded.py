"""Real talk, replayed through the public API as it went, who came and who went included; what is exported is the file again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.cli.exporting import export
from tradewind.cli.naming import user_id_of
from tradewind.sdk import Client

from tests.integration.chat_world import TENANT, ChatWorld, Talk, User, chat_world, request_id
from tests.integration.test_chat_export import whole
from tests.servers import NatsServer

pytestmark = pytest.mark.data
SERVICE = "recorder"
COMES, GOES = "join", "part"
FIELDS = ("at", "line", "kind", "annotated")
"""What a message carries beside its words."""
MOST_UNANSWERED = 200


@dataclass
class Day:
    """A day of a channel, and what was said of it so far.

    Attributes:
        versions: where each line stands.
        told: what its events should be: who, what, the line's number; -1 where somebody came or went of whom the file has no line.
    """

    lines: list[dict[str, Any]]
    name: str = ""
    inside: set[str] = field(default_factory=set)
    versions: dict[int, int] = field(default_factory=dict)
    told: list[tuple[str, str, int]] = field(default_factory=list)

    def first(self) -> list[str]:
        """Who is there from the beginning: everybody of whom the first line is not that he comes."""
        kinds: dict[str, str] = {}
        for line in self.lines:
            kinds.setdefault(line["from"], line["kind"])
        return [nick for nick, kind in kinds.items() if kind != COMES]


def nameable(line: dict[str, Any]) -> dict[str, Any]:
    """A line, of whom may be a user: not every nick ever was one."""
    return {**line, "from": user_id_of(line["from"])}


class Recorder:
    """Says a day's lines: each by who said it, over one stream; who comes joins, and who goes leaves."""

    def __init__(self, world: ChatWorld, service: User, day: Day) -> None:
        self._world, self._service, self._day = world, service, day
        self._talk: Talk = service.converse()
        self._sent: dict[str, int] = {}
        self._answered = 0

    async def play(self) -> None:
        day = self._day
        create = pb.CreateConversationRequest(
            request_id=request_id(),
            kind=chat_pb2.CONVERSATION_KIND_GROUP,
            member_ids=[SERVICE, *day.first()],
            open=True,
        )
        day.name = (await self._service.call("CreateConversation", create)).conversation.conversation_id
        day.inside = set(day.first())
        waiting: list[pb.SendMessageRequest] = []
        for line in day.lines:
            nick, comes = line["from"], line["kind"] == COMES
            # Who answers, names a version: somebody must have told it.
            answers = any(day.versions[number] > self._answered for number in line["reply_to"])
            if answers or comes or nick not in day.inside or len(waiting) >= MOST_UNANSWERED:
                await self._say(waiting)
            if comes:
                if nick in day.inside:  # it went unseen
                    await self._goes(nick, -1)
                await self._comes(nick, line["line"])
            elif line["kind"] == GOES and nick in day.inside:
                await self._say(waiting)
                await self._goes(nick, line["line"])
            else:
                if nick not in day.inside:
                    await self._comes(nick, -1)
                waiting.append(self._said(line))
        await self._say(waiting)
        self._talk.call.cancel()

    def _tell(self, nick: str, what: str, number: int) -> int:
        self._day.told.append((nick, what, number))
        return len(self._day.told) + 1  # the first event is the beginning

    def _said(self, line: dict[str, Any]) -> pb.SendMessageRequest:
        # Nobody else speaks here, so a line's version is known before it is answered.
        version = self._day.versions[line["line"]] = self._tell(line["from"], "message", line["line"])
        content = chat_pb2.MessageContent(
            text=line["text"],
            reply_to=[self._day.versions[number] for number in line["reply_to"]],
            attributes={name: json.dumps(line[name]).strip('"') for name in FIELDS},
        )
        said = pb.SendMessageRequest(
            request_id=request_id(), conversation_id=self._day.name, content=content, sender_id=line["from"]
        )
        self._sent[said.request_id] = version
        return said

    async def _say(self, waiting: list[pb.SendMessageRequest]) -> None:
        """Say what waits, and wait until all of it was answered."""
        if waiting:
            await self._talk.write(*waiting)
            await self._talk.until(lambda talk: len(talk.results) == len(self._sent))
            for said in waiting:
                assert self._talk.results[said.request_id].version == self._sent[said.request_id]
            self._answered = self._sent[waiting[-1].request_id]
            waiting.clear()

    async def _comes(self, nick: str, number: int) -> None:
        self._day.versions[number] = self._tell(nick, COMES, number)
        self._day.inside.add(nick)
        join = pb.JoinConversationRequest(request_id=request_id(), conversation_id=self._day.name)
        await self._as(nick).call("JoinConversation", join)

    async def _goes(self, nick: str, number: int) -> None:
        self._day.versions[number] = self._tell(nick, GOES, number)
        self._day.inside.remove(nick)
        leave = pb.LeaveConversationRequest(request_id=request_id(), conversation_id=self._day.name)
        await self._as(nick).call("LeaveConversation", leave)

    def _as(self, nick: str) -> User:
        """Somebody for whom the service acts."""
        token = self._world.signer.mint(nick, TENANT, ("service",), actor=SERVICE)
        return User(self._service.channel, token, nick)


def written(day: Day, events: list[chat_pb2.ConversationEvent]) -> list[dict[str, Any]]:
    """The file's lines, out of nothing but exported events; of who came and went, time and words are those of all such lines."""
    numbers: dict[int, int] = {version: number for number, version in day.versions.items()}
    found = []
    for event in events:
        which = event.WhichOneof("event")
        if which == "message":
            said = event.message
            told: dict[str, Any] = dict(said.attributes)
            told["line"], told["annotated"] = int(told["line"]), told["annotated"] == "true"
            links = [numbers[version] for version in said.reply_to]
            found.append({**told, "from": event.actor_id, "text": said.text, "reply_to": links})
        elif which in ("members_added", "members_removed") and numbers.get(event.version, -1) >= 0:
            kind = COMES if which == "members_added" else GOES
            found.append({"line": numbers[event.version], "from": event.actor_id, "kind": kind})
    return found


async def exported_equal(service: User, client: Client, day: Day) -> None:
    """Look at both exports of a day."""
    header, *lines, end = await whole(service, day.name)
    events = [line.event.event for line in lines]
    assert [event.version for event in events] == list(range(1, len(day.told) + 2))
    assert (end.end.events, end.end.version) == (len(events), len(events))
    whats = {"message": "message", "members_added": COMES, "members_removed": GOES}
    told = [(event.actor_id, whats[event.WhichOneof("event") or ""]) for event in events[1:]]
    assert told == [(nick, what) for nick, what, _ in day.told]
    assert {each.user_id for each in header.header.conversation.members} == {SERVICE, *day.inside}
    moves = {number for _, what, number in day.told if what in (COMES, GOES)}
    as_it_was = [_bare(line) if line["line"] in moves else line for line in day.lines]
    assert written(day, events) == as_it_was
    # The command line's export has the same, but for who came and went, which it takes for no line of its own.
    said = [json.loads(text) async for text in export(client, day.name)]
    assert [_plain(line) for line in said] == [_plain(line) for line in as_it_was if "text" in line]


def _bare(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in ("line", "from", "kind")}


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in (*FIELDS, "from", "text", "reply_to")}


async def test_recorded_days_are_replayed_exported_and_equal(
    own_nats_server: NatsServer, tmp_path: Path, recorded_data: Path
) -> None:
    files = sorted((recorded_data / "chat").glob("*.jsonl"))
    if not files:
        pytest.skip(f"no recorded chats in {recorded_data}")
    days = [
        Day([nameable(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]) for file in files
    ]
    async with chat_world(own_nats_server.url, tmp_path) as world:
        service = world.user(SERVICE, "service")
        await asyncio.gather(*(Recorder(world, service, day).play() for day in days))
        token = str(service.metadata[0][1]).removeprefix("Bearer ")
        async with Client(f"127.0.0.1:{world.server.port}", token) as client:
            for day in days:
                await exported_equal(service, client, day)
    kinds = Counter(what for day in days for _, what, number in day.told if number >= 0)
    assert sum(kinds.values()) == sum(len(day.lines) for day in days)
    assert kinds[COMES] == sum(line["kind"] == COMES for day in days for line in day.lines)
