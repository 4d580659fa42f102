"""A process of Chat dies without a word, or leaves, or comes: nobody is forgotten, and whose client died with it fades."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.chat.presence.domain import State
from tests.integration.chat_world import key_file
from tests.integration.order_process import ServiceProcess
from tests.integration.presence_world import AWAY, BEAT, OFFLINE, ONLINE, Person, services
from tests.servers import NatsServer
from tests.tally import eventually

LEASE = 1.0
"""Seconds: shorter than the contract allows, as nobody waits ten seconds gladly."""


class ChatProcess(ServiceProcess):
    """``python -m services.chat``."""

    def __init__(self, nats_url: str, folder: Path) -> None:
        # The same log and store as the service inside the test.
        options = {"order_events": "false", "presence_beat": str(BEAT), "log_partitions": "2"}
        options |= {"store_file": str(folder / "chat.db"), "person_key_file": str(key_file(folder))}
        super().__init__("services.chat", folder, nats_urls=nats_url, **options)


async def all_are(person: Person, user_ids: list[str], state: int) -> bool:
    return {each.state for each in await person.get(*user_ids)} == {state}


async def test_a_process_dies_and_its_users_stay_as_long_as_their_leases_and_no_longer(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    people = [f"user-{number}" for number in range(40)]
    async with services(own_nats_server.url, tmp_path, 1) as (here,):
        process = ChatProcess(own_nats_server.url, tmp_path)
        try:
            await process.start()

            async def both() -> bool:
                return len(here.presence.roster.processes) == 2

            await eventually(both)
            bob = Person(here, "bob")
            watching = await bob.watch(people)
            await watching.complete()
            long, brief = people[:20], people[20:]
            await asyncio.gather(*(Person(here, user_id).report(ONLINE) for user_id in long))
            for user_id in long:
                await watching.until(user_id, ONLINE)
            await asyncio.gather(*(Person(here, user_id).report_briefly(State.ONLINE, LEASE) for user_id in brief))
            await process.kill()
            # About half of them were spoken for by the process that is gone.
            assert {each.state for each in await bob.get(*long)} == {ONLINE}
            await Person(here, people[0]).report(AWAY)
            await watching.until(people[0], AWAY)
            await eventually(lambda: all_are(bob, brief, OFFLINE))
            assert {each.state for each in await bob.get(*long[1:])} == {ONLINE}
            assert all(watching.now[user_id].state == ONLINE for user_id in long[1:])
        finally:
            await process.close()


async def test_who_comes_takes_over_what_is_held_and_who_leaves_hands_it_on(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    people = [f"user-{number}" for number in range(60)]
    async with services(own_nats_server.url, tmp_path, 1) as (here,):
        for user_id in people:
            await Person(here, user_id).report(ONLINE if user_id != "user-3" else OFFLINE)
        watching = await Person(here, "bob").watch(people)
        await watching.complete()
        async with services(own_nats_server.url, tmp_path, 2) as (one, other):
            for world in (one, other):
                states = {each.user_id: each.state for each in await Person(world, "bob").get(*people)}
                assert states == {user_id: ONLINE if user_id != "user-3" else OFFLINE for user_id in people}
            await Person(other, "user-3").report(AWAY)
            await watching.until("user-3", AWAY)
        (seen, quiet) = await Person(here, "bob").get("user-3", "user-4")
        assert (seen.state, quiet.state) == (AWAY, ONLINE)
        # Nobody was seen to flicker while homes moved to and fro.
        assert watching.changes("user-3") == [OFFLINE, AWAY]
        assert all(watching.changes(user_id) == [ONLINE] for user_id in people if user_id != "user-3")
