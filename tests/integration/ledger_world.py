"""What the stories about the ledger are told with: servers in processes of their own, lost answers, raw entries, and a reckoning."""

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tradewind.ledger.v1 import entry_pb2

from services.ledger.decider import Delivered, Recorded
from services.ledger.errors import LogUnavailable
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.ledger.publisher import Publisher
from tests.tally import Add, decode, fresh_request

ROOT = Path(__file__).parents[2]


def fresh_service() -> str:
    """A service name nobody else uses on a shared server."""
    return f"t{uuid.uuid4().hex[:12]}"


async def add(ledger: Ledger, aggregate: AggregateId, amount: int = 1) -> int:
    """Counts, as nobody did before; answers the version."""
    return (await ledger.execute(aggregate, Add(amount), fresh_request())).last_version


async def whole_history(ledger: Ledger, aggregate: AggregateId) -> list[Recorded]:
    """Every event of an aggregate, checked to be dense from version 1 on."""
    events = await ledger.history(aggregate, limit=1_000_000)
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    return events


async def reckon(ledger: Ledger, aggregate: AggregateId) -> int:
    """The total, checked to be the same in state, events and read model."""
    view = await ledger.read(aggregate)
    events = await whole_history(ledger, aggregate)
    assert view.version == len(events)
    total = sum(event for event in (decode(e.payload) for e in events) if isinstance(event, int))
    assert view.state.total == total
    row = await ledger.row("totals", aggregate.tenant, aggregate.id)
    assert (row.value if row else b"0") == str(total).encode()
    return total


class Seen:
    """A consumer's handler that keeps what it is handed, and fails where it is told to.

    Attributes:
        handed: everything, in the order it came.
        failure: raised for what `fails` says.
    """

    def __init__(self) -> None:
        self.handed: list[Delivered] = []
        self.failure: Exception | None = None
        self._news = asyncio.Event()

    async def __call__(self, delivered: Delivered) -> None:
        if self.failure is not None:
            raise self.failure
        self.handed.append(delivered)
        self._news.set()

    def versions(self, aggregate: AggregateId) -> list[int]:
        """The versions handed over of an aggregate, in the order they came."""
        return [event.version for d in self.handed if d.aggregate == aggregate for event in d.events]

    async def until(self, aggregate: AggregateId, last: int, timeout: float = 60.0) -> list[int]:
        """Waits until a version came; answers all that came."""
        async with asyncio.timeout(timeout):
            while last not in self.versions(aggregate):
                self._news.clear()
                await self._news.wait()
        return self.versions(aggregate)


class Server:
    """A server of tallies in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def ask(self, tally: str, amount: int, request: str) -> None:
        """Sends a command, without waiting for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"tally": tally, "amount": amount, "request": request}).encode() + b"\n")

    async def answer(self) -> Mapping[str, Any] | None:
        """The next answer; None where the process ended."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        return json.loads(line) if line else None

    def done(self) -> None:
        """No more commands: it answers those it has, tells its counters, and ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def died(self) -> int:
        """Waits for its end; the exit status."""
        return await asyncio.wait_for(self._process.wait(), 60)

    async def stopped(self) -> None:
        """Waits until it is stopped (SIGSTOP)."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        async with asyncio.timeout(60):
            while stat.read_text().rpartition(")")[2].split()[0] != "T":
                await asyncio.sleep(0.01)

    def resume(self) -> None:
        """Lets a stopped one go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    async def end(self) -> None:
        """Ends it, whatever it does."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(
                    self._process.pid, signal.SIGKILL
                )  # not `kill()`: that reaps a dead child behind the loop's back
        await self._process.wait()
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()


@asynccontextmanager
async def server_process(
    url: str, file: Path, service: str, *, at: str = "", signal_name: str = "SIGKILL"
) -> AsyncIterator[Server]:
    """A server in a process of its own, ready; `at`: where it sends itself the signal."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.programs.tally_server", "--url", url, "--file", str(file), "--service", service,
        "--at", at, "--signal", signal_name, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    server = Server(process)
    try:
        assert await server.answer() == {"ready": True}
        yield server
    finally:
        await server.end()


def lose_answers(ledger: Ledger, count: int = 1) -> None:
    """The next `count` publishes reach the log, but their acknowledgements never come back."""
    publisher: Publisher = ledger._publisher
    publish, left = publisher.publish, count

    async def without_answer(subject: str, payload: bytes, headers: Mapping[str, str]) -> int:
        nonlocal left
        seq = await publish(subject, payload, headers)
        if left > 0 and subject.startswith("ledger."):
            left -= 1
            raise LogUnavailable("the log did not acknowledge in time")
        return seq

    publisher.publish = without_answer  # type: ignore[method-assign]


async def append_by_hand(ledger: Ledger, aggregate: AggregateId, entry: entry_pb2.Entry) -> int:
    """An entry in the log as no server would write it: without a fence."""
    subject = ledger.engine.log.subject(aggregate)
    acknowledged = await ledger._nats.jetstream().publish(subject, entry.SerializeToString())
    return acknowledged.seq


def decoded(data: bytes) -> list[bytes]:
    """The events in a frame: the elements of repeated field 2."""
    found = []
    place = 0
    while place < len(data):
        assert data[place] == 0x12
        place += 1
        length = shift = 0
        while True:
            byte = data[place]
            place += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        found.append(data[place : place + length])
        place += length
    return found
