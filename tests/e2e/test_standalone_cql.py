"""`make run STORE=cql`: the same journey, remembered by a CQL server that may die in the middle."""

import sys
import time
from pathlib import Path

import pytest

from services.standalone.home import Home
from services.standalone.ports import COUNT
from tests.e2e.standalone_world import Standalone
from tests.ports import free_ports

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Apache Cassandra does not run on Windows"),
    pytest.mark.timeout(600),
]

SECONDS = 240.0


class OnCql(Standalone):
    """A standalone whose services remember in CQL."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.home = Home(root / "cql")
        self.port = free_ports(COUNT + 2)
        self._kind = ["--store", "cql"]

    async def orders(self) -> list[str]:
        """The orders of the journeys, as soon as the store says them."""
        until = time.monotonic() + SECONDS
        while (done := await self.command("--json", "order", "list", "--shop", "shop")).returncode != 0:
            assert "STORE_UNAVAILABLE" in done.stdout
            assert time.monotonic() < until, self.screen
        return done.stdout.splitlines()


async def test_the_journey_on_cql_outlives_the_store_and_the_run(cassandra: None, tmp_path: Path) -> None:
    standalone = OnCql(tmp_path / "zweite Törn")
    try:
        standalone.start()
        standalone.serves(SECONDS)
        assert "✗" not in standalone.screen
        simulators = {"payments.db", "push.db"}
        assert {file.name for file in standalone.home.archive.glob("*.db")} == simulators

        standalone.kill("cql")
        standalone.shows("cql ended (signal 9); starting it again")
        assert len(await standalone.orders()) == 4
        assert standalone.interrupt() == 0
        standalone.nothing_is_left()

        # All of it is still there, and takes what comes: four orders of each journey.
        standalone.start()
        standalone.serves(SECONDS)
        assert len(await standalone.orders()) == 8
    finally:
        standalone.end()


def test_without_java_one_line_says_what_is_missing(tmp_path: Path) -> None:
    standalone = OnCql(tmp_path / "home")
    standalone.start("--once", JAVA_HOME=str(tmp_path))
    assert standalone.ends() == 2
    assert standalone.screen == "a CQL server needs Java 17 and Maven; there is no java in JAVA_HOME\n"
