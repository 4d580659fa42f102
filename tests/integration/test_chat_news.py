"""Who types, who is there and how the inbox is, over the stream that carries everything else."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest_asyncio
from tradewind.chat.v1 import chat_service_pb2 as pb
from tradewind.chat.v1 import inbox_service_pb2, presence_service_pb2
from tradewind.sdk import Client, InboxList, InvalidArgument, RetryPolicy, Session, TradewindError

from services.chat.changes import Changes
from services.chat.converse import Converse
from services.chat.departures import Departures
from services.chat.news import Sources
from services.chat.operations import Performer
from services.chat.presence.domain import State
from services.runtime.call import Call, Caller
from services.runtime.limits import RateLimiter
from services.runtime.spans import NO_SPAN
from tests.integration.chat_world import TENANT, ChatWorld, Talk, chat_world, request_id, unpacked
from tests.integration.presence_world import ONLINE, Person
from tests.servers import NatsServer


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path, presence_beat=0.2, typing_lasts=30, inbox_streams=1) as made:
        yield made


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def typists(news: list[Any]) -> dict[str, list[str]]:
    """Give who types where, as it was told last."""
    frames = [each for each in news if isinstance(each, presence_service_pb2.WatchTypingResponse)]
    return {each.conversation_id: list(each.user_ids) for frame in frames for each in frame.typing}


def present(talk: Talk) -> dict[str, int]:
    """Give who is there, as it was told last."""
    frames = [each for each in talk.news if isinstance(each, presence_service_pb2.WatchPresenceResponse)]
    return {each.user_id: each.state for frame in frames for each in frame.presences}


def inboxes(talk: Talk) -> list[inbox_service_pb2.WatchInboxResponse]:
    return [each for each in talk.news if isinstance(each, inbox_service_pb2.WatchInboxResponse)]


def types(conversation_id: str, number: int, *, stopped: bool = False) -> pb.Operation:
    return pb.Operation(operation_id=number, typing=pb.TypingNotice(conversation_id=conversation_id, stopped=stopped))


def listening_now(world: ChatWorld) -> tuple[int, int, int, int]:
    """Give how many listen to what for streams: conversations, users, inboxes, and topics of whispers."""
    presence = world.presence
    names = (base64.urlsafe_b64decode(subject.rpartition(".")[2] + "==") for subject in presence._whispers._topics)
    topics = sum(name.startswith((b"typing/", b"user/")) for name in names)
    return presence._seats.taken, presence.roster._watching, len(world.inbox.waiting), topics


async def test_who_types_is_told_where_the_stream_hears(world: ChatWorld) -> None:
    ann, bob = world.user("ann"), world.user("bob")
    one, other, third = [(await ann.create_group("bob")).conversation_id for _ in range(3)]
    says, hears = ann.converse(), bob.converse()
    await hears.write(subscribe={one: 0}, subscribe_typing=pb.SubscribeTyping())
    await hears.until(lambda talk: typists(talk.news) == {one: []})  # it listens
    await hears.write(subscribe={other: 0})
    await hears.until(lambda talk: typists(talk.news) == {one: [], other: []})
    await says.write(operations=[types(one, 1), types(third, 2), types(other, 3)])
    await hears.until(lambda talk: typists(talk.news) == {one: ["ann"], other: ["ann"]})
    await hears.write(operations=[types(one, 1)])  # oneself is not told
    await says.write(operations=[types(one, 4, stopped=True)])
    await hears.until(lambda talk: typists(talk.news) == {one: [], other: ["ann"]})
    await hears.write(unsubscribe=[one])
    await eventually(lambda: world.presence._seats.taken == 1)
    await hears.write(subscribe_typing=pb.SubscribeTyping(stop=True))
    await eventually(lambda: listening_now(world) == (0, 0, 0, 0))
    for talk in (says, hears):
        talk.call.cancel()


async def test_who_is_there_is_told_of_those_who_are_named(world: ChatWorld) -> None:
    ann, stranger, bob = Person(world, "ann"), Person(world, "ann", tenant="other"), world.user("bob")
    hears = bob.converse()
    await hears.write(subscribe_presence=pb.SubscribePresence(add_user_ids=["ann", "cy"]))
    offline = presence_service_pb2.PRESENCE_STATE_OFFLINE
    await hears.until(lambda talk: present(talk) == {"ann": offline, "cy": offline})
    await stranger.report(ONLINE)
    await ann.report(ONLINE)
    await hears.until(lambda talk: present(talk) == {"ann": ONLINE, "cy": offline})
    assert sum(len(frame.presences) for frame in hears.news) == 3  # nothing was told of another tenant's
    await hears.write(subscribe_presence=pb.SubscribePresence(remove_user_ids=["ann"]))
    await eventually(lambda: world.presence.roster._watching == 1)
    await hears.write(subscribe_presence=pb.SubscribePresence(add_user_ids=["two  words"]))
    await hears.until(lambda talk: talk.news_ended == {pb.NEWS_PRESENCE: "INVALID_FIELD"})
    assert world.presence.roster._watching == 0
    # The stream goes on, and can be told again.
    await hears.write(subscribe_presence=pb.SubscribePresence(add_user_ids=["ann"]))
    await eventually(lambda: world.presence.roster._watching == 1)
    hears.call.cancel()
    await eventually(lambda: listening_now(world) == (0, 0, 0, 0))


async def test_the_inbox_is_told_whole_and_then_as_it_becomes(world: ChatWorld) -> None:
    ann, bob = world.user("ann"), world.user("bob")
    group = (await ann.create_group("bob")).conversation_id
    hears, other = bob.converse(), ann.converse()
    await hears.write(subscribe_inbox=pb.SubscribeInbox())
    await hears.until(lambda talk: bool(inboxes(talk)))
    assert (inboxes(hears)[0].whole, [entry.conversation_id for entry in inboxes(hears)[0].entries]) == (True, [group])
    await ann.send(group, "Lunch?")
    await hears.until(lambda talk: inboxes(talk)[-1].totals.unread_count == 1)
    assert [entry.last_message.text for entry in inboxes(hears)[-1].entries] == ["Lunch?"]
    # As many streams of inboxes as may be are there: what is refused is refused alone, and the stream goes on.
    await other.write(ann.message(group, "Now?"), subscribe_inbox=pb.SubscribeInbox())
    await other.until(lambda talk: bool(talk.news_ended and talk.results))
    assert other.news_ended == {pb.NEWS_INBOX: "OVERLOADED"}
    await hears.until(lambda talk: inboxes(talk)[-1].totals.unread_count == 2)
    seen = len(inboxes(hears))
    await hears.write(subscribe_inbox=pb.SubscribeInbox(page_size=5))
    await hears.until(lambda talk: len(inboxes(talk)) > seen)
    assert (inboxes(hears)[seen].whole, inboxes(hears)[seen].totals.unread_count) == (True, 2)
    # News alone keep a stream whose client has said all; without them it ends.
    await hears.call.done_writing()
    await ann.send(group, "Well?")
    await hears.until(lambda talk: inboxes(talk)[-1].totals.unread_count == 3)
    hears.call.cancel()
    await eventually(lambda: listening_now(world) == (0, 0, 0, 0))
    await other.write(subscribe_inbox=pb.SubscribeInbox())
    await other.until(lambda talk: bool(inboxes(talk)))
    await other.write(subscribe_inbox=pb.SubscribeInbox(stop=True))
    await other.call.done_writing()
    await other.until(lambda talk: talk.over)


async def test_news_takes_no_credit_and_waits_for_none(world: ChatWorld) -> None:
    ann, bob = world.user("ann"), world.user("bob")
    group = (await ann.create_group("bob")).conversation_id
    says, hears = ann.converse(), bob.converse()
    await hears.write(subscribe={group: 0}, subscribe_typing=pb.SubscribeTyping(), flow=pb.Flow(credit=2))
    await hears.until(lambda talk: typists(talk.news) == {group: []})
    for number, stopped in enumerate((False, True, False)):
        await says.write(operations=[types(group, number, stopped=stopped)])
        told: list[str] = [] if stopped else ["ann"]
        await hears.until(lambda talk: typists(talk.news) == {group: told})  # noqa: B023 (it is awaited here)
    for text in ("one", "two"):
        await ann.send(group, text)
    await hears.until(lambda talk: talk.versions(group) == [1, 2])
    await says.write(operations=[types(group, 9, stopped=True)])
    await hears.until(lambda talk: typists(talk.news) == {group: []})
    assert hears.versions(group) == [1, 2]  # no credit is left, and the news came all the same
    await hears.write(flow=pb.Flow(credit=1))
    await hears.until(lambda talk: talk.versions(group) == [1, 2, 3])
    for talk in (says, hears):
        talk.call.cancel()


async def test_who_is_removed_hears_of_typing_no_more_and_a_drain_ends_all(world: ChatWorld) -> None:
    ann, bob = world.user("ann"), world.user("bob")
    one, other = [(await ann.create_group("bob")).conversation_id for _ in range(2)]
    says, hears = ann.converse(), bob.converse()
    await hears.write(
        subscribe={one: 0, other: 0},
        subscribe_typing=pb.SubscribeTyping(),
        subscribe_presence=pb.SubscribePresence(add_user_ids=["ann"]),
        subscribe_inbox=pb.SubscribeInbox(),
    )
    await hears.until(lambda talk: bool(typists(talk.news) == {one: [], other: []} and present(talk) and inboxes(talk)))
    removal = pb.RemoveMembersRequest(request_id=request_id(), conversation_id=one, user_ids=["bob"])
    await ann.call("RemoveMembers", removal)
    await hears.until(lambda talk: talk.ended == {one: "NOT_A_MEMBER"})
    await says.write(operations=[types(one, 1), types(other, 2)])
    await hears.until(lambda talk: typists(talk.news) == {one: [], other: ["ann"]})
    await eventually(lambda: world.presence._seats.taken == 1)
    await world.server.drain()
    await hears.until(lambda talk: talk.over)
    assert hears.going_away is not None
    assert not hears.news_ended
    assert not any(frame.HasField("going_away") for frame in hears.news)
    await eventually(lambda: listening_now(world) == (0, 0, 0, 0))


async def test_who_does_not_read_holds_one_frame_and_gets_the_newest_state(world: ChatWorld) -> None:
    """Nobody fetches: neither what is said nor what changes meanwhile adds to what the stream holds."""
    ann = Person(world, "ann")
    group = (await ann.user.create_group("bob")).conversation_id
    call = Call(
        caller=Caller(TENANT, "bob", frozenset({"customer"})),
        method="",
        draining=asyncio.Event(),
        deadline=None,
        ours=False,
        span=NO_SPAN,
        limiter=RateLimiter(0, 1, 1),
        loop=asyncio.get_running_loop(),
    )
    performer = Performer(world.ledger, world.messaging, Changes(world.ledger), world.presence.SetTyping)
    parts = (world.messaging, performer, Departures(world.ledger), Sources(world.presence, world.inbox))
    stream = Converse(world.ledger, *parts, call, world.settings)
    asked: asyncio.Queue[pb.ConverseRequest] = asyncio.Queue()

    async def requests() -> AsyncIterator[pb.ConverseRequest]:
        while True:
            yield await asked.get()

    frames: Any = stream.serve(requests())
    asked.put_nowait(pb.ConverseRequest(subscribe=[pb.Subscribe(conversation_id=group)]))
    events = pb.ConverseResponse.FromString(await anext(frames))
    assert (len(events.deliveries), stream._news) == (1, None)  # who asks for none holds none
    asked.put_nowait(
        pb.ConverseRequest(
            subscribe_typing=pb.SubscribeTyping(),
            subscribe_presence=pb.SubscribePresence(add_user_ids=["ann"]),
            subscribe_inbox=pb.SubscribeInbox(),
        )
    )
    await eventually(lambda: len(stream._answers) == 3)
    for number in range(20):
        await ann.types(group, stopped=number % 2 == 1)
        await ann.report_briefly((State.AWAY, State.ONLINE)[number % 2], 60)
        await ann.user.send(group, f"word {number}")
    await ann.types(group)
    await eventually(lambda: stream._news is not None and world.inbox.waiting == [1])
    assert len(stream._answers) == 3
    news: list[Any] = []
    async with asyncio.timeout(60):
        while not (
            typists(news) == {group: ["ann"]}
            and any(
                each.totals.unread_count == 20
                for each in news
                if isinstance(each, inbox_service_pb2.WatchInboxResponse)
            )
            and any(
                each.presences[0].state == ONLINE
                for each in news
                if isinstance(each, presence_service_pb2.WatchPresenceResponse) and each.presences
            )
        ):
            news.extend(unpacked(each) for each in pb.ConverseResponse.FromString(await anext(frames)).news)
    assert len(news) <= 10  # not one for each of sixty changes
    await frames.aclose()
    assert listening_now(world) == (0, 0, 0, 0)


async def test_a_session_hands_news_to_its_user_over_reconnects_and_refusals(world: ChatWorld) -> None:
    ann, holder = Person(world, "ann"), world.user("cy").converse()
    group = (await ann.user.create_group("bob")).conversation_id
    await holder.write(subscribe_inbox=pb.SubscribeInbox())  # the one inbox that the process serves
    await holder.until(lambda talk: bool(inboxes(talk)))
    token = world.signer.mint("bob", TENANT, ("customer",))
    retry = RetryPolicy(longest_wait=0.2)
    told: dict[str, Any] = {}
    refused: list[TradewindError] = []

    async def listen(session: Session) -> None:
        while True:
            try:
                async for news in session.news:
                    if isinstance(news, InboxList):
                        told["unread"] = news.totals.unread_count
                    elif isinstance(news, presence_service_pb2.Typing):
                        told["types"] = list(news.user_ids)
                    else:
                        told[news.user_id] = news.state
            except TradewindError as error:
                refused.append(error)
                if session.error is not None:
                    return

    async with Client(f"127.0.0.1:{world.server.port}", token, retry=retry) as bob, bob.chat.converse() as session:
        listening = asyncio.create_task(listen(session))
        session.subscribe(group)
        session.news.typing()
        session.news.presence(["ann"])
        session.news.inbox()
        await ann.report(ONLINE)
        await eventually(lambda: told.get("ann") == ONLINE and world.presence._seats.taken == 1)
        assert "unread" not in told
        holder.call.cancel()  # now there is room, and the session asks again by itself
        await eventually(lambda: told.get("unread") == 0)
        session._pipeline.leave()
        await ann.user.send(group, "Lunch?")
        await eventually(lambda: told.get("unread") == 1)
        await eventually(lambda: world.presence._seats.taken == 1 and world.presence.roster._watching == 1)
        await ann.types(group)
        await eventually(lambda: told.get("types") == ["ann"])
        session.news.presence(["two  words"])
        await eventually(lambda: bool(refused))
        assert isinstance(refused[0], InvalidArgument)
        session.unsubscribe(group)
        await eventually(lambda: told.get("types") == [])
        await ann.user.send(group, "Well?")
        await eventually(lambda: told.get("unread") == 2)
    async with asyncio.timeout(60):
        await listening
    await eventually(lambda: listening_now(world) == (0, 0, 0, 0))
