"""The inbox of two processes of Chat as they are run, one of which is killed."""

from __future__ import annotations

from pathlib import Path

from tests.integration.inbox_world import Reader, mark, say
from tests.integration.test_chat_processes import pair
from tests.servers import NatsServer


async def test_who_was_on_a_killed_process_finds_the_same_list_at_the_other(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    async with pair(own_nats_server.url, tmp_path) as (one, other):
        ada, bob = one.member("ada"), one.member("bob")
        names = [(await ada.create_group("bob")).conversation_id for _ in range(3)]
        before, meanwhile = Reader(bob).watch(), Reader(other.member("bob")).watch()
        for name in names[:2]:
            await say(ada, name, mentions=["bob"])
        for shown in (before, meanwhile):
            await shown.until(lambda shown: shown.order == [names[1], names[0], names[2]])
            await shown.until(lambda shown: shown.totals.mention_count == 2)
        await one.kill()
        ada = other.member("ada")
        last = await say(ada, names[2])
        await mark(other.member("bob"), names[0], last)
        await meanwhile.until(lambda shown: shown.order[0] == names[2] and shown.unread(names[0]) == (0, 0))
        after = Reader(other.member("bob")).watch()
        await after.until(lambda shown: len(shown.entries) == 3)
        assert after.entries == meanwhile.entries
        assert after.totals == meanwhile.totals
        assert (after.totals.unread_count, after.totals.mention_count) == (2, 1)
        for shown in (meanwhile, after):
            shown.call.cancel()
