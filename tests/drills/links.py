"""Links between a service's process and what it stands on: small TCP proxies that can fall silent, one way too, be slow, or break."""

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_CHUNK = 64 * 1024


@dataclass
class Link:
    """One proxy; it takes connections on its own address and opens one to the target for each.

    Attributes:
        up, down: whether bytes go from the process to the server, and back; what comes meanwhile waits, as in a network that is cut.
        refusing: new connections are closed at once.
        delay_s: so much later everything from the server arrives.
    """

    target: tuple[str, int]
    host: str = "127.0.0.1"
    port: int = 0
    up: bool = True
    down: bool = True
    refusing: bool = False
    delay_s: float = 0.0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        """Listens, on a free port unless one was named."""
        self._server = await asyncio.start_server(self._taken, self.host, self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        self.break_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, *, up: bool = True, down: bool = True) -> None:
        """Silences the directions that are named; connections stay open, and nobody is told."""
        self.up, self.down = not up, not down
        self._tell()

    def heal(self) -> None:
        """Everything as it was; what a silenced connection still held is lost with it, as TCP's retries would have given up."""
        silenced = not (self.up and self.down)
        self.up = self.down = True
        self.refusing, self.delay_s = False, 0.0
        if silenced:
            self.break_all()
        self._tell()

    def break_all(self) -> None:
        """Resets every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing or not (self.up and self.down):
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        for one in (writer, far_writer):
            self._writers.add(one)
        for source, sink, upwards in ((reader, far_writer, True), (far_reader, writer, False)):
            task = asyncio.create_task(self._carry(source, sink, upwards))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, upwards: bool) -> None:
        try:
            while data := await source.read(_CHUNK):
                if not upwards and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while not (self.up if upwards else self.down):
                    await self._changed.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass  # one side is gone: so is the other
        finally:
            self._writers.discard(sink)
            sink.transport.abort()


@dataclass
class Links:
    """All links of a stage, by the process they belong to and the server they lead to ("chat-1", "nats-2")."""

    all: dict[tuple[str, str], Link] = field(default_factory=dict)

    async def open(
        self, part: str, server: str, target: tuple[str, int], host: str = "127.0.0.1", port: int = 0
    ) -> Link:
        """Makes one more."""
        link = await Link(target, host, port).__aenter__()
        self.all[part, server] = link
        return link

    def of(self, part: str, kind: str) -> list[Link]:
        """The links of a process to all servers of a kind: "nats", "cql"."""
        return [link for (mine, server), link in self.all.items() if mine == part and server.partition("-")[0] == kind]

    async def close(self) -> None:
        """Ends all."""
        for link in self.all.values():
            await link.__aexit__(None, None, None)
