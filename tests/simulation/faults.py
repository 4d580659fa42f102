"""What goes wrong, done to the world."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.plan import Fault
from tests.simulation.recovery import Operator
from tests.simulation.servers import Server
from tests.simulation.weather import Network

_NOTICED = 1.0


class Faults:
    """Does them, each at its time, and undoes what lasts.

    Args:
        operator: who is called when log or store were lost.
    """

    def __init__(self, servers: list[Server], log: Network, store: Network, operator: Operator) -> None:
        self._servers, self._log, self._store, self._operator = servers, log, store, operator
        self._broker, self._cluster, self._trace = operator.broker, operator.cluster, operator.trace

    def plan(self, fault: Fault) -> None:
        """Puts a fault into the world's future."""
        self._log.later(fault.at, self._begin, fault)

    def _begin(self, fault: Fault) -> None:
        self._trace.add(self._log.loop.time(), "fault", fault)
        begin: Callable[[Fault], None] = getattr(self, f"_{fault.kind}")
        begin(fault)

    def _later(self, fault: Fault, undo: Callable[[], None]) -> None:
        def end() -> None:
            self._trace.add(self._log.loop.time(), "fault", f"{fault.kind} ends")
            undo()

        self._log.later(fault.length, end)

    def _server(self, fault: Fault) -> Server:
        return self._servers[fault.server % len(self._servers)]

    def _crash(self, fault: Fault) -> None:
        self._server(fault).kill(fault.length)

    def _crash_at(self, fault: Fault) -> None:
        server = self._server(fault)
        server.armed[fault.point] = lambda: server.kill(fault.length)

    def _pause(self, fault: Fault) -> None:
        self._server(fault).pause(fault.length)

    def _pause_at(self, fault: Fault) -> None:
        server = self._server(fault)
        server.armed[fault.point] = lambda: server.pause(2.0 * fault.length)

    def _clock(self, fault: Fault) -> None:
        server = self._server(fault)
        server.skew = 7200.0 * (fault.amount - 0.5)

    def _log_slow(self, fault: Fault) -> None:
        self._slow(self._log, fault, 3.5)

    def _store_slow(self, fault: Fault) -> None:
        self._slow(self._store, fault, 4.5)

    def _slow(self, network: Network, fault: Fault, slowest: float) -> None:
        weather = network.weather
        weather.slowest, weather.slow = slowest, max(0.03, 0.3 + 0.5 * fault.amount)

        def undo() -> None:
            weather.slowest, weather.slow = 0.02, 0.1

        self._later(fault, undo)

    def _store_stuck(self, fault: Fault) -> None:
        """All that is sent now arrives late, and all at the same time."""
        weather = self._store.weather
        weather.stuck = 10.0 * fault.amount

        def undo() -> None:
            weather.stuck = 0.0

        self._later(fault, undo)

    def _log_lossy(self, fault: Fault) -> None:
        self._lossy(self._log, fault)

    def _store_lossy(self, fault: Fault) -> None:
        self._lossy(self._store, fault)

    def _lossy(self, network: Network, fault: Fault) -> None:
        weather = network.weather
        weather.lost_out, weather.lost_in = 0.3 * fault.amount, 0.3 * (1.0 - fault.amount)

        def undo() -> None:
            weather.lost_out = weather.lost_in = 0.0

        self._later(fault, undo)

    def _store_refusing(self, fault: Fault) -> None:
        cluster = self._cluster
        cluster.refusing = fault.amount

        def undo() -> None:
            cluster.refusing = 0.0

        self._later(fault, undo)

    def _copy_down(self, fault: Fault) -> None:
        self._copies_down(fault, {int(fault.amount * len(self._cluster.copies))})

    def _store_down(self, fault: Fault) -> None:
        self._copies_down(fault, set(range(len(self._cluster.copies) // 2 + 1)))

    def _copies_down(self, fault: Fault, places: set[int]) -> None:
        self._cluster.down |= places
        self._later(fault, lambda: self._cluster.down.difference_update(places))

    def _cut_log(self, fault: Fault) -> None:
        self._cut(self._log, fault)
        server = self._server(fault)
        self._log.later(min(_NOTICED, fault.length / 2), server.disconnect)
        self._log.later(fault.length + 0.1, server.reconnect)

    def _cut_store(self, fault: Fault) -> None:
        self._cut(self._store, fault)

    def _cut(self, network: Network, fault: Fault) -> None:
        name = self._server(fault).name
        if fault.amount < 0.66:
            network.weather.dark_out.add(name)
        if fault.amount > 0.33:
            network.weather.dark_in.add(name)
        self._later(fault, lambda: network.mend(name))

    def _log_down(self, fault: Fault) -> None:
        self._down(fault.length)

    def _down(self, length: float) -> None:
        self._broker.up = False
        for server in self._servers:
            self._log.later(min(0.3, length / 2), server.disconnect)

        def back() -> None:
            self._trace.add(self._log.loop.time(), "log", "is up again")
            self._broker.up = True
            for server in self._servers:
                server.reconnect()

        self._log.later(length, back)

    def _log_wipe(self, fault: Fault) -> None:
        self._broker.wipe()
        self._down(min(fault.length, 1.0))
        self._log.later(min(fault.length, 1.0) + 3.0 * fault.amount, self._operator.recover_log)

    def _store_wipe(self, fault: Fault) -> None:
        self._operator.lose_store(fault.length)
