"""Processes of Mail share what a domain is to bear."""

from __future__ import annotations

import asyncio

import nats

from services.mail.domain import Lane
from services.mail.lanes import Lanes
from services.mail.peers import Peers
from tests.servers import NatsServer
from tests.tally import eventually


async def test_who_comes_and_goes_is_counted(own_nats_server: NatsServer) -> None:
    """One says goodbye, and one falls silent."""
    clients = [await nats.connect(own_nats_server.url) for _ in range(3)]
    peers = [Peers(client, every=0.1) for client in clients]
    try:
        await peers[0].open()
        assert peers[0].share(8) == 8
        for each in peers[1:]:
            await each.open()

        async def counts(*expected: int) -> bool:
            return tuple(each.count for each in peers[: len(expected)]) == expected

        await eventually(lambda: counts(3, 3, 3))
        assert [each.share(8) for each in peers] == [3, 3, 3]
        await peers[2].close()
        await eventually(lambda: counts(2, 2))
        await clients[1].close()
        await eventually(lambda: counts(1))
        assert peers[0].share(1) == 1
        await peers[0].close()
    finally:
        for client in clients:
            await client.close()


async def test_a_share_that_grows_lets_more_in() -> None:
    share = 1
    lanes = Lanes(under_way=4, waiting=100, share=lambda _whole: share)
    on = most = 0

    async def take() -> None:
        nonlocal on, most
        async with lanes.turn("a.example", Lane.BULK, 10.0):
            on += 1
            most = max(most, on)
            await asyncio.sleep(0.01)
            on -= 1

    await asyncio.gather(*(take() for _ in range(10)))
    assert most == 1
    waiting = [asyncio.create_task(take()) for _ in range(20)]
    await asyncio.sleep(0)
    share = 4
    await asyncio.gather(*waiting)
    assert most == 4
