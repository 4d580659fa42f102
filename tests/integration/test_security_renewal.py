"""A stream that its token's expiry ends goes on with a fresh token, at exactly the place where it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tradewind.sdk import Client, Unauthenticated

from services.runtime.tokens import Signer
from tests.integration.chat_world import TENANT, chat_world
from tests.servers import NatsServer

SECONDS = 2


class Provider:
    """Gives a token that is good for moments, a new one when it is old; and counts them."""

    def __init__(self, signer: Signer, user_id: str) -> None:
        self.minted = 0
        self._signer, self._user_id = signer, user_id
        self._token, self._until = "", 0.0

    def __call__(self) -> str:
        now = asyncio.get_running_loop().time()
        if now > self._until:
            self.minted += 1
            self._token = self._signer.mint(self._user_id, TENANT, ["customer"], ttl=SECONDS)
            self._until = now + SECONDS / 4
        return self._token


async def test_streams_go_on_with_a_fresh_token(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, auth_leeway=0) as chat:
        ann, bob = Provider(chat.signer, "ann"), Provider(chat.signer, "bob")
        target = f"127.0.0.1:{chat.server.port}"
        async with Client(target, ann) as speaker, Client(target, bob) as listener:
            name = (await speaker.chat.create_group(["bob"])).conversation_id
            said = [1]

            async def watch() -> list[int]:
                versions = []
                async for event in listener.chat.watch(name):
                    versions.append(event.version)
                    if event.message.text == "goodbye":
                        break
                return versions

            async def hear() -> list[int]:
                versions = []
                async with listener.chat.converse() as session:
                    session.subscribe(name)
                    async for _, event in session:
                        versions.append(event.version)
                        if event.message.text == "goodbye":
                            break
                return versions

            async with asyncio.timeout(60):
                readers = [asyncio.create_task(watch()), asyncio.create_task(hear())]
                async with speaker.chat.converse() as session:
                    while ann.minted < 3 or bob.minted < 4:
                        said.append(await session.send(name, "hello"))
                        await asyncio.sleep(0.02)
                    said.append(await session.send(name, "goodbye"))
                heard = [await reader for reader in readers]
            assert said == list(range(1, len(said) + 1))
            assert heard == [said, said]


async def test_a_stream_with_one_token_ends_with_it(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, auth_leeway=0) as chat:
        token = chat.signer.mint("ann", TENANT, ["customer"], ttl=2 * SECONDS)
        async with Client(f"127.0.0.1:{chat.server.port}", token) as client:
            name = (await client.chat.create_group(["bob"])).conversation_id
            with pytest.raises(Unauthenticated):
                async with asyncio.timeout(60):
                    async for _ in client.chat.watch(name):
                        pass


async def test_a_token_that_never_verifies_is_not_tried_for_ever(own_nats_server: NatsServer, tmp_path: Path) -> None:
    asked = 0

    def forged() -> str:
        nonlocal asked
        asked += 1
        return "e30.e30.e30"

    async with (
        chat_world(own_nats_server.url, tmp_path) as chat,
        Client(f"127.0.0.1:{chat.server.port}", forged) as client,
    ):
        with pytest.raises(Unauthenticated):
            async with asyncio.timeout(60):
                async for _ in client.chat.watch("anything"):
                    pass
    assert 2 <= asked <= 4
