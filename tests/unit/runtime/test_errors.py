"""Every exception becomes the status that the contract promises, and nothing more than that."""

import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from structlog.testing import capture_logs
from tradewind.errors.v1 import errors_pb2

from services.runtime.errors import CODES, RETRY_AFTER, Refused, Violation, code_of, reason_of, status_of, trailers_of

CONTRACT = Path(__file__).resolve().parents[3] / "proto/tradewind/errors/v1/errors.proto"


def detail(error: BaseException, kind: type[Message]) -> Any:
    """The status's detail of a kind, or None."""
    found = kind()
    return next((found for packed in status_of(error).details if packed.Unpack(found)), None)


def promised() -> dict[str, tuple[str, bool]]:
    """What the contract's comments say of each reason: its code, and whether RetryInfo comes along."""
    rows = {}
    for comment, name in re.findall(r"((?:  //.*\n)+)  ERROR_REASON_(\w+) = [1-9]", CONTRACT.read_text()):
        code = re.findall(r"([A-Z_]{5,})\.\n$", comment)
        rows[name] = (code[0], "RetryInfo" in comment)
    return rows


def test_the_table_has_every_reason_with_the_code_that_the_contract_names() -> None:
    reasons = {
        name.removeprefix("ERROR_REASON_")
        for name in errors_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values_by_name
    } - {"UNSPECIFIED"}
    assert set(CODES) == reasons == set(promised())
    assert {name: code.name for name, code in CODES.items()} == {name: row[0] for name, row in promised().items()}


def test_retry_info_comes_with_the_reasons_that_promise_it() -> None:
    assert {name for name, row in promised().items() if row[1]} <= set(RETRY_AFTER) <= set(CODES)


@pytest.mark.parametrize("reason", sorted(CODES))
@pytest.mark.parametrize("prefix", ["", "ERROR_REASON_"])
def test_a_refusal_carries_its_reason(prefix: str, reason: str) -> None:
    error = Refused(prefix + reason, "why", metadata={"sku": "A1"})
    status = status_of(error)
    info = detail(error, error_details_pb2.ErrorInfo)
    assert (code_of(status), status.message) == (CODES[reason], "why")
    assert (info.reason, info.domain, dict(info.metadata)) == (reason, "tradewind", {"sku": "A1"})
    assert (detail(error, error_details_pb2.RetryInfo) is not None) == (reason in RETRY_AFTER)


def test_a_domain_s_own_exception_is_a_refusal_by_its_shape() -> None:
    class OutOfStock(Exception):
        reason = "OUT_OF_STOCK"
        message = "3 wanted, 1 there"
        field = "lines[0]"

    error = OutOfStock()
    assert status_of(error).message == "3 wanted, 1 there"
    violation = detail(error, error_details_pb2.BadRequest).field_violations[0]
    assert (violation.field, violation.description) == ("lines[0]", "3 wanted, 1 there")


def test_details_say_when_what_and_where() -> None:
    error = Refused(
        "INVALID_FIELD",
        "no",
        retry_after=0.25,
        resource=("order", "o-1"),
        violations=[Violation("a.b[1]", "string.max_len", "too long")],
    )
    assert detail(error, error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() == 250_000_000
    resource = detail(error, error_details_pb2.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("order", "o-1")
    violation = detail(error, error_details_pb2.BadRequest).field_violations[0]
    assert (violation.field, violation.description) == ("a.b[1]", "too long [string.max_len]")
    assert violation.reason == "STRING_MAX_LEN"


def test_a_defect_tells_its_caller_an_id_and_the_log_the_place_but_nobody_the_text() -> None:
    try:
        raise KeyError("ann@example.org said hello")
    except KeyError as error:
        with capture_logs() as lines:
            status = status_of(error)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert code_of(status) is grpc.StatusCode.INTERNAL
    assert info.metadata["error_id"] in status.message
    assert lines[0]["event"] == "unexpected_error"
    assert lines[0]["error_id"] == info.metadata["error_id"]
    assert "test_a_defect" in lines[0]["frames"][0]
    assert "ann@example.org" not in repr((status, lines))


def test_an_exception_that_happens_to_have_a_reason_is_a_defect() -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert reason_of(error) is None
    assert code_of(status_of(error)) is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "DEPENDENCY_UNAVAILABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        (grpc.StatusCode.INVALID_ARGUMENT, "INTERNAL"),
    ],
)
def test_what_another_service_answered_is_translated(answered: grpc.StatusCode, reason: str) -> None:
    empty = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(answered, empty, empty, details="its own words")
    assert detail(error, error_details_pb2.ErrorInfo).reason == reason
    assert "its own words" not in status_of(error).message


def test_the_trailer_is_the_status() -> None:
    status = status_of(Refused("NOT_FOUND", "no such order"))
    assert trailers_of(status) == (("grpc-status-details-bin", status.SerializeToString()),)
