"""Every contract test runs on every store."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.ledger.archive import Archive
from tests.contract.stores import ADAPTERS, Opener, open_sqlite
from tests.keyspaces import Keyspaces
from tests.simulation.alone import SimulatedStores


@pytest.fixture
def sqlite_opener() -> Opener:
    """Stores in files."""
    return open_sqlite


@pytest.fixture
def cql_opener(keyspaces: Keyspaces) -> Iterator[Opener]:
    """Stores in keyspaces of a real server."""
    yield keyspaces.open
    keyspaces.give_back()


@pytest.fixture
def simulated_opener() -> Opener:
    """Stores of three copies, as the simulation has them."""
    return SimulatedStores().open


@pytest.fixture(params=list(ADAPTERS.values()), ids=list(ADAPTERS))
def opener(request: pytest.FixtureRequest) -> Opener:
    """How to open a store."""
    chosen: Opener = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
async def archive(opener: Opener, tmp_path: Path) -> AsyncIterator[Archive]:
    """An empty store."""
    opened = await opener(tmp_path / "store")
    yield opened
    await opened.close()
