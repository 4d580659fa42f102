"""The journey on a cluster, as `make run CLUSTER=1 ONCE=1` plays it."""

import sys
from pathlib import Path

import pytest

from tests.e2e.standalone_world import Standalone

pytestmark = [
    pytest.mark.xdist_group("standalone-own"),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no Envoy for Windows"),
]


def test_the_journey_survives_a_process_of_each_kind(tmp_path: Path) -> None:
    cluster = Standalone(tmp_path / "home", cluster="sqlite")
    try:
        cluster.start("--once")
        for step, child in ((1, "order-1"), (2, "chat-2"), (3, "mail-1"), (4, "payments-2"), (5, "inbox-1")):
            cluster.shows(f"✓  {step}. ")
            cluster.kill(child)
        code = cluster.ends(100)
        assert code == 0, cluster.screen
        assert "✓  7. " in cluster.screen
    finally:
        cluster.end()
