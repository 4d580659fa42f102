"""Where a write meets a stream that the server has just ended, gRPC's client says that the write failed and hides why the stream ended.

Who asks again is told; only how often it has to ask is chance.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

_Answer = TypeVar("_Answer")
_TRIES = 50


def hides_the_end(error: grpc.aio.AioRpcError) -> bool:
    """Whether this is the client's own word for a write that came too late, and not the server's."""
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"


async def until_told(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Ask, and again while the end is hidden. Raises what it is told: AioRpcError."""
    for _ in range(_TRIES):
        try:
            return await ask()
        except grpc.aio.AioRpcError as error:
            if not hides_the_end(error):
                raise
    raise AssertionError(f"{_TRIES} writes in a row met a stream that had just ended")
