"""One served rpc: from the bytes that come to the bytes that go, through gate, validation, handler and error table.

A single wrapper rather than a stack of interceptors. Messages are parsed here and not by grpc, so that what cannot be parsed is the
caller's INVALID_ARGUMENT, and nothing is parsed for a caller that is turned away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from services.runtime.admission import Cut
from services.runtime.call import ANONYMOUS, Call
from services.runtime.errors import Refused, code_of, reason_of, status_of, trailers_of
from services.runtime.expiry import Expiry
from services.runtime.gate import Gate
from services.runtime.validation import validate

_T = TypeVar("_T")


class Rpc:
    """Serves one method of one service with one handler."""

    def __init__(
        self, descriptor: MethodDescriptor, handler: Callable[..., Any], roles: frozenset[str], gate: Gate
    ) -> None:
        """Serve ``descriptor``'s method to ``roles``."""
        self._method = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
        self._handler = handler
        self._roles = roles
        self._gate = gate
        self._telemetry = gate.telemetry
        self._raw = bool(getattr(handler, "raw", False))
        self._validates = bool(getattr(handler, "validates", True))
        self._from_string: Callable[[bytes], Message] = GetMessageClass(descriptor.input_type).FromString
        self._streams_in = bool(descriptor.client_streaming)
        self._streams_out = bool(descriptor.server_streaming)

    def grpc_handler(self) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Give the handler for grpc to register; serializers are absent, for it hands over bytes."""
        if self._streams_in and self._streams_out:
            return grpc.stream_stream_rpc_method_handler(self._bidi)
        if self._streams_in:
            return grpc.stream_unary_rpc_method_handler(self._client_stream)
        if self._streams_out:
            return grpc.unary_stream_rpc_method_handler(self._server_stream)
        return grpc.unary_unary_rpc_method_handler(self._unary)

    def parse(self, data: bytes) -> Any:
        """Parse and check one request. Raises Refused (INVALID_FIELD)."""
        if self._raw:
            return data
        try:
            message = self._from_string(data)
        except DecodeError:
            raise Refused("INVALID_FIELD", "the request is no message of this rpc") from None
        if self._validates:
            validate(message)
        return message

    async def _unary(self, data: bytes, context: Any) -> bytes:
        started = perf_counter()
        call: Call | None = None
        timer: asyncio.TimerHandle | None = None
        code, failure = "OK", None
        try:
            call = self._gate.enter(self._method, self._roles, False, context)
            request = self.parse(data)
            timer = call.expire_with(asyncio.current_task())
            await self._admitted(call)
            return _encode(await self._handler(request, call))
        except asyncio.CancelledError:
            code = "CANCELLED"
            if call is not None and not call.remaining():
                code = failure = "DEADLINE_EXCEEDED"
                if call.expired:
                    await _end(context, Refused("DEADLINE_EXCEEDED", "the deadline passed before the call was done"))
            raise
        except Exception as error:
            status = status_of(error)
            code, failure = code_of(status).name, reason_of(error) or "INTERNAL"
            await context.abort(code_of(status), status.message, trailers_of(status))
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if call is not None:
                self._gate.leave(call, False, code, failure)
            self._telemetry.observe(self._method, code, perf_counter() - started)

    async def _server_stream(self, data: bytes, context: Any) -> None:
        async def serve(call: Call) -> None:
            await _pump(self._handler(self.parse(data), call), context)

        await self._guarded(context, serve)

    async def _bidi(self, _requests: Any, context: Any) -> None:
        async def serve(call: Call) -> None:
            await _pump(self._handler(Requests(self, context), call), context)

        await self._guarded(context, serve)

    async def _client_stream(self, _requests: Any, context: Any) -> bytes:
        async def serve(call: Call) -> bytes:
            return _encode(await self._handler(Requests(self, context), call))

        return await self._guarded(context, serve)

    async def _guarded(self, context: Any, serve: Callable[[Call], Awaitable[_T]]) -> _T:
        """Run a stream between the gate and the error table."""
        started = perf_counter()
        call: Call | None = None
        expiry: Expiry | None = None
        cut = Cut(asyncio.current_task())
        forget: Callable[[], None] | None = None
        code, failure = "OK", None
        try:
            call = self._gate.enter(self._method, self._roles, True, context)
            expiry = Expiry(call.caller.until, asyncio.current_task())
            await self._admitted(call)
            if self._gate.admission is not None and call.caller is not ANONYMOUS:
                forget = self._gate.admission.hold(call, cut)
            return await serve(call)
        except asyncio.CancelledError:
            code = "CANCELLED"
            if cut.refusal is not None:
                code, failure = code_of(status_of(cut.refusal)).name, reason_of(cut.refusal)
                await _end(context, cut.refusal)
            if expiry is not None and expiry.passed:
                code = failure = "UNAUTHENTICATED"
                await _end(context, Refused("UNAUTHENTICATED", "the bearer token expired while the stream was open"))
            raise
        except Exception as error:
            status = status_of(error)
            code, failure = code_of(status).name, reason_of(error) or "INTERNAL"
            await context.abort(code_of(status), status.message, trailers_of(status))
            raise
        finally:
            if expiry is not None:
                expiry.stop()
            if forget is not None:
                forget()
            if call is not None:
                self._gate.leave(call, True, code, failure)
            self._telemetry.observe(self._method, code, perf_counter() - started)

    async def _admitted(self, call: Call) -> None:
        """Ask the service's own rule, where it has one; nearly always answered without waiting."""
        admission = self._gate.admission
        if admission is None or call.caller is ANONYMOUS:
            return
        first = admission.check(call)
        if first is not None:
            await first


class Requests:
    """The requests of a stream, parsed and checked one by one as the handler asks for them."""

    __slots__ = ("_context", "_rpc")

    def __init__(self, rpc: Rpc, context: Any) -> None:
        """Read what ``context`` receives."""
        self._rpc = rpc
        self._context = context

    def __aiter__(self) -> Requests:
        """Iterate."""
        return self

    async def __anext__(self) -> Any:
        """Give the next request. Raises Refused (INVALID_FIELD) for one that breaks its rules, which ends the stream unless caught."""
        data = await self._context.read()
        if data is grpc.aio.EOF:
            raise StopAsyncIteration
        return self._rpc.parse(data)


async def _pump(frames: AsyncIterator[Message | bytes], context: Any) -> None:
    """Write what a handler yields; ``write`` waits while the client does not read, and so does the handler."""
    try:
        async for frame in frames:
            await context.write(frame if type(frame) is bytes else frame.SerializeToString())  # type: ignore[union-attr]
    except grpc.aio.InternalError as error:
        # grpc says so where a write meets a client that has left, which is no defect of anybody's.
        raise asyncio.CancelledError from error
    finally:
        close = getattr(frames, "aclose", None)
        if close is not None:
            # Else a generator left in the middle would run its cleanup some time later.
            await close()


async def _end(context: Any, refused: Exception) -> None:
    """Answer a call whose handler was cancelled by us, and not by its client."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
    status = status_of(refused)
    await context.abort(code_of(status), status.message, trailers_of(status))


def _encode(response: Message | bytes) -> bytes:
    return response if isinstance(response, bytes) else response.SerializeToString()
