"""Whatever is said, edited, forwarded and erased in whatever order: words go with whose they are, and no others."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.integration.chat_world import ChatWorld, User, chat_world, refused, request_id, watched
from tests.integration.test_chat_erasure import erase, erasing
from tests.integration.test_chat_privacy import read
from tests.servers import NatsServer
from tests.tally import eventually

PEOPLE = ("ann", "bob", "cy")
STEPS = 60


@dataclass(eq=False)
class Words:
    """Something said, and whose it is."""

    text: str
    whose: str
    erased: bool = False


@dataclass
class Said:
    """A message: who sent it, its wordings, and whose words it says again."""

    sender: str
    wordings: list[Words]


class Model:
    """What should be there."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[int, Said]] = {}
        self.events: dict[str, dict[int, Words]] = {}

    def add(self, group: str, version: int, sender: str, words: Words) -> None:
        self.groups[group][version] = Said(sender, [words])
        self.events[group][version] = words

    def edit(self, group: str, version: int, event: int, text: str) -> None:
        said = self.groups[group][version]
        said.wordings.append(Words(text, said.sender))
        self.events[group][event] = said.wordings[-1]

    def erase(self, person: str) -> None:
        for events in self.events.values():
            for words in events.values():
                words.erased = words.erased or words.whose == person


async def step(world: ChatWorld, model: Model, users: dict[str, User], by: User, draw: random.Random) -> None:
    """Do something."""
    name = draw.choice(PEOPLE)
    user, group = users[name], draw.choice(list(model.groups))
    what = draw.choices(("say", "edit", "forward", "erase"), (4, 3, 4, 1))[0]
    text = f"words {draw.random()}"
    known = model.groups[group]
    if what == "say" or not known:
        model.add(group, await user.send(group, text), name, Words(text, name))
    elif what == "edit":
        version = draw.choice(list(known))
        request = pb.EditMessageRequest(request_id=request_id(), conversation_id=group, message_version=version)
        request.content.text = text
        editor = users[known[version].sender]
        model.edit(group, version, (await editor.call("EditMessage", request)).version, text)
    elif what == "forward":
        version, to = draw.choice(list(known)), draw.choice(list(model.groups))
        again = pb.ForwardMessageRequest(
            request_id=request_id(), conversation_id=to, from_conversation_id=group, message_version=version
        )
        words = known[version].wordings[-1]
        if words.erased:
            assert (await refused(user.call("ForwardMessage", again)))[1] == "NO_SUCH_MESSAGE"
        else:
            made = (await user.call("ForwardMessage", again)).version
            model.add(to, made, name, Words(words.text, words.whose))
    else:
        await erase(world, by, erasing(name))
        model.erase(name)


@pytest.mark.parametrize("seed", range(3))
async def test_words_go_with_whose_they_are(own_nats_server: NatsServer, tmp_path: Path, seed: int) -> None:
    draw, model = random.Random(seed), Model()
    async with chat_world(own_nats_server.url, tmp_path) as world:
        users, admin = {name: world.user(name) for name in PEOPLE}, world.user("root", "admin")
        for _ in range(2):
            group = (await users["ann"].create_group(*PEOPLE[1:])).conversation_id
            model.groups[group], model.events[group] = {}, {}
        for _ in range(STEPS):
            await step(world, model, users, admin, draw)
        for group, messages in model.groups.items():
            found = await read(users["bob"], group)
            assert {version: (it.content.text, it.content.erased) for version, it in found.items()} == {
                version: _shown(said.wordings[-1]) for version, said in messages.items()
            }
            last = max(model.events[group], default=1)
            told = {}
            for event in await watched(users["cy"].watch(group), last):
                content = event.edited.content if event.HasField("edited") else event.message
                told[event.version] = (content.text, content.erased)
            assert {version: told[version] for version in model.events[group]} == {
                version: _shown(words) for version, words in model.events[group].items()
            }


def _shown(words: Words) -> tuple[str, bool]:
    return ("", True) if words.erased else (words.text, False)


async def test_an_erasure_under_load_takes_all_that_was_answered_before(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with chat_world(own_nats_server.url, tmp_path) as one, chat_world(own_nats_server.url, tmp_path) as other:
        ann, bob, admin = other.user("ann"), other.user("bob"), one.user("root", "admin")
        group = (await ann.create_group("bob")).conversation_id
        talk, listening = ann.converse(), bob.converse()
        await listening.write(subscribe={group: 0})
        before: list[int] = []

        async def say(count: int) -> list[int]:
            said = [ann.message(group, f"word {number}") for number in range(count)]
            await talk.write(*said)
            await talk.until(lambda it: all(each.request_id in it.results for each in said))
            return [talk.results[each.request_id].version for each in said]

        for _ in range(5):
            before += await say(20)
        erasure = asyncio.create_task(erase(one, admin, erasing("ann")))
        meanwhile: list[int] = []
        while not erasure.done():
            meanwhile += await say(5)
        await erasure

        async def is_known() -> bool:
            return (await read(bob, group))[before[0]].content.erased

        await eventually(is_known)  # the other process hears of it a moment later
        last = (await say(5))[-1]
        await listening.until(lambda it: bool(it.versions(group)) and it.versions(group)[-1] >= last)
        assert listening.versions(group) == list(range(1, last + 1))
        for user in (bob, one.user("bob")):
            found = {event.version: event.message for event in await watched(user.watch(group), last)}
            assert list(found) == list(range(1, last + 1))
            assert all(found[version].erased and not found[version].text for version in before)
            # What was said meanwhile is there whole, or erased, and nothing between.
            assert all(found[version].erased != bool(found[version].text) for version in meanwhile)
        await talk.call.done_writing()
        await listening.call.done_writing()

        async def heard() -> bool:
            version = await ann.send(group, "after all")
            return (await read(bob, group, version))[version].content.text == "after all"

        await eventually(heard)
