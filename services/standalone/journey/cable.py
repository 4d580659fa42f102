"""A network cable that can be cut: a relay of TCP connections on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

_CHUNK = 65_536


class Cable:
    """Relays connections to ``target``. ``mute`` holds back what comes from there; ``cut`` tears all connections without a
    goodbye, what was held back is lost, and later connections get through again.
    """

    def __init__(self, target: str) -> None:
        """Lead to ``target`` (host:port); use it as a context manager."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self._audible = asyncio.Event()
        self._audible.set()

    @property
    def endpoint(self) -> str:
        """Where this end of the cable is (host:port)."""
        if self._server is None:
            raise RuntimeError("the cable is not laid")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def __aenter__(self) -> Cable:
        """Lay it. Raises OSError."""
        self._server = await asyncio.start_server(self._connected, self._target[0], 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Take it away, with everything that is on it."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def mute(self) -> None:
        """Hold back what comes from the target; the other direction goes on."""
        self._audible.clear()

    def cut(self) -> None:
        """Tear all connections at once."""
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()
        self._audible.set()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio reports one of its own as failed when the cable is taken away.
        relay = asyncio.create_task(self._relay(reader, writer))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            # Nobody there: this end feels it as a torn connection.
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        always = asyncio.Event()
        always.set()
        try:
            await asyncio.gather(_copy(reader, far_writer, always), _copy(far_reader, writer, self._audible))
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, audible: asyncio.Event) -> None:
    # A torn connection ends both directions; the people at its ends notice by themselves.
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            await audible.wait()
            if writer.is_closing():
                return
            writer.write(data)
            await writer.drain()
    writer.close()
