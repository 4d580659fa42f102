"""Two processes of Mail on one log and one store: each mail is sent by one of them, and what a killed one left is the other's."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from tradewind.mail.v1 import mail_pb2, mail_service_pb2_grpc
from tradewind.mail.v1 import mail_service_pb2 as pb

from services.mail.stats.counting import COUNTS
from services.runtime.tokens import Signer
from tests.integration.mail_world import TENANT, mail_to, settings_for
from tests.servers import NatsServer
from tests.smtp_sink import Sink

FINAL = {
    mail_pb2.MAIL_STATE_DELIVERED,
    mail_pb2.MAIL_STATE_BOUNCED,
    mail_pb2.MAIL_STATE_EXPIRED,
    mail_pb2.MAIL_STATE_OUTCOME_UNKNOWN,
}

_NAME = re.compile(rb"(?im)^message-id: *(<[^>]+>)")


class MailProcess:
    """``python -m services.mail``, and somebody who may use it."""

    def __init__(self, nats_url: str, folder: Path, sink: Sink, **options: Any) -> None:
        settings = settings_for(nats_url, folder, sink, log_level="info", **options)
        self._environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("TRADEWIND_") or key.startswith(("TRADEWIND_STORE", "TRADEWIND_CQL_"))
        }
        for name in settings.model_fields_set:
            value = getattr(settings, name)
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            self._environment[f"TRADEWIND_{name.upper()}"] = nats_url if name == "nats_urls" else text
        self._signer = Signer.from_file(folder / "keys" / "token.pem")
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start, and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.mail", env=self._environment, stderr=asyncio.subprocess.PIPE
        )
        listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(_read(self._process, listening))
        async with asyncio.timeout(60):
            port = await listening
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)

    async def kill(self) -> None:
        """End it as a power cut would."""
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        await self.kill()

    def call(self, method: str, request: Any, **options: Any) -> Any:
        """Call an rpc by name, as a service."""
        assert self._channel is not None
        stub = mail_service_pb2_grpc.MailServiceStub(self._channel)
        token = self._signer.mint("tester", TENANT, ["service"])
        return getattr(stub, method)(request, metadata=(("authorization", f"Bearer {token}"),), **options)

    async def send(self, address: str) -> str:
        return str((await self.call("SendMail", mail_to(address))).mail_id)

    async def ended(self, mail_id: str, seconds: float = 60.0) -> mail_pb2.Mail:
        """Wait until a mail is final."""
        async with asyncio.timeout(seconds):
            while True:
                mail: mail_pb2.Mail = (await self.call("GetMail", pb.GetMailRequest(mail_id=mail_id))).mail
                if mail.state in FINAL:
                    return mail
                await asyncio.sleep(0.1)

    async def counts(self) -> dict[str, int]:
        """Give the tenant's counts of all days."""
        rows = (await self.call("GetMailStats", pb.GetMailStatsRequest())).stats
        sums = {name: sum(getattr(row, name) for row in rows) for name in COUNTS}
        return {name: count for name, count in sums.items() if count}

    async def until_counted(self, expected: dict[str, int], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while await self.counts() != expected:
                await asyncio.sleep(0.05)

    async def until_told(self, expected: dict[str, int], seconds: float = 60.0) -> None:
        """Read a live stream of the tenant's counts from its snapshot on until it says so much."""
        seen: dict[int, pb.MailStats] = {}
        stream = self.call("WatchMailStats", pb.WatchMailStatsRequest())
        async with asyncio.timeout(seconds):
            async for frame in stream:
                seen.update({row.period_start.seconds: row for row in frame.stats})
                sums = {name: sum(getattr(row, name) for row in seen.values()) for name in COUNTS}
                if {name: count for name, count in sums.items() if count} == expected:
                    break
        stream.cancel()


async def _read(process: asyncio.subprocess.Process, listening: asyncio.Future[int]) -> None:
    """Read what the process says until it ends: a full pipe would stop it."""
    assert process.stderr is not None
    async for line in process.stderr:
        if not listening.done() and b"server_listening" in line:
            listening.set_result(json.loads(line)["port"])
    if not listening.done():
        listening.set_exception(RuntimeError("the process ended before it served"))


@asynccontextmanager
async def pair(nats_url: str, folder: Path, sink: Sink, **options: Any) -> AsyncIterator[tuple[MailProcess, ...]]:
    async with AsyncExitStack() as stack:
        made = tuple(MailProcess(nats_url, folder, sink, **options) for _ in range(2))
        for process in made:
            stack.push_async_callback(process.close)
        await asyncio.gather(*(process.start() for process in made))
        yield made


async def test_each_mail_is_sent_once_and_counted_once_by_both(own_nats_server: NatsServer, tmp_path: Path) -> None:
    """Any process takes and answers for any mail; statistics and their live streams are equal on both, whoever of them counts."""
    count = 60
    async with Sink() as sink, pair(own_nats_server.url, tmp_path, sink) as (one, other):
        told = [
            asyncio.create_task(process.until_told({"queued": count, "attempts": count, "delivered": count}, 60))
            for process in (one, other)
        ]
        ids = await asyncio.gather(*((one, other)[n % 2].send(f"to{n}@example.org") for n in range(count)))
        mails = await asyncio.gather(*((other, one)[n % 2].ended(mail_id) for n, mail_id in enumerate(ids)))
        assert {mail.state for mail in mails} == {mail_pb2.MAIL_STATE_DELIVERED}
        assert sink.count == count
        whole = {"queued": count, "attempts": count, "delivered": count}
        await asyncio.gather(*(process.until_counted(whole) for process in (one, other)))
        await asyncio.gather(*told)
        # Whichever of the two counts, the other goes on where it was.
        await one.kill()
        more = [await other.send(f"more{n}@example.org") for n in range(10)]
        for mail_id in more:
            await other.ended(mail_id)
        assert sink.count == count + 10
        whole = dict.fromkeys(whole, count + 10)
        await other.until_counted(whole)
        await other.until_told(whole)


async def test_what_a_killed_process_was_at_is_the_others_after_its_margin(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    """Mails whose text was handed over are lost sight of, never sent twice; those that waited are delivered by the other."""
    count = 24
    options: dict[str, Any] = {"smtp_data_timeout": 4.0, "smtp_mails_per_domain": 2}
    async with Sink(slow_seconds=0.6) as sink, pair(own_nats_server.url, tmp_path, sink, **options) as (one, other):
        ids = await asyncio.gather(*((one, other)[n % 2].send("slow@example.org") for n in range(count)))
        await sink.until(2)
        await one.kill()
        died = time.monotonic()
        mails = await asyncio.gather(*(other.ended(mail_id, 120) for mail_id in ids))
        took = time.monotonic() - died
        states = [mail.state for mail in mails]
        lost = states.count(mail_pb2.MAIL_STATE_OUTCOME_UNKNOWN)
        assert states.count(mail_pb2.MAIL_STATE_DELIVERED) == count - lost
        assert 1 <= lost <= 2
        names = [_NAME.findall(mail.data)[0] for mail in sink.to("slow@example.org")]
        assert len(set(names)) == len(names) >= count - lost
        assert took < 100
        whole = {"queued": count, "attempts": count, "delivered": count - lost, "outcome_unknown": lost}
        await other.until_counted({name: number for name, number in whole.items() if number})
