"""The bridge to the CQL driver, and how statements are tried again."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from cassandra import InvalidRequest, OperationTimedOut
from cassandra.policies import RetryPolicy
from cassandra.query import SimpleStatement

from services.runtime import cql_bridge
from services.runtime.cql_bridge import Bridge, CqlFailed, Rows
from services.runtime.cql_policies import READ, WRITE, BoundedRetry


class Response:
    """A driver's answer that the test gives, in a thread as the driver does, page by page."""

    def __init__(self, statement: str) -> None:
        self.statement = statement
        self.pages: list[Rows] = []
        self.has_more_pages = False
        self.repeated = 0

    def send_request(self, *, error_no_hosts: bool) -> None:
        assert not error_no_hosts
        self.repeated += 1

    def add_callbacks(self, callback: Any, errback: Any, callback_args: Any, errback_args: Any) -> None:
        self._answer: Callable[[Rows], None] = lambda rows: callback(rows, *callback_args)
        self._fail: Callable[[Exception], None] = lambda error: errback(error, *errback_args)

    def start_fetching_next_page(self) -> None:
        self.answer(*self.pages)

    def answer(self, *pages: Rows) -> bool:
        self.pages = list(pages[1:])
        self.has_more_pages = len(pages) > 1
        self._answer(pages[0])
        return True

    def fail(self, error: Exception) -> None:
        self._fail(error)


class Driver:
    """Stands for the driver's session: it sends nothing, and answers when it is told to."""

    def __init__(self) -> None:
        self.sent: list[Response] = []
        self.broken = False

    def execute_async(self, statement: str, execution_profile: str) -> Response:
        if self.broken:
            raise RuntimeError("cannot send")
        self.sent.append(Response(statement))
        return self.sent[-1]

    def in_thread(self, work: Any) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()


def bridge(driver: Driver, *, in_flight: int = 4, waiting: int = 2, measured: Any = None) -> Bridge:
    return Bridge(driver, in_flight=in_flight, waiting=waiting, measured=measured)


async def test_a_burst_of_answers_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    over = bridge(driver)
    futures = [over.send("q", str(n), READ, 60.0) for n in range(4)]
    wakes: list[Any] = []
    loop = asyncio.get_running_loop()
    wake = loop.call_soon_threadsafe

    def counted(*work: Any) -> None:
        wakes.append(work)
        wake(*work)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    driver.in_thread(lambda: [response.answer([(n,)]) for n, response in enumerate(driver.sent)])
    monkeypatch.undo()
    assert await asyncio.gather(*futures) == [[(0,)], [(1,)], [(2,)], [(3,)]]
    assert len(wakes) == 1
    await over.close()


async def test_pages_that_a_server_cuts_are_joined() -> None:
    driver = Driver()
    over = bridge(driver)
    future = over.send("q", "s", READ, 60.0)
    driver.in_thread(lambda: driver.sent[0].answer([(1,), (2,)], [], [(3,)]))
    assert await future == [(1,), (2,), (3,)]
    nothing = over.send("q", "s", READ, 60.0)
    driver.in_thread(lambda: driver.sent[1].answer([]))
    assert await nothing == []


async def test_what_is_beyond_the_bound_waits_and_beyond_that_is_refused() -> None:
    driver = Driver()
    over = bridge(driver, in_flight=2, waiting=2)
    futures = [over.send("q", str(n), READ, 60.0) for n in range(4)]
    assert [response.statement for response in driver.sent] == ["0", "1"]
    with pytest.raises(CqlFailed):
        over.send("q", "4", READ, 60.0)
    futures[2].cancel()  # its caller's deadline passed: it is never sent
    driver.in_thread(lambda: driver.sent[0].answer([]))
    await futures[0]
    assert [response.statement for response in driver.sent] == ["0", "1", "3"]
    driver.in_thread(lambda: [response.answer([]) for response in driver.sent[1:]])
    await asyncio.gather(futures[1], futures[3])
    await over.close()
    with pytest.raises(CqlFailed):
        over.send("q", "5", READ, 60.0)


async def test_a_silent_store_is_waited_for_only_so_long() -> None:
    ended: list[bool] = []
    driver = Driver()
    over = bridge(driver, in_flight=1, measured=lambda name, seconds, failed: ended.append(failed))
    silent, waits = over.send("q", "silent", READ, 0.2), over.send("q", "waits", READ, 0.2)
    for future in (silent, waits):
        with pytest.raises(CqlFailed):
            await asyncio.wait_for(future, 60.0)
    assert ended[:1] == [True]
    driver.in_thread(lambda: driver.sent[0].answer([]))  # late: nobody waits any more
    last = over.send("q", "last", READ, 60.0)
    driver.in_thread(lambda: driver.sent[-1].answer([(1,)]))
    assert await last == [(1,)]
    assert not over._lost
    await over.close()


async def test_a_store_that_never_answers_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream ids would run out, and the driver then blocks whoever asks."""
    monkeypatch.setattr(cql_bridge, "_MOST_LOST", 2)
    driver = Driver()
    over = bridge(driver)
    for _ in range(2):
        with pytest.raises(CqlFailed):
            await over.send("q", "silent", READ, 0.01)
    with pytest.raises(CqlFailed, match="without an answer"):
        over.send("q", "more", READ, 60.0)
    driver.in_thread(lambda: [response.answer([]) for response in driver.sent])
    await asyncio.sleep(0)
    again = over.send("q", "again", READ, 60.0)
    driver.in_thread(lambda: driver.sent[-1].answer([]))
    assert await again == []
    await over.close()


async def test_a_second_node_is_asked_once_beside_a_silent_one() -> None:
    driver = Driver()
    over = Bridge(driver, in_flight=4, waiting=4, measured=None, again={READ: 0.1})
    future, write = over.send("q", "read", READ, 60.0), over.send("q", "write", WRITE, 60.0)
    while not driver.sent[0].repeated:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.25)
    assert (driver.sent[0].repeated, driver.sent[1].repeated) == (1, 0)
    driver.in_thread(lambda: [response.answer([]) for response in driver.sent])
    await asyncio.gather(future, write)
    await over.close()


async def test_failures_are_told_in_words_and_counted() -> None:
    ended: list[tuple[str, bool]] = []
    driver = Driver()
    over = bridge(driver, measured=lambda name, seconds, failed: ended.append((name, failed)))
    for error, words in ((InvalidRequest("10.0.0.7 t.secret"), "tables"), (OperationTimedOut(), "OperationTimedOut")):
        future = over.send("read", "s", READ, 60.0)
        driver.in_thread(lambda error=error: driver.sent[-1].fail(error))
        with pytest.raises(CqlFailed, match=words) as failed:
            await future
        assert "secret" not in str(failed.value)
    driver.broken = True
    with pytest.raises(CqlFailed):
        await over.send("write", "s", READ, 60.0)
    assert ended == [("read", True), ("read", True), ("write", True)]
    await over.close()


async def test_closing_waits_for_what_is_under_way() -> None:
    driver = Driver()
    over = bridge(driver, in_flight=1)
    futures = [over.send("q", str(n), READ, 60.0) for n in range(2)]
    closing = asyncio.create_task(over.close())
    for _ in range(2):
        await asyncio.sleep(0)
        assert not closing.done()
        driver.in_thread(lambda: driver.sent[-1].answer([]))
        await asyncio.sleep(0)
    await closing
    assert [future.result() for future in futures] == [[], []]


def test_only_what_is_idempotent_is_tried_again_and_not_for_ever() -> None:
    policy = BoundedRetry()
    safe, unsafe = (SimpleStatement("s", is_idempotent=idempotent) for idempotent in (True, False))
    decisions: list[Callable[[Any, int], tuple[int, None]]] = [
        lambda query, tries: policy.on_read_timeout(query, 6, 2, 1, False, retry_num=tries),
        lambda query, tries: policy.on_write_timeout(query, 6, "SIMPLE", 2, 1, retry_num=tries),
        lambda query, tries: policy.on_unavailable(query, 6, 2, 1, retry_num=tries),
        lambda query, tries: policy.on_request_error(query, 6, error=Exception(), retry_num=tries),
    ]
    for decide in decisions:
        assert [decide(safe, tries)[0] for tries in range(4)] == [
            RetryPolicy.RETRY_NEXT_HOST, RetryPolicy.RETRY_NEXT_HOST, RetryPolicy.RETHROW, RetryPolicy.RETHROW,
        ]  # fmt: skip
        assert decide(unsafe, 0)[0] == RetryPolicy.RETHROW
