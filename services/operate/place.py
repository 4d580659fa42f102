"""Where a service keeps its log and its store: opened as the service itself opens them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from services.host import ServiceSettings, log_settings, open_archive
from services.ledger.archive import Archive
from services.ledger.errors import LogUnavailable, StoreUnavailable
from services.ledger.lives import JetStreamLives
from services.ledger.log import LogSettings
from services.operate.known import SERVICES, Known
from services.runtime import nats
from services.runtime.config import load
from services.standalone import broker
from services.standalone.config import StandaloneSettings
from services.standalone.home import Home, HomeInUse, HomeUnusable
from services.standalone.keys import Keys
from services.standalone.ports import Ports
from services.standalone.ready import greeting

_ANSWERS_WITHIN = 15.0
_HOME, _FILE, _URLS = "TRADEWIND_HOME", "TRADEWIND_STORE_FILE", "TRADEWIND_NATS_URLS"
_PERSONS = "TRADEWIND_PERSON_KEY_FILE"


@dataclass(frozen=True)
class Place:
    """One service's store and, where it was asked for, its log."""

    service: str
    known: Known
    settings: ServiceSettings
    log: LogSettings
    archive: Archive
    nats: Client | None

    @property
    def lives(self) -> JetStreamLives:
        """The lives of the service's log."""
        assert self.nats is not None
        return JetStreamLives(self.nats, self.log)


@asynccontextmanager
async def opened(service: str, *, with_log: bool = True) -> AsyncIterator[Place]:
    """Opens a service's place, which its settings name. With `TRADEWIND_HOME` it is in the folder of a standalone, whose log server
    runs meanwhile if it does not.

    Raises:
        LogUnavailable, StoreUnavailable: it cannot be opened.
        NoBroker, OSError: a standalone's log server cannot be started.
    """
    known = SERVICES[service]
    async with _standalone(service, with_log=with_log):
        settings = load(known.settings)
        log = log_settings(service, settings)
        archive = await _store(service, settings, known)
        client: Client | None = None
        try:
            client = await _connected(settings) if with_log else None
            yield Place(service, known, settings, log, archive, client)
        finally:
            await archive.close()
            if client is not None:
                await client.close()


async def _store(service: str, settings: ServiceSettings, known: Known) -> Archive:
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN):
            return await open_archive(service, settings, sliced=known.sliced)
    except TimeoutError as error:
        raise StoreUnavailable(
            f"no store answers within {_ANSWERS_WITHIN:.0f} s, or its tables are not there"
        ) from error


async def _connected(settings: ServiceSettings) -> Client:
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN):
            return await nats.connect(settings, "operate")
    except TimeoutError as error:
        raise LogUnavailable(f"no server of the log answers within {_ANSWERS_WITHIN:.0f} s") from error


@asynccontextmanager
async def _standalone(service: str, *, with_log: bool) -> AsyncIterator[None]:
    """Says where things are in a standalone's folder, where one is meant."""
    if not os.environ.get(_HOME) or os.environ.get(_FILE):
        yield
        return
    settings = load(StandaloneSettings)
    home, ports = Home(settings.home.absolute()), Ports(settings.port)
    if not home.root.is_dir():
        raise HomeUnusable(f"there is no standalone in {home.root}")
    said = {_FILE: str(home.archive / f"{service}.db")}
    persons = Keys(home.keys).persons
    if service == "chat" and not os.environ.get(_PERSONS) and persons.is_file():
        said[_PERSONS] = str(persons)
    if with_log:
        said[_URLS] = await asyncio.to_thread(broker.url, Keys(home.keys), ports)
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        async with _running(home, ports) if with_log else nullcontext():
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@asynccontextmanager
async def _running(home: Home, ports: Ports) -> AsyncIterator[None]:
    """A standalone's log server: its own where it runs, else one for the moment."""
    try:
        lock = await asyncio.to_thread(home.open)
    except HomeInUse:
        yield
        return
    try:
        configuration = await asyncio.to_thread(broker.write_configuration, home, Keys(home.keys), ports)
        async with _log_server(configuration, ports.nats, home.logs / "nats.log"):
            yield
    finally:
        lock.release()


@asynccontextmanager
async def _log_server(configuration: Path, port: int, log: Path) -> AsyncIterator[None]:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            broker.program(), "--config", str(configuration), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        probe = greeting(port, b"INFO ")
        async with asyncio.timeout(_ANSWERS_WITHIN):
            while not await probe():
                if process.returncode is not None:
                    raise LogUnavailable(f"the log server ended; see {log}")
                await asyncio.sleep(0.05)
        yield
    except TimeoutError as error:
        raise LogUnavailable(f"the log server does not answer; see {log}") from error
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
