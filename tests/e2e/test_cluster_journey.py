"""The journey on a cluster, as `make run CLUSTER=1 ONCE=1` plays it."""

import sys
from pathlib import Path

import pytest

from tests.e2e.standalone_world import Standalone

pytestmark = [
    pytest.mark.xdist_group("standalone-own"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no Envoy for Windows"),
]

STARTED = 240.0
PLAYED = 240.0


@pytest.mark.timeout(900)
def test_the_journey_survives_a_process_of_each_kind(tmp_path: Path) -> None:
    cluster = Standalone(tmp_path / "home", cluster="sqlite")
    try:
        cluster.start("--once")
        for step, child in ((1, "order-1"), (2, "chat-2"), (3, "mail-1"), (4, "payments-2"), (5, "inbox-1")):
            cluster.shows(f"✓  {step}. ")
            cluster.kill(child)
        code = cluster.ends(PLAYED)
        assert code == 0, cluster.screen
        assert "✓  7. " in cluster.screen
    finally:
        cluster.end()


@pytest.mark.timeout(900)
def test_the_journey_survives_a_server_of_the_log_and_one_of_the_store(cassandra: None, tmp_path: Path) -> None:
    """`make run CLUSTER=1 ONCE=1`, as it stands."""
    cluster = Standalone(tmp_path / "home", cluster="cql")
    try:
        cluster.start("--once")
        cluster.shows("✓  1. ", STARTED)
        cluster.kill("cql-2")
        cluster.shows("✓  3. ", PLAYED)
        cluster.kill("nats-2")
        code = cluster.ends(PLAYED)
        assert code == 0, cluster.screen
        assert "✓  7. " in cluster.screen
        assert [file.name for file in cluster.home.archive.glob("*.db")] == ["payments.db"]
    finally:
        cluster.end()
