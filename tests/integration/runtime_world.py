"""A served trial service, for tests of the runtime: one handler of each kind, real tokens, a real port."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.runtime.call import Call
from services.runtime.config import RuntimeSettings
from services.runtime.errors import Refused
from services.runtime.server import Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator, Signer, make_key_pair
from tests.unit.runtime.trial import parcel, parse, trial_service

POLICY = {
    "/trial.v1.TrialService/Say": frozenset({"customer", "service"}),
    "/trial.v1.TrialService/Count": frozenset({"customer", "service"}),
    "/trial.v1.TrialService/Gather": frozenset({"shop"}),
    "/trial.v1.TrialService/Talk": frozenset({"customer", "service"}),
}


@dataclass
class Handlers:
    """The trial service; what a request's label says is what happens."""

    calls: list[Call] = field(default_factory=list)
    hanging: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: str = ""
    error: Exception = field(default_factory=lambda: Refused("NOT_FOUND", "no such parcel"))

    async def Say(self, request: Any, call: Call) -> Message:
        self.calls.append(call)
        if request.label == "fail":
            raise self.error
        if request.label == "hang":
            await self._hang()
        return parcel(request.label)

    async def Count(self, request: Any, call: Call) -> AsyncIterator[Message | bytes]:
        self.calls.append(call)
        try:
            yield parcel("message")
            yield parcel("bytes").SerializeToString()
            if request.label == "fail":
                raise self.error
            if request.label == "stay":
                await call.draining.wait()
                yield parcel("going away")
            if request.label == "hang":
                await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def Gather(self, requests: AsyncIterator[Any], call: Call) -> Message:
        self.calls.append(call)
        return parcel(str(len([request.label async for request in requests])))

    async def Talk(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Message | bytes]:
        self.calls.append(call)
        async for request in requests:
            wait = call.admit(len(request.parts))
            yield parcel("wait" if wait else request.label)

    async def _hang(self) -> None:
        self.hanging.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.outcome = "cancelled"
            raise
        finally:
            self.ended.set()


@dataclass
class World:
    """A running server and what is needed to call it."""

    server: Server
    handlers: Any
    signer: Signer
    settings: RuntimeSettings
    channel: grpc.aio.Channel

    def header(self, subject: str = "ann", roles: Iterable[str] = ("customer",), tenant: str = "acme") -> Any:
        """The metadata of a caller."""
        return (("authorization", f"Bearer {self.signer.mint(subject, tenant, roles)}"),)

    def unary(self, name: str = "Say") -> Any:
        """A unary rpc's callable."""
        return self.channel.unary_unary(f"/trial.v1.TrialService/{name}", _bytes, parse)

    async def say(self, label: str = "", **options: Any) -> Any:
        """Say something as a customer."""
        options.setdefault("metadata", self.header())
        return await self.unary()(parcel(label), **options)

    def count(self, label: str = "", **options: Any) -> Any:
        """Open the server stream."""
        options.setdefault("metadata", self.header())
        return self.channel.unary_stream("/trial.v1.TrialService/Count", _bytes, parse)(parcel(label), **options)

    def gather(self, requests: Any, **options: Any) -> Any:
        """Open the client stream, as a shop."""
        options.setdefault("metadata", self.header(roles=["shop"]))
        return self.channel.stream_unary("/trial.v1.TrialService/Gather", _bytes, parse)(requests, **options)

    def talk(self, **options: Any) -> Any:
        """Open the stream of both directions."""
        options.setdefault("metadata", self.header())
        return self.channel.stream_stream("/trial.v1.TrialService/Talk", _bytes, parse)(**options)


def settings_in(folder: Path, **changes: Any) -> RuntimeSettings:
    """Settings with new keys in ``folder``."""
    private, public = folder / "key.pem", folder / "key.pub"
    if not private.exists():
        make_key_pair(private, public)
    return RuntimeSettings(auth_public_key_files=(public,), service_key_file=private, drain_grace=5.0, **changes)


async def serve(settings: RuntimeSettings, handlers: Any = None, target: Any = None) -> World:
    """Start a server of the trial service; ``target`` makes the channel of its port, where it is not a plain one."""
    telemetry = Telemetry.start("trial", settings)
    server = Server(settings, telemetry, Authenticator.from_settings(settings), POLICY)
    handlers = handlers or Handlers()
    server.add(trial_service(), handlers)
    port = await server.start()
    assert settings.service_key_file is not None
    signer = Signer.from_file(settings.service_key_file)
    channel = (target or grpc.aio.insecure_channel)(f"127.0.0.1:{port}")
    return World(server, handlers, signer, settings, channel)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, status_pb2.Status]:
    """Await a call that must fail: its code, its reason and its status."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        assert (status.code, status.message) == (error.code().value[0], error.details())
        return error.code(), detail(status, error_details_pb2.ErrorInfo).reason, status
    raise AssertionError(f"answered with {answer!r}")


def detail(status: status_pb2.Status, kind: Any) -> Any:
    """A status's detail of a kind."""
    found = kind()
    assert any(packed.Unpack(found) for packed in status.details), f"no {kind.DESCRIPTOR.name}"
    return found


def _bytes(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
