"""A drill's hand inside a service's process: its clock, its death at a named step, events its consumers cannot take.

Python imports this by itself where the stage has put this folder on the path. It reads orders from the file that `DRILL_FOLDER` and
`DRILL_PART` name, one a line, carried out as soon as it is seen:

    die POINT N     SIGKILL to itself when POINT is reached for the N-th time from now
    stop POINT N    SIGSTOP likewise
    clock SECONDS   the clock is so far from the true one from now on
    poison ROLE N   of that role's aggregates about one in N can no longer be taken (0: all can again)

Besides, what people say is not sealed: the checker reads it in the raw store, and has no keys.

Points: decided, appended, stored (of a write), consumed (an event is handed over), effected (its handler is done), acked.
"""

import datetime
import os
import signal
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.02
_true_time, _true_time_ns = time.time, time.time_ns
_READS_CLOCK = ("jwt.api_jwt",)
"""Modules that ask `datetime` what time it is."""
_true_datetime = datetime.datetime


class _Kind(type):
    def __instancecheck__(cls, found: object) -> bool:
        return isinstance(found, _true_datetime)


class Datetime(_true_datetime, metaclass=_Kind):
    """`datetime` by this process's clock."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _true_datetime:  # type: ignore[override]
        """See `datetime.datetime.now`."""
        return _true_datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> _true_datetime:  # type: ignore[override]
        """See `datetime.datetime.utcnow`."""
        return _true_datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


class Hand:
    """What was ordered so far, and what is still to come."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._done = 0
        self._offset_ns = 0
        self._points: dict[str, tuple[signal.Signals, int]] = {}
        self._poisoned: dict[str, int] = {}
        self._patched: set[str] = set()

    def run(self) -> None:
        """Looks for orders as long as the process lives."""
        while True:
            self.look()
            time.sleep(POLL_SECONDS)

    def begin(self) -> None:
        """Takes over what an earlier process of this part was told to be; its deaths are its own."""
        self._obey()
        self._points.clear()

    def look(self) -> None:
        """Carries out what is new, and reaches into modules that were imported meanwhile."""
        self._obey()
        for name, patch in (
            ("services.ledger.engine", self._reach_engine),
            ("services.ledger.consumer", self._reach_consumer),
            ("services.ledger.turns", self._reach_turns),
        ):
            if name not in self._patched and name in sys.modules and patch(sys.modules[name]):
                self._patched.add(name)

    def time_ns(self) -> int:
        """The time as this process has it."""
        return _true_time_ns() + self._offset_ns

    def time(self) -> float:
        """The time as this process has it."""
        return _true_time() + self._offset_ns / 1e9

    def _obey(self) -> None:
        if self._file.exists():
            lines = self._file.read_text(encoding="utf-8").splitlines()
            for line in lines[self._done :]:
                self._order(*line.split())
            self._done = max(self._done, len(lines))

    def _order(self, what: str, name: str, number: str = "0") -> None:
        if what == "clock":
            self._offset_ns = round(float(name) * 1e9)
            for module in _READS_CLOCK:
                if module in sys.modules:
                    sys.modules[module].datetime = Datetime  # type: ignore[attr-defined]
        elif what == "poison":
            self._poisoned[name] = int(number)
        else:
            self._points[name] = (signal.SIGKILL if what == "die" else signal.SIGSTOP, int(number))

    def _reached(self, point: str) -> None:
        ordered = self._points.get(point)
        if ordered is None:
            return
        how, left = ordered
        if left > 1:
            self._points[point] = (how, left - 1)
            return
        del self._points[point]
        os.kill(os.getpid(), how)

    def _reach_engine(self, module: Any) -> bool:
        engine = getattr(module, "Engine", None)
        if engine is None:
            return False
        reached = engine.reached

        async def with_point(itself: Any, point: str) -> None:
            self._reached(point)
            await reached(itself, point)

        engine.reached = with_point
        return True

    def _reach_consumer(self, module: Any) -> bool:
        consumer = getattr(module, "Consumer", None)
        if consumer is None:
            return False
        call = consumer._call

        async def with_points(itself: Any, delivered: Any) -> None:
            self._reached("consumed")
            one_in = self._poisoned.get(itself.role, 0)
            if one_in and zlib.crc32(delivered.aggregate.key.encode()) % one_in == 0:
                raise ValueError("poisoned by a drill")
            await call(itself, delivered)
            self._reached("effected")

        consumer._call = with_points
        return True

    def _reach_turns(self, module: Any) -> bool:
        turns = getattr(module, "Turns", None)
        if turns is None:
            return False
        took = turns.took

        def with_point(itself: Any, seq: int) -> None:
            took(itself, seq)
            self._reached("acked")

        turns.took = with_point
        return True


def _lead_cql(network: str, true: str) -> None:
    """Has the CQL driver look for the nodes of one network in another, where the drill's links are."""
    from cassandra.cluster import Cluster
    from cassandra.policies import AddressTranslator

    class Elsewhere(AddressTranslator):  # type: ignore[misc]
        def translate(self, addr: str) -> str:
            return addr.replace(f"{true}.", f"{network}.", 1) if addr.startswith(f"{true}.") else addr

    made = Cluster.__init__

    def elsewhere(itself: Any, contact_points: Any, **more: Any) -> None:
        there = Elsewhere()
        points = [(there.translate(host), port) for host, port in contact_points]
        made(itself, points, address_translator=there, **more)

    Cluster.__init__ = elsewhere


def _begin() -> None:
    part, folder = os.environ.get("DRILL_PART"), os.environ.get("DRILL_FOLDER")
    if not part or not folder:
        return
    os.environ.pop("TRADEWIND_PERSON_KEY_FILE", None)
    if network := os.environ.get("DRILL_CQL_NETWORK"):
        _lead_cql(network, os.environ["DRILL_CQL_TRUE"])
    hand = Hand(Path(folder) / "orders" / part)
    hand.begin()
    time.time, time.time_ns = hand.time, hand.time_ns
    threading.Thread(target=hand.run, name="drill", daemon=True).start()


_begin()
