"""Asks a child process whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2

from services.standalone.ports import HOST

Probe = Callable[[], Awaitable[bool]]

_TRY_SECONDS = 1.0
_HEALTH = "/grpc.health.v1.Health/Check"
# CQL binary protocol v4, section 2: version, flags, stream (2 bytes), opcode, length (4 bytes); a request of no body, and its answer.
_OPTIONS = bytes((4, 0, 0, 0, 5, 0, 0, 0, 0))
_SUPPORTED = 6


def serving(port: int) -> Probe:
    """Make a probe: does the gRPC server on ``port`` say that it serves (grpc.health.v1)?"""

    async def probe() -> bool:
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            check = channel.unary_unary(
                _HEALTH,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = await check(health_pb2.HealthCheckRequest(), timeout=_TRY_SECONDS)
            except grpc.aio.AioRpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return probe


def greeting(port: int, start: bytes) -> Probe:
    """Make a probe: does the server on ``port`` greet with a line that begins with ``start``?"""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(_TRY_SECONDS):
                reader, writer = await asyncio.open_connection(HOST, port)
                try:
                    return (await reader.readline()).startswith(start)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    return probe


def cql(host: str, port: int) -> Probe:
    """Make a probe: does the CQL server answer what it supports, as it does to anyone once it accepts clients?"""

    async def probe() -> bool:
        try:
            async with asyncio.timeout(_TRY_SECONDS):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(_OPTIONS)
                    return (await reader.readexactly(len(_OPTIONS)))[4] == _SUPPORTED
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False

    return probe
