"""The journey on a cluster, as `make run CLUSTER=1 ONCE=1` plays it."""

import sys
from pathlib import Path

import pytest

from tests.e2e.standalone_world import Standalone

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no Envoy for Windows"),
]

STARTED = 240.0
PLAYED = 240.0


# Who is killed when: of each kind a process, of the store and of the log a server.
_KILLED = {
    "✓  1. ": ("order-1", "cql-2"),
    "✓  2. ": ("chat-2",),
    "✓  3. ": ("mail-1", "nats-2"),
    "✓  4. ": ("payments-2",),
    "✓  5. ": ("inbox-1",),
}


def test_the_journey_survives_a_process_of_each_kind_and_servers_of_log_and_store(
    cassandra: None, tmp_path: Path
) -> None:
    """`make run CLUSTER=1 ONCE=1`, as it stands."""
    cluster = Standalone(tmp_path / "home", cluster="cql")
    try:
        cluster.start("--once")
        for moment, parts in _KILLED.items():
            cluster.shows(moment, STARTED)
            for part in parts:
                cluster.kill(part)
        code = cluster.ends(PLAYED)
        assert code == 0, cluster.screen
        assert "✓  7. " in cluster.screen
        assert [file.name for file in cluster.home.archive.glob("*.db")] == ["payments.db"]
    finally:
        cluster.end()
