"""The yardstick: a bare grpc.aio server that echoes Chat's messages, with no authentication, validation, tracing or memory."""

import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.runtime.run import run


async def unary(request: pb.SendMessageRequest, _context: object) -> pb.SendMessageResponse:
    """Answers at once."""
    return pb.SendMessageResponse(version=len(request.content.text))


async def bidi(requests: AsyncIterator[pb.ConverseRequest], _context: object) -> AsyncIterator[pb.ConverseRequest]:
    """Gives every frame back."""
    async for request in requests:
        yield request


async def main() -> None:
    """Serves until ended."""
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(
            unary, pb.SendMessageRequest.FromString, pb.SendMessageResponse.SerializeToString
        ),
        "Bidi": grpc.stream_stream_rpc_method_handler(
            bidi, pb.ConverseRequest.FromString, pb.ConverseRequest.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    servicer = health.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(os.environ["TRADEWIND_LISTEN"])
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(run(main()))
