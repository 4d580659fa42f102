"""Asks a gRPC server whether it serves (grpc.health.v1), for probes of containers: ``python -m services.runtime.healthy host:port``.

Exit code 0 when it does, 1 when it does not or there is no answer within three seconds.
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SECONDS = 3.0


def main(target: str) -> int:
    """Ask; returns the exit code."""
    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError:
            return 1
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
