"""Fixtures that every kind of test shares."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import NatsServer

# A slow moment of a busy machine is no finding.
settings.register_profile("tradewind", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("tradewind")

RECORDED_DATA = Path(os.environ.get("TRADEWIND_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A real nats-server, shared by all tests of one worker: leave it running, and use names of your own."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A real nats-server of this test alone, running; it may be killed, paused, restarted and wiped."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_nats_server(tmp_path: Path) -> Iterator[Callable[..., NatsServer]]:
    """Makes nats-servers of this test alone, not yet started, with configuration lines of their own."""
    made: list[NatsServer] = []

    def make(options: Sequence[str] = ()) -> NatsServer:
        made.append(NatsServer(tmp_path / f"nats{len(made)}", options))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded chats and invoices beside the tree (or TRADEWIND_DATA); skips where it is not there."""
    if not RECORDED_DATA.is_dir():
        pytest.skip("no recorded data beside the tree; TRADEWIND_DATA names another folder")
    return RECORDED_DATA
