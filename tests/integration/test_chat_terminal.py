"""The terminal client on a real Chat: two people talk, each at a screen of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static
from tradewind.cli.terminal.app import ChatApp
from tradewind.cli.terminal.log import Log
from tradewind.cli.terminal.room import Room
from tradewind.cli.terminal.talking import PAGE
from tradewind.sdk import Client

from tests.integration.chat_world import ChatWorld, chat_world
from tests.servers import NatsServer

Screen = Pilot[None]


@pytest_asyncio.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[ChatWorld]:
    async with chat_world(own_nats_server.url, tmp_path) as made:
        yield made


@asynccontextmanager
async def client(world: ChatWorld, name: str) -> AsyncIterator[Client]:
    token = world.user(name).metadata[0][1].removeprefix("Bearer ")
    async with Client(f"127.0.0.1:{world.server.port}", token) as made:
        yield made


@asynccontextmanager
async def sits_down(world: ChatWorld, name: str, first: str = "") -> AsyncIterator[Screen]:
    """Somebody opens the terminal client."""
    async with client(world, name) as made, made.chat.converse() as session, made.presence.online():
        app = ChatApp(made, session, name, first)
        async with app.run_test(size=(100, 30)) as screen:
            yield screen


async def types(screen: Screen, text: str) -> None:
    """Put words into the line and send them."""
    line = screen.app.query_one(Input)
    line.value = text
    line.focus()
    await screen.press("enter")


def lines(screen: Screen) -> list[str]:
    """What the list of lines shows, without times."""
    log = screen.app.query_one(Log)
    return [str(log.get_option_at_index(at).prompt).split(" ", 1)[1] for at in range(log.option_count)]


def told(screen: Screen, where: str) -> str:
    return str(screen.app.query_one(where, Static).render())


async def sees(screen: Screen, reached: Callable[[], bool]) -> None:
    """Wait until a screen shows something."""
    async with asyncio.timeout(60):
        while not reached():
            await screen.pause(0.02)


async def chooses(screen: Screen, at: int) -> None:
    log = screen.app.query_one(Log)
    log.focus()
    log.highlighted = at
    await screen.pause()


async def test_two_people_talk(world: ChatWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sits_down(world, "ann") as ann, sits_down(world, "bob") as bob:
        await types(ann, "/direct bob")
        await sees(ann, lambda: "bob" in told(ann, "#head"))
        await types(ann, "Hello, is it raining?")
        await sees(ann, lambda: lines(ann)[-1:] == ["ann Hello, is it raining?"])
        listed = bob.app.query_one("#list", OptionList)
        await sees(bob, lambda: listed.option_count == 1)
        await sees(bob, lambda: "ann" in told(bob, "#head"))  # the most recent one is looked at by itself
        await sees(bob, lambda: "● ann" in told(bob, "#head"))
        bob.app.query_one(Input).value = "It"
        await sees(ann, lambda: "bob types…" in told(ann, "#head"))
        await types(bob, "It is. @ann")
        await sees(ann, lambda: lines(ann)[-1:] == ["bob It is. @ann"])
        assert "types" not in told(ann, "#head")
        await chooses(ann, 1)
        await ann.press("plus")
        await types(ann, "/react ☔")
        await sees(bob, lambda: lines(bob)[-1] == "bob It is. @ann\n      ☔ 1")
        await chooses(ann, 1)
        await ann.press("t")
        await sees(ann, lambda: "thread" in told(ann, "#head"))
        await types(ann, "Then I stay in")
        await sees(bob, lambda: lines(bob)[-1] == "bob It is. @ann\n      ☔ 1  ↳ 1 in thread")
        await ann.press("escape")
        await sees(
            ann, lambda: lines(ann) == ["ann Hello, is it raining?", "bob It is. @ann\n      ☔ 1·  ↳ 1 in thread"]
        )
        (tmp_path / "umbrella.txt").write_text("an umbrella")
        await types(ann, f"/attach {tmp_path / 'umbrella.txt'} take this")
        await sees(bob, lambda: lines(bob)[-1] == "ann take this\n      📎 umbrella.txt")
        await chooses(ann, 2)
        await ann.press("e")
        assert ann.app.query_one(Input).value == "take this"
        await types(ann, "take that")
        await sees(bob, lambda: lines(bob)[-1] == "ann take that (edited)\n      📎 umbrella.txt")
        (tmp_path / "bob").mkdir()
        monkeypatch.chdir(tmp_path / "bob")
        await chooses(bob, 2)
        await bob.press("o")
        await sees(bob, lambda: told(bob, "#told") == "saved umbrella.txt")
        assert (tmp_path / "bob" / "umbrella.txt").read_text() == "an umbrella"
        await chooses(ann, 2)
        await ann.press("d")
        await sees(bob, lambda: lines(bob)[-1] == "ann deleted")


async def test_a_long_history_is_fetched_as_one_goes_back(world: ChatWorld) -> None:
    ann = world.user("ann")
    group = (await ann.create_group(title="Tea")).conversation_id
    for number in range(2 * PAGE + 10):
        await ann.send(group, f"line {number}")
    async with sits_down(world, "ann", group) as screen:
        await sees(screen, lambda: len(lines(screen)) == PAGE)
        for expected in (2 * PAGE, 2 * PAGE + 10):
            await chooses(screen, 0)
            await screen.press("up")
            await sees(screen, lambda expected=expected: len(lines(screen)) == expected)  # type: ignore[misc]
        assert lines(screen) == [f"ann line {number}" for number in range(2 * PAGE + 10)]
        await types(screen, "the newest")
        await sees(screen, lambda: lines(screen)[-1] == "ann the newest")


async def test_what_is_refused_is_said_and_nothing_ends(world: ChatWorld) -> None:
    async with sits_down(world, "ann") as ann:
        for wanted, part in (
            ("hello", "choose a conversation first"),
            ("/join nowhere", "no such conversation"),
            ("/dance", "there is no /dance"),
            ("/help", "/attach FILE"),
        ):
            await types(ann, wanted)
            await sees(ann, lambda part=part: part in told(ann, "#told"))  # type: ignore[misc]
        await types(ann, "/group bob -- Cake")
        await sees(ann, lambda: "&Cake" in told(ann, "#head"))
        await types(ann, "/attach /nowhere/at/all")
        await sees(ann, lambda: "No such file" in told(ann, "#told"))
        long = "far too long " * 1300
        await types(ann, long)
        await sees(ann, lambda: "16384" in told(ann, "#told"))
        assert ann.app.query_one(Input).value == long  # nobody types it twice
        await types(ann, "/leave")
        await sees(ann, lambda: "last owner" in told(ann, "#told"))


async def test_what_is_seen_live_is_what_the_history_shows(world: ChatWorld) -> None:
    async with client(world, "ann") as ann, client(world, "bob") as bob:
        group = (await ann.chat.create_group(["bob"])).conversation_id
        room = Room(group, "ann")
        said = [(await who.chat.send_message(group, f"{n}")).version for n, who in enumerate((ann, bob, ann, bob))]
        await ann.chat.send_message(group, "in a thread", thread_root=said[1])
        gone = (await bob.chat.send_message(group, "gone", thread_root=said[1])).version
        await bob.chat.delete_message(group, gone)
        await ann.chat.edit_message(group, said[0], "zero")
        await ann.chat.add_reaction(group, said[1], "👍")
        await bob.chat.add_reaction(group, said[1], "👍")
        await bob.chat.add_reaction(group, said[0], "🎂")
        await bob.chat.remove_reaction(group, said[0], "🎂")
        await ann.chat.pin_message(group, said[3])
        await ann.chat.delete_message(group, said[2])
        last = (await ann.chat.get_conversation(group)).version
        async for event in ann.chat.watch(group):
            room.apply(event)
            if event.version == last:
                break
        fresh = Room(group, "ann")
        fresh.load([message async for message in ann.chat.list_messages(group)])
        assert [line for line in room.lines.values() if line.sender] == list(fresh.lines.values())
