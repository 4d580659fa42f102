"""Every rpc of Chat, called from another tenant with what exists in the first: it is answered as if there were no such thing."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest_asyncio
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc import status_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.chat.v1 import moderation_service_pb2 as moderation
from tradewind.chat.v1 import privacy_service_pb2 as privacy

from services.chat import pages
from tests.integration.chat_requests import METHODS, Names, requests
from tests.integration.chat_world import TENANT, ChatWorld, chat_world, key_file, request_id
from tests.integration.permission_world import AUTHOR, TITLE, Place, Stage
from tests.integration.test_security_permissions import REQUESTS, TABLE
from tests.servers import NatsServer

OTHER = "evil"
RAIDERS: Mapping[str, tuple[str, ...]] = {
    "owner": ("customer",),
    "shopkeeper": ("shop",),
    "rider": ("courier",),
    "bot": ("service",),
    "chief": ("admin",),
    f"{AUTHOR} by bot": ("service",),
}
"""Callers of the other tenant; some of their names mean somebody in the first."""
VICTIM = "member"
NOBODY = Place(Names(), Names())
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[A-Za-z0-9_-]{43}")
TIMES = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")
KINDS = ("direct", "group", "open channel")
EXPECTED = {"OK", "NOT_FOUND", "PERMISSION_DENIED", "FAILED_PRECONDITION", "INVALID_ARGUMENT"}


class Raid:
    """A tenant with conversations, and callers of another."""

    def __init__(self, world: ChatWorld) -> None:
        self.world = world
        self.home, self.away = Stage(world), Stage(world, OTHER, RAIDERS)


@pytest_asyncio.fixture
async def raid(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Raid]:
    options: dict[str, Any] = {
        "attachment_key_file": key_file(tmp_path), "search": "embedded", "max_caller_streams": 1000
    }  # fmt: skip
    async with chat_world(own_nats_server.url, tmp_path, **options) as world:
        made = Raid(world)
        await made.home.make(*KINDS)
        for place in made.home.places.values():
            place.names, place.spare = replace(place.names, user=VICTIM), replace(place.spare, user=VICTIM)
        for rpc in ("PresenceService/ReportPresence", "DeviceService/RegisterDevice"):
            await made.home.answer(rpc, requests(Names())[rpc], VICTIM)
        yield made
        await made.home.close()
        await made.away.close()


def asked(line: str, place: Place, who: str) -> Message:
    """What is asked: about the author where users are named."""
    user = place.names.user
    named: dict[str, Message] = {
        "ModerationService/BanUser": moderation.BanUserRequest(request_id=request_id(), user_id=user),
        "ModerationService/UnbanUser": moderation.UnbanUserRequest(request_id=request_id(), user_id=user),
        "PrivacyService/ErasePerson": privacy.ErasePersonRequest(request_id=request_id(), user_id=user),
    }
    if line in named:
        return named[line]
    return REQUESTS[line](place, who) if line in REQUESTS else requests(place.names)[line.partition(" ")[0]]


def readable(message: Message) -> str:
    """What a message says; lines of an export too."""
    text = MessageToJson(message, preserving_proto_field_name=True)
    lines = re.search(r'"json_lines": "([^"]+)"', text)
    return text + (base64.b64decode(lines[1]).decode() if lines else "")


def without(text: str, names: Names) -> str:
    """A text without ids, times and the names that were asked for."""
    for value in (names.conversation, names.invitation, names.scheduled, names.user):
        text = text.replace(value, "*")
    # Who of several did it last is chance.
    text = re.sub(r'"(json_lines|actor_id)": "[^"]+"', "", text)
    return TIMES.sub("*", IDS.sub("*", text))


async def answered(stage: Stage, line: str, request: Message, who: str) -> tuple[str, str]:
    """Code and everything that is told, first frames of streams included; a stream that is silent says nothing."""
    try:
        async with asyncio.timeout(1 if line == "BotService/WatchActions" and "bot" in who else 30):
            found = await stage.answer(line.partition(" ")[0], request, who)
    except grpc.aio.AioRpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        return error.code().name, (error.details() or "") + readable(status_pb2.Status.FromString(details))
    except TimeoutError:
        return "OK", ""
    return "OK", "" if found is None else readable(found)


async def standing(home: Stage) -> list[str]:
    """What the first tenant sees of what it has."""
    seen = []
    for place in home.places.values():
        names = place.names
        for rpc in ("ChatService/GetConversation", "ChatService/ListMessages", "ChatService/ListReactions",
                    "AttachmentService/DownloadAttachment", "AttachmentService/GetUpload",
                    "ScheduleService/ListScheduledMessages", "DeviceService/ListDevices"):  # fmt: skip
            seen.append(MessageToJson(await home.answer(rpc, requests(names)[rpc], AUTHOR)))
    for rpc in ("ModerationService/ListReports", "ModerationService/ListBannedUsers"):
        seen.append(MessageToJson(await home.answer(rpc, requests(Names())[rpc], "chief")))
    return seen


async def test_what_the_first_tenant_has_is_as_what_never_was(raid: Raid) -> None:
    assert {line.partition(" ")[0] for line in TABLE} == set(METHODS)
    before, ours = await standing(raid.home), words(raid.home)
    limit = asyncio.Semaphore(96)

    async def told(line: str, place: Place, who: str) -> tuple[str, str]:
        """Code and text; of what names nothing, and so lists what is the caller's own, only what is not."""
        async with limit:
            request = asked(line, place, who)
            code, text = await answered(raid.away, line, request, who)
        named = readable(request)
        leaks = sorted(each for each in ours if each in text and each not in named)
        if leaks or not names_something(line, who):
            return code, str(leaks)
        return code, without(without(text, place.names), place.spare)

    # Erased and banned is last, as it stays so.
    last = ("PrivacyService/ErasePerson", "ModerationService/BanUser", "ModerationService/UnbanUser")
    for lines in ([each for each in TABLE if each not in last], *([each] for each in last)):
        cells = [(line, kind, who) for line in lines for kind in KINDS for who in RAIDERS]
        foreign = await asyncio.gather(*(told(line, raid.home.places[kind], who) for line, kind, who in cells))
        absent = await asyncio.gather(*(told(line, NOBODY, who) for line, _, who in cells))
        wrong = [each for each in zip(cells, foreign, absent, strict=True) if each[1] != each[2]]
        assert not wrong, "\n".join(str(each)[:600] for each in wrong[:9])
        assert {code for code, _ in absent} <= EXPECTED
    assert await standing(raid.home) == before


def words(home: Stage) -> set[str]:
    """What nobody else may ever be told."""
    names = [each for place in home.places.values() for each in (place.names, place.spare)]
    ids = {str(value) for each in names for value in vars(each).values() if isinstance(value, str)}
    return (ids | {TITLE, "Lunch?"}) - {VICTIM, *vars(Names()).values()}


def names_something(line: str, who: str) -> bool:
    """Tell whether a request names anything that may or may not exist."""
    other = Names("c", 9, "u", 9, "a", "u", "i", "t", "s")
    first, second = (asked(line, Place(each, each), who) for each in (NOBODY.names, other))
    for each in (first, second):
        each.ClearField("request_id") if "request_id" in each.DESCRIPTOR.fields_by_name else None
    return first != second


async def test_places_in_listings_of_the_first_tenant_are_places_in_none_of_another(raid: Raid) -> None:
    home, away = raid.home, raid.away
    place = home.places["group"]
    tokens = await page_tokens(home, place)
    assert len(tokens) >= 6, tokens
    for rpc, (token, _) in tokens.items():
        for who in RAIDERS:
            told = []
            for each in (token, pages.make("1", "elsewhere")):
                request = requests(place.names)[rpc]
                setattr(request, "resume_token" if "Export" in rpc else "page_token", each)
                code, text = await answered(away, rpc, request, who)
                assert code in ("INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED"), (rpc, who, text)
                told.append((code, text))
            assert told[0] == told[1], (rpc, who)


async def page_tokens(home: Stage, place: Place) -> dict[str, tuple[str, str]]:
    """A token of every listing that has one, each of the page size 1; and whose it is."""
    for _ in range(2):
        await home.answer("ChatService/AddReaction", requests(place.names)["ChatService/AddReaction"], "owner")
        await home.answer("ChatService/AddReaction", requests(place.names)["ChatService/AddReaction"], "member")
        for user in ("x", "y"):
            ban = moderation.BanUserRequest(request_id=request_id(), user_id=user)
            await home.answer("ModerationService/BanUser", ban, "chief")
        await home.answer(
            "ScheduleService/ScheduleMessage", requests(place.names)["ScheduleService/ScheduleMessage"], AUTHOR
        )
    found = {}
    for rpc, method in METHODS.items():
        if "page_token" in method.input_type.fields_by_name:
            request: Any = requests(place.names)[rpc]
            request.page_size = 1
            who = "chief" if rpc.startswith("ModerationService") else AUTHOR
            token = (await home.answer(rpc, request, who)).next_page_token
            if token:
                found[rpc] = token, who
    listing = ("export", home.tenant, place.names.conversation)
    found["PrivacyService/ExportConversation"] = pages.make('[0, 0, "", 0, 9, 0]', *listing), "chief"
    found["PrivacyService/ExportPerson"] = (
        pages.make('[0, 0, "", 0, 0, 0]', "export-person", home.tenant, place.names.user),
        "chief",
    )
    return found


async def test_a_repeated_request_of_another_tenant_is_another(raid: Raid) -> None:
    """The same request id of the same user in two tenants makes two things, also where what is made is named after it."""
    create = requests(Names())["ChatService/CreateConversation"]
    made = [
        (await stage.answer("ChatService/CreateConversation", create, "owner")).conversation
        for stage in (raid.home, raid.away, raid.home)
    ]
    assert made[0] == made[2]
    assert made[0].conversation_id != made[1].conversation_id
    ours = [chat.GetConversationRequest(conversation_id=each.conversation_id) for each in made]
    assert (await answered(raid.away, "ChatService/GetConversation", ours[0], "chief"))[0] == "NOT_FOUND"
    assert (await answered(raid.home, "ChatService/GetConversation", ours[1], "chief"))[0] == "NOT_FOUND"


async def test_a_link_is_of_one_tenant(raid: Raid) -> None:
    names, world = raid.home.places["group"].names, raid.world
    request = requests(names)["AttachmentService/CreateDownloadLink"]
    uri = (await raid.home.answer("AttachmentService/CreateDownloadLink", request, AUTHOR)).uri
    assert world.attachments.http is not None
    here = uri.replace(world.settings.attachment_url, f"http://127.0.0.1:{world.attachments.http.port}")
    head, _, token = here.rpartition("/")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert raw.startswith(TENANT.encode())
    forged = {raw.replace(TENANT.encode(), OTHER.encode(), 1), raw[:-1] + bytes([raw[-1] ^ 1]), raw[:-16], raw[1:], b""}
    async with aiohttp.ClientSession() as session:
        async with session.get(here) as answer:
            assert (answer.status, await answer.read()) == (200, b"bits")
        told = set()
        for each in (*forged, raw.replace(names.attachment.encode(), Names().attachment.encode())):
            path = base64.urlsafe_b64encode(each).rstrip(b"=").decode()
            async with session.get(f"{head}/{path or 'A'}") as answer:
                told.add((answer.status, await answer.read()))
        assert {status for status, _ in told} == {403}
        assert len(told) == 1
