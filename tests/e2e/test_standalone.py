"""One command starts everything, and nothing of it is lost or left behind."""

import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.standalone.ports import HOST
from tests.e2e.standalone_world import CHILDREN, Standalone

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="these tests send POSIX signals"),
]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Standalone, str]]:
    """A standalone that has played one journey and ended, and what its screen showed then."""
    made = Standalone(tmp_path_factory.mktemp("lived") / "home")
    made.play()
    yield made, made.screen
    made.end()


@pytest.fixture
def lived(played: tuple[Standalone, str]) -> Iterator[Standalone]:
    """It rests, and may be started again on all that it has: four orders of each of its journeys."""
    yield played[0]
    played[0].end()


def test_once_plays_every_step_and_leaves_nothing_running(played: tuple[Standalone, str]) -> None:
    lived, screen = played
    for step in range(1, 8):
        assert f"✓  {step}. " in screen
    assert "✗" not in screen
    assert not lived.home.journey.exists()
    lived.nothing_is_left()


async def test_a_terminating_signal_drains_and_the_next_start_goes_on(lived: Standalone) -> None:
    lived.start()
    lived.serves()
    orders = await lived.json("order", "list", "--shop", "shop")
    assert len({order["order_id"] for order in orders}) == len(orders) == 4 * lived.journeys
    assert lived.running() >= set(CHILDREN)
    assert lived.interrupt() == 0
    assert "Drained" in lived.screen
    assert "was killed" not in lived.screen
    lived.nothing_is_left()


def test_a_folder_in_use_is_refused_in_one_line(own_standalone: Standalone, tmp_path: Path) -> None:
    held = own_standalone.home.open()
    try:
        own_standalone.start("--once")
        assert own_standalone.ends() == 2
    finally:
        held.release()
    line = own_standalone.screen.strip()
    assert "\n" not in line
    assert f"in use by process {os.getpid()}" in line
    assert "TRADEWIND_HOME" in line


@pytest.mark.parametrize("offset", [0, 2, 6])
def test_a_taken_port_is_one_line(own_standalone: Standalone, offset: int) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, own_standalone.port + offset))
        taken.listen()
        own_standalone.start("--once")
        assert own_standalone.ends() == 2
    line = own_standalone.screen.strip()
    assert "\n" not in line
    assert f"port {own_standalone.port + offset} " in line
    assert "TRADEWIND_PORT" in line


@pytest.mark.parametrize(("name", "value"), [("TRADEWIND_PORT", "high"), ("TRADEWIND_LOG_LEVEL", "loud")])
def test_a_bad_setting_is_one_line(own_standalone: Standalone, name: str, value: str) -> None:
    own_standalone.start("--once", **{name: value})
    assert own_standalone.ends() == 2
    assert own_standalone.screen.strip().startswith(f"{name}: ")
    assert own_standalone.screen.count("\n") == 1


def test_secrets_are_readable_by_their_owner_only(standalone: Standalone) -> None:
    home = standalone.home
    for path in [home.credentials, home.run / "nats.conf", *home.keys.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_no_secret_or_address_is_in_logs_or_traces(standalone: Standalone) -> None:
    home = standalone.home
    secrets = [
        (home.keys / name).read_bytes().strip()
        for name in ("nats.token", "tracking.key", "persons.key", "attachments.key")
    ]
    secrets += [b"ann@", b"Bearer ", b"eyJ", b"before six", b"bicycle", b"pm_visa", b"PRIVATE KEY"]
    for path in [*home.logs.iterdir(), *home.traces.iterdir()]:
        said = path.read_bytes()
        assert [secret for secret in secrets if secret in said] == [], path.name


async def test_a_lost_log_loses_nothing_that_was_acknowledged(lived: Standalone) -> None:
    shutil.rmtree(lived.home.log)
    lived.start()
    lived.serves()
    orders = await lived.json("order", "list", "--shop", "shop")
    assert len(orders) == 4 * lived.journeys
    for order in orders:
        said = await lived.json("chat", "history", f"order-{order['order_id']}")
        assert said
    # And the new life of the log takes what comes.
    [item] = await lived.json("--as", "shop", "stock", "adjust", "after-the-flood", "3")
    assert item["available"] in (3, "3")


def test_a_lost_store_is_refused_with_one_line_that_says_why(lived: Standalone, tmp_path: Path) -> None:
    lost = list(lived.home.archive.glob("order.db*"))
    for file in lost:
        file.rename(tmp_path / file.name)
    try:
        lived.start("--once")
        assert lived.ends() == 2
    finally:
        for file in lived.home.archive.glob("order.db*"):
            file.unlink()
        for file in lost:
            (tmp_path / file.name).rename(file)
    [why] = [line for line in lived.screen.splitlines() if line.startswith("order ended")]
    assert "restore the store; see " in why
    assert "{" not in why


def test_a_killed_supervisor_takes_its_children_along(lived: Standalone) -> None:
    lived.start()
    lived.serves()
    lived.process.send_signal(signal.SIGKILL)
    lived.ends()
    lived.nothing_is_left()
