"""Every contract test runs on every store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from services.ledger.archive import Archive
from tests.contract.stores import ADAPTERS


@pytest.fixture(params=list(ADAPTERS.values()), ids=list(ADAPTERS))
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    """An empty store."""
    opened: Archive = await request.param(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(params=list(ADAPTERS.values()), ids=list(ADAPTERS))
def opener(request: pytest.FixtureRequest) -> Callable[[Path], Awaitable[Archive]]:
    """How to open a store."""
    chosen: Callable[[Path], Awaitable[Archive]] = request.param
    return chosen
