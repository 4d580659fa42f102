"""Fixtures of stories that run on a whole standalone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.standalone_world import Standalone


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A standalone that has played its journey and serves; shared by a worker's tests, so use names of your own."""
    made = Standalone(tmp_path_factory.mktemp("standalone"))
    made.start()
    try:
        made.serves()
        yield made
    finally:
        made.end()


@pytest.fixture
def own_standalone(tmp_path: Path) -> Iterator[Standalone]:
    """A standalone of this test alone, not yet started."""
    made = Standalone(tmp_path / "home")
    yield made
    made.end()
