"""Health (grpc.health.v1) and reflection (grpc.reflection.v1alpha), as handlers like any other."""

# ruff: noqa: N802 (the contract names the methods)
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection_aio

from services.runtime.call import Call
from services.runtime.errors import Refused
from services.runtime.policy import PUBLIC, Policy

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
_Status = health_pb2.HealthCheckResponse


class Health:
    """Says whether this process serves: all its services together, or none."""

    def __init__(self) -> None:
        """Begin as not serving."""
        self._services = {""}
        self._serving = False
        self._changed = asyncio.Event()

    def serve(self, services: Iterable[str]) -> None:
        """Say that these services are served from now on."""
        self._services.update(services)
        self._set(serving=True)

    def stop(self) -> None:
        """Say that nothing is served any more."""
        self._set(serving=False)

    def _set(self, *, serving: bool) -> None:
        self._serving = serving
        # Whoever waits holds the old event; who comes later waits for the new one.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._serving else _Status.NOT_SERVING

    async def Check(self, request: health_pb2.HealthCheckRequest, _call: Call) -> health_pb2.HealthCheckResponse:
        """Say how a service is now. Raises Refused (NOT_FOUND) for one that is not here."""
        if request.service not in self._services:
            raise Refused("NOT_FOUND", "no such service here")
        return _Status(status=self._status(request.service))

    async def List(self, _request: Any, _call: Call) -> health_pb2.HealthListResponse:
        """Say how all services are."""
        return health_pb2.HealthListResponse(
            statuses={service: _Status(status=self._status(service)) for service in self._services}
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, call: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Say how a service is, now and whenever that changes; ends when the server drains."""
        while True:
            changed, draining = self._changed, call.draining.is_set()
            yield _Status(status=self._status(request.service))
            if draining:
                return
            await changed.wait()


class Reflection:
    """Describes the served services to tools."""

    def __init__(self, services: Iterable[str]) -> None:
        """Describe these."""
        self._servicer = reflection_aio.ReflectionServicer(services)

    def ServerReflectionInfo(self, requests: AsyncIterator[Any], _call: Call) -> AsyncIterator[Any]:
        """Answer one question a request."""
        answers: AsyncIterator[Any] = self._servicer.ServerReflectionInfo(requests, None)
        return answers


def public_policy() -> Policy:
    """Give the rows of the table for these two: served to anyone, as probes and tools carry no token."""
    return {
        f"/{service.full_name}/{method.name}": PUBLIC for service in (HEALTH, REFLECTION) for method in service.methods
    }
