"""Mail: mails of 10 KB a second, queued, DKIM-signed, handed to a local sink, every step durable."""

import asyncio
import time
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tradewind.mail.v1 import mail_service_pb2 as pb
from tradewind.mail.v1 import mail_service_pb2_grpc as rpc

from tests.bench.load import request_id
from tests.bench.report import Result
from tests.bench.sink import Sink
from tests.bench.stack import Stack

MAILS = 1500
FRAME = 32
ROUNDS = 3
MARK = 300
TEXT = ("A line of a letter that goes on for quite a while, as letters do.\r\n" * 160)[:10_240]


def mails(count: int, domains: int = 20) -> pb.SendMailsRequest:
    """A frame of mails of 10 KB to some domains."""
    frame = pb.SendMailsRequest()
    for number in range(count):
        mail = frame.mails.add(request_id=request_id(), campaign="bench")
        mail.to.address = f"ann@example{number % domains}.org"
        mail.content.subject = "A letter"
        mail.content.text = TEXT
    return frame


async def measure(stack: Stack) -> list[Result]:
    """Mails a second from the first SendMails frame to the last one taken by the sink."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = stack.folder / "dkim.pem"
    file.write_bytes(pem)
    sink = Sink()
    environment = {
        "TRADEWIND_SMARTHOST": await sink.start(),
        "TRADEWIND_DKIM_KEY_FILE": str(file),
        "TRADEWIND_ORDER_EVENTS": "false",
    }
    address = await stack.serve("mail", "services.mail", environment)
    rounds: list[tuple[float, float]] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = rpc.MailServiceStub(channel)
        metadata = (("authorization", f"Bearer {stack.token('bench', 'service')}"),)
        for turn in range(ROUNDS + 1):
            rounds.append(await _round(stack, stub, metadata, sink, MAILS if turn else 200))
    sink.stop()
    rate, cpu_us = sorted(rounds[1:])[len(rounds[1:]) // 2]
    return [
        Result(
            "mails of 10 KB, DKIM (RSA-2048), to a local sink", rate, "/s", f">= {MARK}/s", rate >= MARK, cpu_us=cpu_us,
            rounds=ROUNDS, spread=(min(rounds[1:])[0], max(rounds[1:])[0]),
        )
    ]  # fmt: skip


async def _round(
    stack: Stack, stub: rpc.MailServiceStub, metadata: tuple[tuple[str, str], ...], sink: Sink, count: int
) -> tuple[float, float]:
    cpu, before, started = stack.cpu("mail"), sink.mails, time.perf_counter()
    call: Any = stub.SendMails(metadata=metadata)  # type: ignore[call-arg]  # written to, not given an iterator

    async def write() -> None:
        for _ in range(count // FRAME):
            await call.write(mails(FRAME))
        await call.done_writing()

    writing = asyncio.create_task(write())
    answered = 0
    async for frame in call:
        refused = [result.error.message for result in frame.results if result.HasField("error")]
        if refused:
            raise RuntimeError(f"refused: {refused[0]}")
        answered += len(frame.results)
    await writing
    async with asyncio.timeout(120):
        while sink.mails - before < answered:
            await asyncio.sleep(0.02)
    return answered / (time.perf_counter() - started), (stack.cpu("mail") - cpu) / answered * 1e6
