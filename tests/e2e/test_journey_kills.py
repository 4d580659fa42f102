"""Whatever is killed while the journey is under way, the journey comes to its end and every step holds."""

import re
import signal
import sys

import pytest

from tests.e2e.standalone_world import CHILDREN, Standalone

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="these tests send POSIX signals"),
]

# When each is killed: while what follows needs it.
_KILLED_AFTER = {
    "nats": ("✓  1. ", "✓  3. "),
    "payments": ("✓  1. ", "✓  5. "),
    "push": ("✓  1. ", "✓  3. "),
    "inbox": ("✓  3. ", "✓  5. "),
    "chat": ("✓  2. ", "✓  5. "),
    "order": ("✓  1. ", "✓  3. "),
    "mail": ("✓  3. ", "✓  4. "),
}


# Of whom in one and the same journey; the payments' spans must not be missed for another's.
_TOGETHER = (("payments",), ("nats", "chat", "inbox"), ("order", "mail", "push"))


def test_every_child_is_killed() -> None:
    assert sorted(child for together in _TOGETHER for child in together) == sorted(CHILDREN) == sorted(_KILLED_AFTER)


@pytest.mark.parametrize("together", _TOGETHER, ids="-".join)
def test_a_killed_child_comes_back_and_the_journey_completes(
    own_standalone: Standalone, together: tuple[str, ...]
) -> None:
    own_standalone.start("--once")
    killed: dict[str, set[int]] = {child: set() for child in together}
    for moment in sorted({moment for child in together for moment in _KILLED_AFTER[child]}):
        own_standalone.shows(moment)
        for child in together:
            if moment in _KILLED_AFTER[child]:
                killed[child].add(own_standalone.kill(child))
    code = own_standalone.ends()
    assert code == 0, own_standalone.screen
    assert "✓  7. " in own_standalone.screen
    if together == ("payments",):
        # It writes next to nothing into the trace itself; what waited for it must not have fallen out of the trace.
        assert "takes its latest spans along" not in own_standalone.screen
    for child, pids in killed.items():
        assert own_standalone.screen.count(f"{child} ended (signal 9); starting it again") == len(pids)


def test_a_child_killed_while_all_start_is_started_again(own_standalone: Standalone) -> None:
    own_standalone.start("--once")
    for child in ("nats", "order"):
        own_standalone.kills_when_it_runs(child)
    assert own_standalone.ends() == 0, own_standalone.screen
    for child in ("nats", "order"):
        assert f"{child} ended (signal 9); starting it again" in own_standalone.screen


def test_a_killed_supervisor_is_started_again_and_completes_the_same_journey(own_standalone: Standalone) -> None:
    orders = re.compile(r"order ([0-9a-f-]{36}): ")
    found = set()
    for step in (1, 3, 5):
        own_standalone.start("--once")
        own_standalone.shows(f"✓  {step}. ")
        own_standalone.process.send_signal(signal.SIGKILL)
        own_standalone.ends()
        found.update(orders.findall(own_standalone.screen))
        assert ("An earlier journey is not complete; going on with it." in own_standalone.screen) == (step > 1)
    own_standalone.play()
    assert "An earlier journey is not complete; going on with it." in own_standalone.screen
    assert {*orders.findall(own_standalone.screen)} == found
    assert len(found) == 1
