"""Traces and metrics reach a collector over OTLP, and a collector that is gone holds nothing up."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from time import monotonic
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

from tests.integration.runtime_world import refusal, serve, settings_in


class Collector(trace_grpc.TraceServiceServicer, metrics_grpc.MetricsServiceServicer):
    """Takes what is exported; one ``Export`` serves both, as the two services name their method alike."""

    def __init__(self) -> None:
        self.taken: Queue[Any] = Queue()

    def Export(self, request: Any, _context: grpc.ServicerContext) -> Any:
        self.taken.put(request)
        traces = isinstance(request, trace_pb2.ExportTraceServiceRequest)
        return trace_pb2.ExportTraceServiceResponse() if traces else metrics_pb2.ExportMetricsServiceResponse()

    def all(self) -> list[Any]:
        """What was taken so far."""
        return [self.taken.get_nowait() for _ in range(self.taken.qsize())]


@pytest.fixture
def collector() -> Iterator[tuple[str, Collector]]:
    server = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    trace_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    metrics_grpc.add_MetricsServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", collector
    server.stop(0).wait()


async def test_spans_and_latencies_are_exported(collector: tuple[str, Collector], tmp_path: Path) -> None:
    endpoint, taken = collector
    world = await serve(settings_in(tmp_path, otlp_endpoint=endpoint, trace_ratio=1.0))
    await world.say("hello")
    await refusal(world.say("fail"))
    await world.channel.close()
    await world.server.drain()
    spans, points = [], []
    for request in taken.all():
        for resource in getattr(request, "resource_spans", ()):
            assert {"key": "service.name", "value": "trial"} in [
                {"key": attribute.key, "value": attribute.value.string_value}
                for attribute in resource.resource.attributes
            ]
            spans += [span for scope in resource.scope_spans for span in scope.spans]
        for resource in getattr(request, "resource_metrics", ()):
            points += [
                point for scope in resource.scope_metrics for metric in scope.metrics for point in _points(metric)
            ]
    assert [span.name for span in spans] == ["trial.v1.TrialService/Say"] * 2
    assert [span.status.message for span in spans] == ["", "NOT_FOUND"]
    assert {(point["rpc.method"], point["rpc.grpc.status_code"]): point["count"] for point in points} == {
        ("/trial.v1.TrialService/Say", "OK"): 1,
        ("/trial.v1.TrialService/Say", "NOT_FOUND"): 1,
    }


def _points(metric: Any) -> list[dict[str, Any]]:
    if metric.name != "rpc.server.call.duration":
        return []
    return [
        {"count": point.count} | {attribute.key: attribute.value.string_value for attribute in point.attributes}
        for point in metric.histogram.data_points
    ]


async def test_a_collector_that_is_gone_holds_nothing_up(
    tmp_path: Path, unused_tcp_port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    world = await serve(
        settings_in(
            tmp_path, otlp_endpoint=f"http://127.0.0.1:{unused_tcp_port}", trace_ratio=1.0, listen="127.0.0.1:0"
        )
    )
    answers = await asyncio.gather(*[world.say("hello") for _ in range(50)])
    assert len(answers) == 50
    await world.channel.close()
    started = monotonic()
    await world.server.drain()
    assert monotonic() - started < 20
