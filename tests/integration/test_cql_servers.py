"""The CQL servers the other tests stand on do what those tests rely on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import DCAwareRoundRobinPolicy, FallthroughRetryPolicy

from tests.shared_server import CqlServer

pytestmark = pytest.mark.timeout(600)


@contextmanager
def session(contact_points: Sequence[str]) -> Iterator[Session]:
    """A client of the nodes."""
    addresses = [point.rpartition(":") for point in contact_points]
    profile = ExecutionProfile(
        DCAwareRoundRobinPolicy("dc1"),
        FallthroughRetryPolicy(),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=30,
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
        server.wait(60)
        psutil.wait_procs(processes_of(tmp_path, "tests.shared_server"), timeout=60)
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
        server.wait(60)


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
