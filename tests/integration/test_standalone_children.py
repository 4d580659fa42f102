"""Standalone's folder, ports and children: real processes that die in every way."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from services.standalone import output
from services.standalone.child import Child, ChildFailed, Program
from services.standalone.fleet import Fleet
from services.standalone.home import Home, HomeInUse, HomeUnusable
from services.standalone.lock import holder_of, try_lock
from services.standalone.ports import COUNT, HOST, Ports, PortTaken

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these tests send POSIX signals")

SLEEPER = "import time, sys; print('begun', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); time.sleep(600)"


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what another process does, which nothing here tells of."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.open().release()
    return made


def program(home: Home, name: str, code: str, stage: int = 0) -> Program:
    async def begun() -> bool:
        log = home.logs / f"{name}.jsonl"
        return log.exists() and "begun" in log.read_text()

    return Program(name, (sys.executable, "-c", code), begun, stage)


@pytest.fixture
async def make_fleet(home: Home) -> AsyncIterator[Callable[..., Fleet]]:
    fleets: list[Fleet] = []

    def make(*programs: Program, tell: Callable[[str], None] = lambda _: None) -> Fleet:
        fleets.append(Fleet(programs, home, tell))
        return fleets[-1]

    yield make
    for fleet in fleets:
        await fleet.end()


def test_a_folder_is_one_standalones_at_a_time(home: Home) -> None:
    held = home.open()
    with pytest.raises(HomeInUse, match=rf"in use by process {os.getpid()}.*TRADEWIND_HOME"):
        home.open()
    held.release()
    home.open().release()


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeUnusable, match="cannot be used"):
        Home(tmp_path / "file" / "home").open()


def test_a_taken_port_is_named_with_what_to_set() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        first = min(port - 2, 65_535 - COUNT)
        with pytest.raises(PortTaken, match=r"port \d+ \([a-z-]+\) is taken.*TRADEWIND_PORT.*such as \d+") as raised:
            Ports(first).require_free()
        assert "\n" not in str(raised.value)


async def test_a_child_that_dies_is_started_again_and_people_are_told(
    home: Home, make_fleet: Callable[..., Fleet]
) -> None:
    told: list[str] = []
    fleet = make_fleet(program(home, "one", SLEEPER), tell=told.append)
    ready: list[str] = []
    await fleet.start(ready.append)
    assert ready == ["one"]
    first = fleet.pids["one"]
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: fleet.pids["one"] not in (None, first))
    assert told == ["one ended (signal 9); starting it again"]


async def test_a_child_that_served_and_ends_by_itself_says_why(home: Home, make_fleet: Callable[..., Fleet]) -> None:
    told: list[str] = []
    code = "import sys, time; print('begun', flush=True); time.sleep(0.3); sys.exit('restore the store')"
    fleet = make_fleet(program(home, "one", code), tell=told.append)
    await fleet.start(lambda _: None)
    await until(lambda: bool(told))
    assert re.fullmatch(r"one ended \(exit code 1\): restore the store; see .*one\.jsonl; starting it again", told[0])


async def test_a_child_that_cannot_start_says_why_in_one_line(home: Home, make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(program(home, "one", "import sys; sys.exit('TRADEWIND_COLOUR: must be blue')"))
    with pytest.raises(
        ChildFailed, match=r"one ended \(exit code 1\): TRADEWIND_COLOUR: must be blue; see .*one\.jsonl"
    ):
        await fleet.start(lambda _: None)


async def test_a_child_whose_settings_are_bad_is_not_tried_again(home: Home, make_fleet: Callable[..., Fleet]) -> None:
    code = "import sys, time; print('begun', flush=True); time.sleep(0.2); sys.exit(2)"
    fleet = make_fleet(program(home, "one", code))
    await fleet.start(lambda _: None)
    with pytest.raises(ChildFailed, match="exit code 2"):
        await asyncio.wait_for(fleet.failure(), 60)


async def test_children_end_by_stages(home: Home, make_fleet: Callable[..., Fleet]) -> None:
    last_words = "import signal, sys, time\n"
    last_words += (
        "signal.signal(signal.SIGTERM, lambda *_: (print('ended', time.monotonic_ns(), flush=True), sys.exit(0)))\n"
    )
    last_words += "print('begun', flush=True)\ntime.sleep(600)\n"
    fleet = make_fleet(program(home, "ground", last_words, 0), program(home, "house", last_words, 1))
    await fleet.start(lambda _: None)
    await fleet.end()
    ends = {name: int((home.logs / f"{name}.jsonl").read_text().split()[-1]) for name in ("ground", "house")}
    assert ends["house"] < ends["ground"]


async def test_a_deaf_child_is_killed_in_bounded_time(home: Home, make_fleet: Callable[..., Fleet]) -> None:
    told: list[str] = []
    child = Child(program(home, "deaf", DEAF), home, told.append)
    await child.start()
    await child.wait_ready()
    await child.end(0.2)
    assert child.pid is None
    assert told == ["deaf did not end within 0 s and was killed"]


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from services.standalone.child import Program
from services.standalone.fleet import Fleet
from services.standalone.home import Home
async def ready(): return True
async def main():
    home = Home(Path(sys.argv[1]))
    lock = home.open()
    fleet = Fleet([Program("one", (sys.executable, "-c", "import time; time.sleep(600)"), ready)], home, print)
    await fleet.start(lambda _: None)
    print(fleet.pids["one"], flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the guard watches a pipe; see below")
async def test_no_child_outlives_a_killed_supervisor(home: Home) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(home.root)], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        while not (line := await asyncio.to_thread(supervisor.stdout.readline)).strip().isdecimal():
            pass  # what it logs
        child = psutil.Process(int(line))
        supervisor.kill()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    home.open().release()


async def test_where_the_kernel_does_not_tell_the_end_of_the_pipe_does(home: Home) -> None:
    lock_file = home.run / "one.lock"
    command = [sys.executable, "-m", "services.standalone.guard", "watch", str(lock_file), "0"]
    with subprocess.Popen(
        [*command, sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as guard:
        assert guard.stdin is not None
        assert guard.stdout is not None
        assert await asyncio.to_thread(guard.stdout.readline) == b"begun\n"
        pid = holder_of(lock_file)
        assert pid is not None
        assert pid != guard.pid
        child = psutil.Process(pid)
        guard.stdin.close()
        await asyncio.to_thread(guard.wait, 60)
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_what_an_earlier_run_left_behind_is_ended_before_the_next(home: Home) -> None:
    lock_file = home.run / "one.lock"
    command = [sys.executable, "-m", "services.standalone.guard", "exec", str(lock_file), str(os.getpid())]
    with subprocess.Popen([*command, sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as left:
        assert left.stdout is not None
        await asyncio.to_thread(left.stdout.readline)
        assert try_lock(lock_file) is None
        begun = time.monotonic()
        await asyncio.to_thread(home.end_stale_children)
        assert time.monotonic() - begun < 60  # it sleeps for ten minutes
        assert left.wait(60) == -signal.SIGKILL
    lock = try_lock(lock_file)
    assert lock is not None
    lock.release()


async def test_a_guard_whose_parent_is_gone_runs_nothing(home: Home) -> None:
    command = [sys.executable, "-m", "services.standalone.guard", "exec", str(home.run / "one.lock"), "1"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, sys.executable, "-c", SLEEPER], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (76, b"")


async def test_logs_are_kept_within_bounds(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_MAX_BYTES", 10_000)
    monkeypatch.setattr(output, "_CHUNK_BYTES", 1000)
    path = home.logs / "loud.jsonl"
    loud = output.Output(path)
    writing = loud.begin()
    for number in range(40):
        os.write(writing, f"{number:0999}\n".encode())
    os.close(writing)
    await asyncio.to_thread(loud.finish)
    assert path.stat().st_size <= 10_000
    assert path.with_name("loud.1.jsonl").stat().st_size <= 10_000
    assert loud.last_line() == f"{39:0999}"


async def test_the_last_line_is_an_error_of_this_run(home: Home) -> None:
    path = home.logs / "told.jsonl"
    path.write_text('{"event": "cannot_start", "level": "error", "reason": "of an earlier run"}\n', encoding="utf-8")
    told = output.Output(path)
    assert await _said(told, '{"event": "nats_closed", "level": "info"}\n') == ""
    error = '{"reason": "restore the store", "event": "cannot_start", "level": "error"}\n'
    assert await _said(told, error + '{"event": "nats_closed", "level": "info"}\n') == "cannot_start: restore the store"
    assert await _said(told, "TRADEWIND_X: bad\n\n") == "TRADEWIND_X: bad"


async def _said(told: output.Output, text: str) -> str:
    writing = told.begin()
    os.write(writing, text.encode())
    os.close(writing)
    await asyncio.to_thread(told.finish)
    return told.last_line()
