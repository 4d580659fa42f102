"""Fixtures that every kind of test shares."""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from services.standalone.cassandra import Distribution, NoCassandra
from tests.servers import CassandraCluster, CassandraServer, NatsServer

if TYPE_CHECKING:
    from tests.keyspaces import Keyspaces
    from tests.shared_server import CqlServer

# A slow moment of a busy machine is no finding.
settings.register_profile("tradewind", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("tradewind")

# Where the tests were started in a shell's background, Ctrl-C is ignored, by every program that they start too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The CQL driver waits a second for its thread when the interpreter ends, and what it says of that is no part of a report.
logging.getLogger("cassandra").addHandler(logging.NullHandler())

# Set, a test that would be skipped for want of Java or Maven fails.
REQUIRE_CQL = os.environ.get("TRADEWIND_REQUIRE_CQL") == "1"
CQL_TEST_SECONDS = 600
STORY_SECONDS = 900
LONGEST = ("tests/e2e/", "tests/drills/")
RECORDED_DATA = Path(os.environ.get("TRADEWIND_DATA") or Path(__file__).parents[2] / "shared" / "data")


# Their tests share servers that are started once a module.
SHARING = frozenset(
    {
        "tests/e2e/test_cluster.py",
        "tests/e2e/test_journey.py",
        "tests/e2e/test_standalone.py",
        "tests/integration/test_chat_attachment_attacks.py",
        "tests/integration/test_chat_attachment_client.py",
        "tests/integration/test_chat_attachment_links.py",
        "tests/integration/test_chat_attachment_sealed.py",
        "tests/integration/test_chat_attachment_sweep.py",
        "tests/integration/test_chat_attachments.py",
        "tests/integration/test_security_words.py",
    }
)


class _Together(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that share servers go to one worker, every other one to whichever is free.

    The groups of pytest-xdist 3.8 would be the way to say so; on pytest 9 they do not hold.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in SHARING else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Says which worker runs what, where there are several."""
    return _Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests on a CQL server, and stories, the time that a busy machine may take for them; what takes longest begins first."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            if item.nodeid.startswith("tests/e2e/"):
                item.add_marker(pytest.mark.timeout(STORY_SECONDS))
            elif "cassandra" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.timeout(CQL_TEST_SECONDS))
    # Else one worker would end with a long group while the other has nothing left to do.
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


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
def cassandra() -> None:
    """Cassandra can be run here; skips, or where it is required fails, with the reason why not."""
    try:
        Distribution.fetch()
    except NoCassandra as error:
        if REQUIRE_CQL:
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cql_server(cassandra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator["CqlServer"]:
    """A real CQL server of one node, shared by all tests of all workers: use keyspaces of your own.

    The first to ask waits 5 s for it. A keyspace with its tables takes about 0.2 s: make one a module, and tenants for its tests.
    """
    from tests.shared_server import shared_cql_server  # needs a system that the server runs on

    base = tmp_path_factory.getbasetemp()
    with shared_cql_server((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cql") as server:
        yield server


@pytest.fixture(scope="session")
def keyspaces(cql_server: "CqlServer") -> Iterator["Keyspaces"]:
    """Keyspaces on the shared server, this worker's own: with all tables, and empty when they are taken."""
    from tests.keyspaces import Keyspaces

    made = Keyspaces(cql_server)
    yield made
    made.close()


@pytest.fixture
def own_cql_server(cassandra: None, tmp_path: Path) -> Iterator[CassandraServer]:
    """A real CQL server of this test alone, running; it may be killed, paused, restarted and wiped. Takes 5 s to start."""
    cluster = CassandraCluster(tmp_path / "cql", 1)
    try:
        cluster.start()
        yield cluster.servers[0]
    finally:
        cluster.stop()
        cluster.wipe()


@pytest.fixture
def own_cql_cluster(cassandra: None, tmp_path: Path) -> Iterator[CassandraCluster]:
    """Three CQL nodes of this test alone, running and one. They take 10 to 20 s and 2 GB: give the test the time by its mark."""
    cluster = CassandraCluster(tmp_path / "cql", 3)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        cluster.wipe()


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded chats and invoices beside the tree (or TRADEWIND_DATA); skips where it is not there."""
    if not RECORDED_DATA.is_dir():
        pytest.skip("no recorded data beside the tree; TRADEWIND_DATA names another folder")
    return RECORDED_DATA
