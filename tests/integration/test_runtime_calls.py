"""A call's way through the gate to its handler and back, on a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.runtime.errors import CODES, Refused
from services.runtime.policy import PolicyGap
from services.runtime.server import CannotListen, Server
from services.runtime.telemetry import Telemetry
from services.runtime.tokens import Authenticator
from tests.integration.runtime_world import POLICY, Handlers, World, detail, refusal, serve, settings_in
from tests.unit.runtime.trial import parcel, trial_service


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = await serve(settings_in(tmp_path, trace_dir=tmp_path / "traces", trace_ratio=0.0, max_unary_calls=3))
    yield world
    await world.channel.close()
    await world.server.drain()


async def test_a_call_is_answered_and_knows_its_caller(world: World) -> None:
    assert (await world.say("hello", timeout=5)).label == "hello"
    (call,) = world.handlers.calls
    assert (call.caller.tenant, call.caller.subject, call.caller.roles) == ("acme", "ann", {"customer"})
    assert call.method == "/trial.v1.TrialService/Say"
    assert 0 < call.remaining() < 5.5
    assert call.traceparent is None


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer junk"),), (("authorization", "Basic YTpi"),)])
async def test_without_a_valid_token_nothing_is_served(world: World, metadata: Any) -> None:
    code, reason, _ = await refusal(world.say("hello", metadata=metadata))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    code, reason, _ = await refusal(world.count("", metadata=metadata).read())
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert not world.handlers.calls


async def test_a_role_that_the_table_does_not_name_is_denied(world: World) -> None:
    for roles in (["courier"], [], ["operator", "admin"]):
        code, reason, _ = await refusal(world.say("hello", metadata=world.header(roles=roles)))
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    assert not world.handlers.calls


async def test_field_rules_are_enforced_by_path_and_rule(world: World) -> None:
    request = parcel("sixteen letters at most", (1, 0))
    code, reason, status = await refusal(world.unary()(request, metadata=world.header()))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    violations = detail(status, error_details_pb2.BadRequest).field_violations
    assert [(violation.field, violation.reason) for violation in violations] == [
        ("label", "STRING_MAX_LEN"),
        ("parts[1].weight", "INT32_GT"),
    ]
    assert not world.handlers.calls


async def test_bytes_that_are_no_message_are_the_caller_s_fault(world: World) -> None:
    code, reason, _ = await refusal(world.unary()(b"\x0a\xff\xff", metadata=world.header()))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


@pytest.mark.parametrize("reason", sorted(CODES))
async def test_every_refusal_reaches_the_client_as_its_code(world: World, reason: str) -> None:
    world.handlers.error = Refused(reason, "because", metadata={"state": "placed"}, resource=("order", "o-1"))
    for call in (world.say("fail"), _drained(world.count("fail"))):
        code, told, status = await refusal(call)
        assert (code, told, status.message) == (CODES[reason], reason, "because")
        assert detail(status, error_details_pb2.ErrorInfo).metadata == {"state": "placed"}
        assert detail(status, error_details_pb2.ResourceInfo).resource_name == "o-1"


async def test_a_defect_is_internal_and_its_words_stay_in_the_dark(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.handlers.error = KeyError("ann@example.org wrote hunter2")
    for call in (world.say("fail"), _drained(world.count("fail"))):
        code, reason, status = await refusal(call)
        assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        error_id = detail(status, error_details_pb2.ErrorInfo).metadata["error_id"]
        assert status.message == f"internal error {error_id}"
    assert "hunter2" not in str(status)


async def test_an_unknown_method_is_unimplemented(world: World) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.unary("Shout")(parcel(), metadata=world.header())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_more_work_than_there_is_room_for_is_refused(world: World) -> None:
    held = [asyncio.ensure_future(world.say("hang", timeout=20)) for _ in range(3)]
    for _ in held:
        await world.handlers.hanging.acquire()
    code, reason, status = await refusal(world.say("hello"))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() > 0
    for call in held:
        call.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    await world.handlers.ended.wait()
    assert (await world.say("hello")).label == "hello"


async def test_health_and_reflection_need_no_token(world: World) -> None:
    health = health_pb2_grpc.HealthStub(world.channel)
    for service in ("", "trial.v1.TrialService"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    code, reason, _ = await refusal(health.Check(health_pb2.HealthCheckRequest(service="unknown")))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert "trial.v1.TrialService" in (await health.List(health_pb2.HealthListRequest())).statuses
    stream = reflection_pb2_grpc.ServerReflectionStub(world.channel).ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = await stream.read()
    assert "trial.v1.TrialService" in {service.name for service in listed.list_services_response.service}
    await stream.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="trial.v1.TrialService"))
    assert (await stream.read()).file_descriptor_response.file_descriptor_proto
    await stream.done_writing()


async def test_logs_and_spans_hold_no_token_and_no_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = await serve(settings_in(tmp_path, trace_dir=tmp_path / "traces", trace_ratio=1.0, log_level="debug"))
    token = world.header()[0][1]
    world.handlers.error = ValueError("hunter2")
    await refusal(world.say("fail", metadata=(("authorization", token),)))
    await refusal(world.say("x" * 17))
    await refusal(world.say("hello", metadata=(("authorization", token + "x"),)))
    await world.channel.close()
    await world.server.drain()
    written = capfd.readouterr()
    kept = written.err + written.out + "".join(file.read_text() for file in (tmp_path / "traces").iterdir())
    assert "unexpected_error" in kept
    assert [line for line in kept.splitlines() if not isinstance(json.loads(line), dict)] == []
    for secret in ("hunter2", token.removeprefix("Bearer ").split(".")[1], token[-20:], "x" * 17):
        assert secret not in kept


async def test_a_server_with_a_gap_in_its_table_does_not_start(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    for policy in ({}, {**POLICY, "/trial.v1.TrialService/Say": frozenset[str]()}):
        server = Server(settings, Telemetry.start("trial", settings), Authenticator.from_settings(settings), policy)
        with pytest.raises(PolicyGap, match="Say"):
            server.add(trial_service(), Handlers())


async def test_a_handler_that_is_missing_is_noticed_at_the_start(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    server = Server(settings, Telemetry.start("trial", settings), Authenticator.from_settings(settings), POLICY)
    with pytest.raises(AttributeError, match="Say"):
        server.add(trial_service(), object())


async def test_a_taken_port_is_said_in_one_line(world: World, tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="cannot listen on"):
        await serve(settings_in(tmp_path, listen=f"127.0.0.1:{world.server.port}"))


async def _drained(stream: Any) -> None:
    async for _ in stream:
        pass
