"""What every store must do for servers that share it, come and go: epochs, positions, scans, opening and closing."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from services.ledger.archive import Archive, Head, Position
from services.ledger.errors import StoreUnavailable
from tests.contract.stores import KEY, Opener, store_run, write


async def test_a_position_never_goes_back(archive: Archive) -> None:
    for given_position, expected in (
        (Position(100, 110), Position(100, 110)), (Position(100, 105), Position(100, 110)),
        (Position(200, 199), Position(200, 199)), (Position(100, 900), Position(200, 199)),
        (Position(200, 210), Position(200, 210)),
    ):  # fmt: skip
        await archive.put_position("saga", "order", 1, given_position)
        assert await archive.position("saga", "order", 1) == expected
    assert await archive.position("saga", "order", 0) is None
    assert await archive.position("mail", "order", 1) is None
    assert await archive.position("saga", "chat", 1) is None


async def test_the_highest_epoch_wins(archive: Archive) -> None:
    assert await archive.epoch("chat") is None
    assert await archive.register_epoch("chat", 100) == 100
    assert await archive.register_epoch("chat", 99) == 100
    assert await archive.register_epoch("chat", 200) == 200
    assert await archive.register_epoch("chat", 200) == 200
    assert await archive.epoch("chat") == 200
    assert await archive.epoch("mail") is None


async def test_a_store_is_told_from_another(archive: Archive) -> None:
    assert await archive.identity() is None
    await archive.put_identity("first")
    assert await archive.identity() == "first"
    await archive.put_identity("restored")
    assert await archive.identity() == "restored"


async def test_servers_that_register_epochs_agree_in_the_end(opener: Opener, tmp_path: Path) -> None:
    """Every opened store is a server of its own."""
    servers = [await opener(tmp_path) for _ in range(4)]
    await asyncio.gather(*(s.register_epoch("chat", 10 + n) for n, s in enumerate(servers)))
    for server in servers:
        assert await server.epoch("chat") == 13
        await server.close()


async def test_of_processes_that_register_an_epoch_the_highest_wins(tmp_path: Path) -> None:
    """The embedded default may be shared by processes."""
    program = (
        "import asyncio, pathlib, sys\n"
        "from services.ledger.sqlite import SqliteArchive\n"
        "async def main():\n"
        "    archive = SqliteArchive.open(pathlib.Path(sys.argv[1]))\n"
        "    print(await archive.register_epoch('chat', int(sys.argv[2])))\n"
        "    await archive.close()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    servers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(tmp_path / "a.db"), str(10 + n), cwd=root,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "clients" / "python")])},
            stdout=asyncio.subprocess.PIPE,
        )
        for n in range(3)
    ]  # fmt: skip
    answers = [int((await server.communicate())[0]) for server in servers]
    assert all(answer >= 10 + n for n, answer in enumerate(answers))
    assert max(answers) == 12


async def test_two_servers_share_a_store(opener: Opener, tmp_path: Path) -> None:
    one, other = await opener(tmp_path), await opener(tmp_path)
    await asyncio.gather(*((one, other)[n % 2].store(write(1, 1, 100 + n, key=f"acme/tally/{n}")) for n in range(100)))
    for n in range(100):
        assert await (other, one)[n % 2].head(f"acme/tally/{n}") == Head(1, 100 + n)
    await one.close()
    await other.close()


async def test_what_was_answered_is_there_after_opening_again(opener: Opener, tmp_path: Path) -> None:
    first = await opener(tmp_path)
    stored = await store_run(first, [1, 2])
    await first.close()
    second = await opener(tmp_path)
    assert list((await second.load(KEY)).entries) == stored
    await second.close()


async def test_a_scan_gives_every_entry_above_a_sequence_once(archive: Archive) -> None:
    expected = []
    for n, key in enumerate(("acme/tally/a", "acme/tally/a:b", "acme/tally/b", "beta/tally/a")):
        stored = await store_run(archive, [1, 2, 1], key=key, seq=100 + 10 * n)
        expected += [(key, entry) for entry in stored if entry.seq > 105]
    for limit in (1, 2, 3, 100):
        found, place = [], ""
        while True:
            page = await archive.scan(after_seq=105, place=place, limit=limit)
            assert len(page.entries) <= limit
            found += list(page.entries)
            if not (place := page.next_place):
                break
        assert [key for n, (key, _) in enumerate(found) if not n or found[n - 1][0] != key] == list(dict(found))
        assert sorted(found, key=lambda pair: pair[0]) == expected  # which aggregate comes first is the store's affair


async def test_a_closed_store_says_so(archive: Archive) -> None:
    await archive.store(write(1, 1, 100))
    await archive.close()
    with pytest.raises(StoreUnavailable):
        await archive.store(write(2, 1, 101))
    with pytest.raises(StoreUnavailable):
        await archive.load(KEY)
    with pytest.raises(StoreUnavailable):
        await archive.row("t", "p", "k")


async def test_what_is_queued_is_done_before_closing(opener: Opener, tmp_path: Path) -> None:
    first = await opener(tmp_path)
    waiting = asyncio.gather(*(first.store(write(n, 1, 100 + n)) for n in range(1, 51)))
    await asyncio.sleep(0)
    await first.close()
    await waiting
    second = await opener(tmp_path)
    assert await second.head(KEY) == Head(50, 150)
    await second.close()
