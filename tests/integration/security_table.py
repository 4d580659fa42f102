"""Every rpc of the public services as a table: how to call it raw, with which request, and which tokens must not open it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.tokens import Signer
from tests.hidden_ends import hides_the_end, until_told

SECONDS = 60.0
HOSTILE_TEXTS = (
    "", "\0", "a\0b", "a\r\nBcc: x@y.example", "../../etc", "a/b", "a.b.*.>", "{{7*7}}", "'; --", "\u202eevil", "a\u200bb",
    "\U0010ffff", "x" * 70_000,
)  # fmt: skip
HOSTILE_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1)


@dataclass(frozen=True)
class Answer:
    """What became of a call: its code, its whole status where it was refused, and its first message."""

    code: grpc.StatusCode
    status: status_pb2.Status = field(default_factory=status_pb2.Status)
    message: Any = None

    @property
    def reason(self) -> str:
        info = error_details_pb2.ErrorInfo()
        return next((str(info.reason) for each in self.status.details if each.Unpack(info)), "")


async def ask(channel: Any, method: MethodDescriptor, request: Message | bytes, token: str | None) -> Answer:
    """Call any rpc with one request, and give how it ended, or its first message."""
    return await until_told(lambda: _ask(channel, method, request, token))


async def _ask(channel: Any, method: MethodDescriptor, request: Message | bytes, token: str | None) -> Answer:
    path = f"/{method.containing_service.full_name}/{method.name}"
    data = request if isinstance(request, bytes) else request.SerializeToString()
    options: dict[str, Any] = {"metadata": (("authorization", f"Bearer {token}"),) if token else (), "timeout": SECONDS}
    try:
        if method.client_streaming:
            call = channel.stream_stream(path)(**options)
            await call.write(data)
            await call.done_writing()
            found = await call.read()
            call.cancel()
        elif method.server_streaming:
            call = channel.unary_stream(path)(data, **options)
            # A stream that was let in and has nothing to say is as good as answered; where the server is slow, so is what comes after it.
            done, _ = await asyncio.wait([reading := asyncio.create_task(call.read())], timeout=0.2)
            for _ in range(3):
                if not done:
                    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
                    done, _ = await asyncio.wait([reading], timeout=0.1)
            found = reading.result() if done else grpc.aio.EOF
            call.cancel()
            await asyncio.wait([reading])
        else:
            found = await channel.unary_unary(path)(data, **options)
    except asyncio.InvalidStateError:  # refused before the request was written
        return Answer(await call.code(), _status_in(await call.trailing_metadata()))
    except grpc.aio.AioRpcError as error:
        if hides_the_end(error):
            raise
        return Answer(error.code(), _status_in(error.trailing_metadata()))
    message = None if found is grpc.aio.EOF else GetMessageClass(method.output_type).FromString(found)
    return Answer(grpc.StatusCode.OK, message=message)


def _status_in(trailers: Any) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(trailers or ()).get("grpc-status-details-bin", b""))


def methods(services: tuple[ServiceDescriptor, ...]) -> Iterator[MethodDescriptor]:
    """Every rpc."""
    for service in services:
        yield from service.methods


def bad_tokens(signer: Signer, key: Ed25519PrivateKey, tenant: str) -> Mapping[str, str | None]:
    """Tokens that open nothing, by what is wrong with them."""
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    good = signer.mint("ann", tenant, ["admin"])
    claims = jwt.decode(good, options={"verify_signature": False})
    head = {"kid": jwt.get_unverified_header(good)["kid"]}
    now = int(time.time())

    def signed(**changes: Any) -> str:
        return jwt.encode({**claims, **changes}, key, algorithm="EdDSA", headers=head)

    # The library refuses to sign with a public key, so this is signed by hand.
    parts = b".".join(
        jwt.utils.base64url_encode(json.dumps(part).encode())
        for part in ({"alg": "HS256", "typ": "JWT", **head}, claims)
    )
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    confused = b".".join((parts, jwt.utils.base64url_encode(mac.sign(parts, public)))).decode()
    return {
        "none": None,
        "junk": "junk",
        "expired": signed(iat=now - 7200, exp=now - 3600),
        "not yet": signed(iat=now + 3600, exp=now + 7200),
        "audience": signed(aud="elsewhere"),
        "issuer": signed(iss="somebody"),
        "tenant": signed(tenant="a/b"),
        "subject": signed(sub="a\u202eb"),
        "roles": signed(roles="admin"),
        "key": Signer(Ed25519PrivateKey.generate()).mint("ann", tenant, ["admin"]),
        "unsigned": jwt.encode(claims, "", algorithm="none", headers=head),
        "confused": confused,
    }


def hostile(request: Message) -> Iterator[tuple[str, Message]]:
    """The request with one field at a time set to something nasty, one level deep in what it holds."""
    for at in request.DESCRIPTOR.fields:
        for value in _nasty(at):
            changed = type(request)()
            changed.CopyFrom(request)
            if _set(changed, at, value):
                yield f"{at.full_name}={value!r:.40}", changed
        if at.message_type is None or at.message_type.GetOptions().map_entry:
            continue
        if not at.is_repeated and not request.HasField(at.name):
            continue
        if at.is_repeated and not getattr(request, at.name):
            continue
        inner = getattr(request, at.name)
        for name, nasty in hostile(inner[0] if at.is_repeated else inner):
            changed = type(request)()
            changed.CopyFrom(request)
            place = getattr(changed, at.name)
            (place[0] if at.is_repeated else place).CopyFrom(nasty)
            yield name, changed


def _nasty(at: Any) -> tuple[Any, ...]:
    if at.message_type is not None:
        return ()
    return HOSTILE_TEXTS if at.type == FieldDescriptor.TYPE_STRING else HOSTILE_NUMBERS


def _set(message: Message, at: Any, value: Any) -> bool:
    try:
        if at.is_repeated:
            getattr(message, at.name).append(value)
        else:
            setattr(message, at.name, value)
    except (ValueError, TypeError, OverflowError):
        return False  # no such number fits into this field on the wire
    return True
