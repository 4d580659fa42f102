"""The operator's command that makes the index of search anew, beside a Chat that runs."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from services.chat.config import ChatSettings
from services.chat.search import generations
from services.operate.__main__ import perform
from services.operate.place import opened
from services.standalone.home import Home
from services.standalone.keys import Keys
from tests.integration.chat_world import chat_world
from tests.integration.test_chat_search import indexed, places, searching, until
from tests.servers import NatsServer


async def operate(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Perform a command; its exit code and what it said."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        for name, value in environment.items():
            patch.setenv(name, value)
        return await perform(list(arguments)), said.getvalue()


async def test_the_index_is_made_anew_by_command(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with chat_world(own_nats_server.url, tmp_path, search="embedded") as world:
        environment = {
            "TRADEWIND_STORE_FILE": str(tmp_path / "chat.db"),
            "TRADEWIND_LOG_PARTITIONS": "2",
            "TRADEWIND_PERSON_KEY_FILE": str(world.settings.person_key_file),
        }
        ada = world.user("ada")
        where = (await ada.create_group("bob")).conversation_id
        version = await ada.send(where, "sealed, and found")
        await indexed(world, ada, where)
        before = generations.newest(tmp_path / "search")
        assert before is not None
        assert before.stat().st_size > 0

        code, said = await operate(environment, "rebuild-search")
        assert (code, "2 messages" in said) == (0, True), said
        assert generations.newest(tmp_path / "search") != before
        search = searching(world, ada)
        await until(lambda: search("sealed"), lambda answer: places(answer) == [(where, version)])
        # What is said from now on is found too: who follows the log has changed over.
        await indexed(world, ada, where)

        code, said = await operate(environment, "rebuild-search", "--service", "mail")
        assert (code, said) == (3, "mail has no search\n")


async def test_an_empty_store_has_nothing_to_search(tmp_path: Path) -> None:
    environment = {"TRADEWIND_STORE_FILE": str(tmp_path / "chat.db")}
    code, said = await operate(environment, "rebuild-search")
    assert (code, said) == (3, "the store is new: there is nothing to search\n")
    assert not (tmp_path / "search").exists()


async def test_a_standalone_is_opened_with_its_own_key_of_persons(tmp_path: Path) -> None:
    """Without it nothing that was said could be read, and no index be made anew."""
    home = Home(tmp_path / "home")
    home.open().release()
    keys = Keys(home.keys)
    keys.ensure()
    environment = {"TRADEWIND_HOME": str(home.root)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADEWIND_HOME", str(home.root))
        async with opened("chat", with_log=False) as place:
            settings = place.settings
            assert isinstance(settings, ChatSettings)
            assert settings.person_key_file == keys.persons
    assert await operate(environment, "rebuild-search") == (3, "the store is new: there is nothing to search\n")
    environment["TRADEWIND_HOME"] = str(tmp_path / "nowhere")
    assert await operate(environment, "status") == (3, f"there is no standalone in {tmp_path / 'nowhere'}\n")
