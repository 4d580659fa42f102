"""The only place where the CQL driver's threads and the event loop meet.

The driver answers in a thread of its own. Waking the loop once per answer costs more than the answer, so answers gather in a deque and one
wake-up takes them all. How many statements are under way is bounded here, because the driver blocks its caller, which is the loop, where
a connection's stream ids run out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from cassandra import InvalidRequest

_SWEEP_S: Final = 0.1
# Statements that nobody waits for any more keep their stream ids until the node answers or its connection is given up, which takes some
# seconds. So many of 32 768 may be kept so.
_MOST_LOST: Final = 8192

Rows = list[tuple[Any, ...]]


class CqlFailed(Exception):
    """The store did not do what a statement says: it cannot be reached, did not answer in time, or lacks the table."""


class _Flight:
    __slots__ = ("future", "profile", "repeated", "response", "rows", "started", "statement", "timeout", "what")

    def __init__(self, what: str, statement: Any, profile: str, timeout: float, future: asyncio.Future[Rows]) -> None:
        self.what = what
        self.statement = statement
        self.profile = profile
        self.timeout = timeout
        self.future = future
        self.started = monotonic()
        self.rows: Rows | None = None
        self.response: Any = None
        self.repeated = False


class Bridge:
    """Sends statements and turns their answers into futures of the loop.

    Args:
        session: the driver's.
        in_flight: most statements under way at once; far below a connection's 32 768 stream ids.
        waiting: most that may wait beside; more are refused.
        measured: called with (statement's name, seconds, failed) for each statement that ended.
        again: seconds by profile after which a second node is asked beside a silent one.
        raises: makes what is raised of one sentence that says why.
    """

    def __init__(
        self,
        session: Any,
        *,
        in_flight: int,
        waiting: int,
        measured: Callable[[str, float, bool], None] | None,
        again: Mapping[str, float] | None = None,
        raises: Callable[[str], Exception] = CqlFailed,
    ) -> None:
        self._session = session
        self._again = dict(again or {})
        self._raises = raises
        self._in_flight = in_flight
        self._waiting_most = waiting
        self._measured = measured
        self._loop = asyncio.get_running_loop()
        self._flying: set[_Flight] = set()
        self._lost: set[_Flight] = set()
        self._waiting: deque[_Flight] = deque()
        self._landed: deque[tuple[_Flight, Any]] = deque()
        self._woken = False
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def send(self, what: str, statement: Any, profile: str, timeout: float) -> asyncio.Future[Rows]:
        """Sends a statement of the driver; the future carries all its rows.

        Who gives the future up (its deadline passed) is not waited for: a statement that was not sent yet never will be.

        Raises:
            CqlFailed (or what `raises` makes): at once where the bridge is closed or too much waits; else through the future.
        """
        if self._closed:
            raise self._raises("the store is closed")
        future: asyncio.Future[Rows] = self._loop.create_future()
        flight = _Flight(what, statement, profile, timeout, future)
        if len(self._lost) >= _MOST_LOST:
            raise self._raises("the store leaves too many statements without an answer")
        if len(self._flying) < self._in_flight:
            self._take_off(flight)
        elif len(self._waiting) < self._waiting_most:
            self._waiting.append(flight)
        else:
            raise self._raises("too many statements wait for the store")
        return future

    async def close(self) -> None:
        """Refuses what comes from now on, and waits for what is under way, which is bounded by its timeouts."""
        self._closed = True
        await self._idle.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _take_off(self, flight: _Flight) -> None:
        self._flying.add(flight)
        self._idle.clear()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        try:
            response = flight.response = self._session.execute_async(flight.statement, execution_profile=flight.profile)
            response.add_callbacks(self._answered, self._land, callback_args=(response, flight), errback_args=(flight,))
        except Exception as error:  # noqa: BLE001 - a driver that cannot even send: the statement's answer, nobody else's
            self._land(error, flight)

    def _answered(self, rows: Rows | None, response: Any, flight: _Flight) -> None:
        """In the driver's thread: gathers the pages a server cut the answer into."""
        if rows:
            flight.rows = rows if flight.rows is None else flight.rows + rows
        if response.has_more_pages:
            response.start_fetching_next_page()
            return
        self._land(None, flight)

    def _land(self, error: Exception | None, flight: _Flight) -> None:
        """In any thread."""
        self._landed.append((flight, error))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _deliver(self) -> None:
        self._woken = False  # before looking: what lands from here on wakes again
        landed, flying = self._landed, self._flying
        now = monotonic()
        while landed:
            flight, error = landed.popleft()
            if flight not in flying:
                self._lost.discard(flight)  # too late
                continue
            flying.remove(flight)
            if self._measured is not None:
                self._measured(flight.what, now - flight.started, error is not None)
            if not flight.future.done():
                if error is None:
                    flight.future.set_result(flight.rows if flight.rows is not None else [])
                else:
                    flight.future.set_exception(self._failure(error))
        self._fill(now)

    def _fill(self, now: float) -> None:
        """Sends what waited, as far as it is still wanted and in time."""
        while self._waiting and len(self._flying) < self._in_flight:
            flight = self._waiting.popleft()
            if flight.future.done():
                continue
            if now - flight.started >= flight.timeout:
                flight.future.set_exception(self._raises("the store is too slow for what waits"))
                continue
            self._take_off(flight)
        if not self._flying and not self._waiting:
            self._idle.set()

    def _sweep(self) -> None:
        """Ends what is past its time, and asks a second node for what the first is silent about."""
        now = monotonic()
        for flight in list(self._flying):
            age = now - flight.started
            if age >= flight.timeout:
                self._flying.remove(flight)
                self._lost.add(flight)
                if self._measured is not None:
                    self._measured(flight.what, age, True)
                if not flight.future.done():
                    flight.future.set_exception(self._raises("the store did not answer in time"))
            elif not flight.repeated and flight.rows is None and age >= self._again.get(flight.profile, flight.timeout):
                flight.repeated = True
                if flight.response is not None:
                    flight.response.send_request(error_no_hosts=False)  # the next one of the driver's plan
        for flight in [f for f in self._waiting if now - f.started >= f.timeout and not f.future.done()]:
            flight.future.set_exception(self._raises("the store is too slow for what waits"))
        self._fill(now)
        busy = bool(self._flying or self._waiting)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep) if busy else None

    def _failure(self, error: Exception) -> Exception:
        """What the driver raised, in words without addresses or values."""
        if isinstance(error, InvalidRequest):
            return self._raises("the store lacks its tables: they were lost, or never made")
        failed = self._raises(f"the store did not answer: {type(error).__name__}")
        failed.__cause__ = error
        return failed
