"""What a part of a fleet can be made to suffer, and what becomes of it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services.standalone.child import START_AGAIN_EXIT_CODE, Child, Program
from services.standalone.fleet import Fleet
from services.standalone.home import Home

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these tests look at processes as Linux shows them")

SERVES = "import os, pathlib, time; pathlib.Path(os.environ['MARK']).write_text(str(os.getpid())); time.sleep(600)"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.open().release()
    return made


def program(home: Home, name: str, code: str = SERVES) -> Program:
    mark = home.run / f"{name}.mark"
    folder = home.root / name
    folder.mkdir()

    async def serves() -> bool:
        return mark.exists() and mark.read_text() != "" and psutil.pid_exists(int(mark.read_text()))

    return Program(name, (sys.executable, "-c", code), serves, environment={"MARK": str(mark)}, folder=folder)


@pytest.fixture
async def make_fleet(home: Home) -> AsyncIterator[Callable[..., Fleet]]:
    fleets: list[Fleet] = []

    def make(*programs: Program, tell: Callable[[str], None] = lambda _: None) -> Fleet:
        fleets.append(Fleet(programs, home, tell))
        return fleets[-1]

    yield make
    for fleet in fleets:
        await fleet.end()


async def started(make_fleet: Callable[..., Fleet], home: Home, **kwargs: object) -> Child:
    fleet = make_fleet(program(home, "one"), **kwargs)
    await fleet.start(lambda _: None)
    return fleet.child("one")


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what another process does, which nothing here tells of."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_part_is_found_by_its_name(make_fleet: Callable[..., Fleet], home: Home) -> None:
    fleet = make_fleet(program(home, "one"), program(home, "two"))
    assert fleet.names == ["one", "two"]
    assert fleet.child("two").name == "two"
    with pytest.raises(KeyError):
        fleet.child("three")


async def test_what_was_killed_comes_back_by_itself(make_fleet: Callable[..., Fleet], home: Home) -> None:
    one = await started(make_fleet, home)
    before = one.pid
    await one.kill()
    await until(lambda: one.pid not in (None, before))
    assert one.restarts == 1


async def test_what_was_killed_to_rest_rests_until_it_is_started(make_fleet: Callable[..., Fleet], home: Home) -> None:
    told: list[str] = []
    one = await started(make_fleet, home, tell=told.append)
    await one.kill(restart=False)
    await asyncio.sleep(0.3)  # longer than the pause before a first new start
    assert one.pid is None
    await one.start()
    await one.wait_ready()
    assert one.restarts == 0
    assert told == []
    # And it is watched over again.
    before = one.pid
    await one.kill()
    await until(lambda: one.pid not in (None, before))


async def test_what_was_stopped_ends_in_order_and_rests(make_fleet: Callable[..., Fleet], home: Home) -> None:
    code = "import os, pathlib, signal, sys, time\n"
    code += "mark = pathlib.Path(os.environ['MARK'])\n"
    code += "signal.signal(signal.SIGTERM, lambda *_: (mark.with_suffix('.bye').write_text('bye'), sys.exit(0)))\n"
    code += "mark.write_text(str(os.getpid()))\ntime.sleep(600)"
    fleet = make_fleet(program(home, "one", code))
    await fleet.start(lambda _: None)
    await fleet.child("one").stop()
    assert fleet.child("one").pid is None
    assert (home.run / "one.bye").read_text() == "bye"


async def test_what_is_held_does_nothing_until_it_is_let_go(make_fleet: Callable[..., Fleet], home: Home) -> None:
    one = await started(make_fleet, home)
    assert one.pid is not None
    process = psutil.Process(one.pid)
    one.pause()
    await until(lambda: process.status() == psutil.STATUS_STOPPED)
    one.resume()
    await until(lambda: process.status() != psutil.STATUS_STOPPED)


async def test_what_is_held_can_be_ended_in_order(make_fleet: Callable[..., Fleet], home: Home) -> None:
    one = await started(make_fleet, home)
    one.pause()
    async with asyncio.timeout(40):
        await one.stop(grace=60)
    assert one.pid is None


async def test_a_new_start_is_told_what_was_set_meanwhile(make_fleet: Callable[..., Fleet], home: Home) -> None:
    one = await started(make_fleet, home)
    one.environment["MARK"] = str(home.run / "other.mark")
    await one.kill(restart=False)
    await one.start()
    await until((home.run / "other.mark").exists)


async def test_only_what_rests_is_wiped_and_its_folder_stays(make_fleet: Callable[..., Fleet], home: Home) -> None:
    one = await started(make_fleet, home)
    assert one.folder is not None
    (one.folder / "deep" / "er").mkdir(parents=True)
    (one.folder / "deep" / "er" / "file").write_text("kept")
    with pytest.raises(RuntimeError, match="one runs"):
        await one.wipe()
    assert (one.folder / "deep" / "er" / "file").exists()
    await one.stop()
    await one.wipe()
    assert list(one.folder.iterdir()) == []


async def test_a_child_that_wants_to_begin_anew_may(make_fleet: Callable[..., Fleet], home: Home) -> None:
    """However often, and before it ever served: its code says that there is nothing to mend."""
    code = "import os, pathlib, sys, time\n"
    code += "mark = pathlib.Path(os.environ['MARK'])\n"
    code += "tries = mark.with_suffix('.tries')\n"
    code += "tries.write_text((tries.read_text() if tries.exists() else '') + 'x')\n"
    code += f"len(tries.read_text()) < 3 and sys.exit({START_AGAIN_EXIT_CODE})\n"
    code += "mark.write_text(str(os.getpid()))\ntime.sleep(600)"
    fleet = make_fleet(program(home, "one", code))
    async with asyncio.timeout(60):
        await fleet.start(lambda _: None)
    assert fleet.child("one").restarts == 2


async def test_stages_begin_one_after_the_other(make_fleet: Callable[..., Fleet], home: Home) -> None:
    begun: list[str] = []
    fleet = make_fleet(replace(program(home, "upper"), stage=1), program(home, "lower"))
    upper = fleet.child("upper")

    def ready(name: str) -> None:
        begun.append(name)
        if name == "lower":
            assert upper.pid is None

    await fleet.start(ready, in_turn=True)
    assert begun == ["lower", "upper"]


async def test_a_part_can_be_added_once(make_fleet: Callable[..., Fleet], home: Home) -> None:
    fleet = make_fleet(program(home, "one"))
    await fleet.start(lambda _: None)
    two = program(home, "two")
    added = await fleet.add(two)
    assert added.pid is not None
    assert os.path.exists(f"/proc/{added.pid}")
    with pytest.raises(ValueError, match="there is a two already"):
        await fleet.add(two)
