"""The CQL servers the other tests stand on do what those tests rely on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from cassandra import ConsistencyLevel, ReadTimeout, Unavailable, WriteTimeout
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import DCAwareRoundRobinPolicy, FallthroughRetryPolicy

from tests.servers import CassandraCluster, CassandraServer, ServerFailed
from tests.shared_server import CqlServer

pytestmark = pytest.mark.timeout(600)

KEYSPACE = "CREATE KEYSPACE {} WITH replication = {{'class': 'NetworkTopologyStrategy', 'dc1': {}}}"
WRITE, READ = "INSERT INTO kept.things (id) VALUES (%s)", "SELECT id FROM kept.things"


@contextmanager
def session(contact_points: Sequence[str], level: int = ConsistencyLevel.LOCAL_QUORUM) -> Iterator[Session]:
    """A client of the nodes."""
    addresses = [point.rpartition(":") for point in contact_points]
    profile = ExecutionProfile(
        DCAwareRoundRobinPolicy("dc1"), FallthroughRetryPolicy(), consistency_level=level, request_timeout=30
    )
    driver = Cluster(
        [host for host, _, _ in addresses],
        port=int(addresses[0][2]),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        compression=False,
        control_connection_timeout=30,
        connect_timeout=30,
    )
    try:
        yield driver.connect()
    finally:
        driver.shutdown()


def make_table(client: Session, replication: int) -> None:
    client.execute(KEYSPACE.format("kept", replication))
    client.execute("CREATE TABLE kept.things (id int PRIMARY KEY)")


def test_what_was_answered_outlives_a_kill_but_not_a_wipe(own_cql_server: CassandraServer) -> None:
    point = own_cql_server.contact_point
    with session([point]) as client:
        make_table(client, 1)
        for number in range(50):
            client.execute(WRITE, [number])
        own_cql_server.kill()  # the very moment after the last answer
    own_cql_server.start()
    assert own_cql_server.contact_point == point
    with session([point]) as client:
        assert sorted(row.id for row in client.execute(READ)) == list(range(50))

    with pytest.raises(ServerFailed):
        own_cql_server.wipe()
    own_cql_server.pause()
    own_cql_server.kill()
    own_cql_server.wipe()
    own_cql_server.start()
    with session([point]) as client:
        kept = client.execute("SELECT * FROM system_schema.keyspaces WHERE keyspace_name = 'kept'")
        assert list(kept) == []


def _read_of_all(client: Session) -> list[Any]:
    """What all nodes answer together, as soon as the one that is asked knows that all are back."""
    until = time.monotonic() + 60.0
    while True:
        try:
            return list(client.execute(READ))
        except (ReadTimeout, Unavailable):
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def test_three_nodes_go_on_without_one_and_not_without_two(own_cql_cluster: CassandraCluster) -> None:
    first, second, third = own_cql_cluster.servers
    with session([first.contact_point]) as client:
        make_table(client, own_cql_cluster.replication)
        third.kill()
        for number in range(20):
            client.execute(WRITE, [number])
        second.kill()
        # By time at first, and at once when the nodes know of each other's end.
        with pytest.raises((WriteTimeout, Unavailable)):
            client.execute(WRITE, [1000])
    own_cql_cluster.start()
    with session([third.contact_point], ConsistencyLevel.ALL) as client:
        assert {row.id for row in _read_of_all(client)} >= set(range(20))


def test_all_who_ask_share_one_server(cql_server: CqlServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    with session(cql_server.contact_points) as client:
        assert client.execute("SELECT cluster_name FROM system.local").one() is not None


USER = """
import sys
from pathlib import Path
from tests.shared_server import shared_cql_server
with shared_cql_server(Path(sys.argv[1])) as server:
    print(*server.contact_points, flush=True)
    sys.stdin.read()
"""


def test_a_shared_server_lives_as_long_as_somebody_uses_it(cassandra: None, tmp_path: Path) -> None:
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(2)
    ]
    try:
        points = [user.stdout.readline().strip() for user in users if user.stdout is not None]
        assert points[0] == points[1] != ""
        [server] = processes_of(tmp_path, "CassandraDaemon")

        users[0].communicate()
        with session(points[:1]) as client:
            assert client.execute("SELECT release_version FROM system.local").one() is not None

        users[1].send_signal(signal.SIGKILL)
        server.wait(20)
        psutil.wait_procs(processes_of(tmp_path, "tests.shared_server"), timeout=20)
        assert processes_of(tmp_path, "tests.shared_server") == []
    finally:
        for user in users:
            user.kill()
            user.communicate()


def test_a_server_ends_with_whoever_started_it(cassandra: None, tmp_path: Path) -> None:
    starter = "import sys, pathlib, time\nfrom tests.servers import CassandraCluster\n"
    starter += "cluster = CassandraCluster(pathlib.Path(sys.argv[1]), 1)\n"
    starter += "cluster.servers[0].begin(); print(cluster.servers[0].pid, flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", starter, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        os.kill(owner.pid, signal.SIGKILL)
        server.wait(20)


def processes_of(folder: Path, program: str) -> list[psutil.Process]:
    """The processes of a program that are told of a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(program in word for word in words) and any(str(folder) in word for word in words):
            found.append(process)
    return found
