"""Refusals, and how each becomes a ``google.rpc.Status`` (google/rpc/status.proto, error_details.proto).

An exception is a refusal when it has an attribute ``reason`` that names a value of ``tradewind.errors.v1.ErrorReason``,
with or without the prefix ``ERROR_REASON_``. On the wire the reason goes without it (AIP-193). Everything else is a defect:
the caller gets an opaque id, the log the place it came from, nobody the text.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.runtime.logs import describe

DOMAIN: Final = "tradewind"
DETAILS_KEY: Final = "grpc-status-details-bin"
# Clients take 8 KB of trailers unless told otherwise.
_MOST_TEXT: Final = 512
_PREFIX: Final = "ERROR_REASON_"
_Code = grpc.StatusCode

CODES: Final[Mapping[str, grpc.StatusCode]] = {
    "INVALID_FIELD": _Code.INVALID_ARGUMENT,
    "INVALID_PAGE_TOKEN": _Code.INVALID_ARGUMENT,
    "UNAUTHENTICATED": _Code.UNAUTHENTICATED,
    "FORBIDDEN": _Code.PERMISSION_DENIED,
    "NOT_FOUND": _Code.NOT_FOUND,
    "REQUEST_ID_REUSED": _Code.ALREADY_EXISTS,
    "ALREADY_EXISTS": _Code.ALREADY_EXISTS,
    "RATE_LIMITED": _Code.RESOURCE_EXHAUSTED,
    "OVERLOADED": _Code.RESOURCE_EXHAUSTED,
    "LOG_UNAVAILABLE": _Code.UNAVAILABLE,
    "STORE_UNAVAILABLE": _Code.UNAVAILABLE,
    "DEPENDENCY_UNAVAILABLE": _Code.UNAVAILABLE,
    "CONTENTION": _Code.ABORTED,
    "HISTORY_GAP": _Code.DATA_LOSS,
    "DEADLINE_EXCEEDED": _Code.DEADLINE_EXCEEDED,
    "DRAINING": _Code.UNAVAILABLE,
    "INTERNAL": _Code.INTERNAL,
    "NOT_A_MEMBER": _Code.PERMISSION_DENIED,
    "WRONG_CONVERSATION_KIND": _Code.FAILED_PRECONDITION,
    "MEMBERS_LIMIT": _Code.FAILED_PRECONDITION,
    "NO_SUCH_MESSAGE": _Code.FAILED_PRECONDITION,
    "LAST_OWNER": _Code.FAILED_PRECONDITION,
    "MUTED": _Code.PERMISSION_DENIED,
    "BANNED": _Code.PERMISSION_DENIED,
    "SLOW_MODE": _Code.RESOURCE_EXHAUSTED,
    "NO_SUCH_MEMBER": _Code.FAILED_PRECONDITION,
    "SANCTIONS_LIMIT": _Code.FAILED_PRECONDITION,
    "PINS_LIMIT": _Code.FAILED_PRECONDITION,
    "EDITS_LIMIT": _Code.FAILED_PRECONDITION,
    "REACTIONS_LIMIT": _Code.FAILED_PRECONDITION,
    "USER_BANNED": _Code.PERMISSION_DENIED,
    "MESSAGE_REFUSED": _Code.PERMISSION_DENIED,
    "REPORT_RESOLVED": _Code.FAILED_PRECONDITION,
    "NO_SUCH_ACTION": _Code.FAILED_PRECONDITION,
    "INVITATION_EXPIRED": _Code.FAILED_PRECONDITION,
    "INVITATION_REVOKED": _Code.FAILED_PRECONDITION,
    "INVITATION_USED_UP": _Code.FAILED_PRECONDITION,
    "INVITATIONS_LIMIT": _Code.FAILED_PRECONDITION,
    "SCHEDULED_LIMIT": _Code.FAILED_PRECONDITION,
    "SCHEDULED_SEND_BEGUN": _Code.FAILED_PRECONDITION,
    "NO_SUCH_ATTACHMENT": _Code.FAILED_PRECONDITION,
    "WRONG_UPLOAD_STATE": _Code.FAILED_PRECONDITION,
    "WRONG_UPLOAD_OFFSET": _Code.FAILED_PRECONDITION,
    "CONTENT_MISMATCH": _Code.FAILED_PRECONDITION,
    "CONTENT_REFUSED": _Code.FAILED_PRECONDITION,
    "ATTACHMENTS_LIMIT": _Code.FAILED_PRECONDITION,
    "CONTENTS_NOT_SEALED": _Code.FAILED_PRECONDITION,
    "WRONG_ORDER_STATE": _Code.FAILED_PRECONDITION,
    "OUT_OF_STOCK": _Code.FAILED_PRECONDITION,
    "UNKNOWN_ITEM": _Code.FAILED_PRECONDITION,
    "CURRENCY_MISMATCH": _Code.INVALID_ARGUMENT,
    "STOCK_BELOW_ZERO": _Code.FAILED_PRECONDITION,
    "NO_RESERVATION": _Code.FAILED_PRECONDITION,
    "PAYMENT_DECLINED": _Code.FAILED_PRECONDITION,
    "PAYMENT_NOT_FOUND": _Code.NOT_FOUND,
    "WRONG_PAYMENT_STATE": _Code.FAILED_PRECONDITION,
    "UNKNOWN_TEMPLATE": _Code.FAILED_PRECONDITION,
    "TEMPLATE_FAILED": _Code.INVALID_ARGUMENT,
    "SENDER_NOT_ALLOWED": _Code.PERMISSION_DENIED,
    "WRONG_MAIL_STATE": _Code.FAILED_PRECONDITION,
}
"""The one table: reason (without prefix) to status code, as the comments of errors.proto say."""

RETRY_AFTER: Final[Mapping[str, float]] = {
    "RATE_LIMITED": 1.0,
    "SLOW_MODE": 1.0,
    "OVERLOADED": 1.0,
    "LOG_UNAVAILABLE": 1.0,
    "STORE_UNAVAILABLE": 1.0,
    "DEPENDENCY_UNAVAILABLE": 1.0,
    "CONTENTION": 0.05,
    "DRAINING": 0.1,
}
"""Seconds told in RetryInfo where the exception itself names none."""


class Violation(NamedTuple):
    """One broken field rule: the field's path, the rule's id, and what it asks for (never the value)."""

    field: str
    rule: str
    description: str


class Refused(Exception):
    """A call refused for a reason of the contract; domains raise their own exceptions of the same shape."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        resource: tuple[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        """Refuse for ``reason``; ``retry_after`` in seconds, ``resource`` as (type, name)."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = metadata
        self.retry_after = retry_after
        self.resource = resource
        self.violations = violations


def reason_of(error: BaseException) -> str | None:
    """Name the refusal's reason without prefix, or None when the exception is no refusal but a defect."""
    if isinstance(error, grpc.aio.AioRpcError):
        error = _of_dependency(error)
    reason = getattr(error, "reason", None)
    if not isinstance(reason, str):
        return None
    name = reason.removeprefix(_PREFIX)
    return name if name in CODES else None


def status_of(error: BaseException) -> status_pb2.Status:
    """Turn any exception into the Status its caller may see; a defect is logged here, once, under an opaque id."""
    if isinstance(error, grpc.aio.AioRpcError):
        error = _of_dependency(error)
    reason = reason_of(error)
    if reason is None:
        return _defect(error)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=getattr(error, "metadata", None) or {})
    ]
    retry_after = getattr(error, "retry_after", None)
    if retry_after is None:
        retry_after = RETRY_AFTER.get(reason)
    if retry_after is not None:
        details.append(_retry_info(retry_after))
    message = str(getattr(error, "message", "") or error)[:_MOST_TEXT]
    bad_request = _bad_request(error, message)
    if bad_request is not None:
        details.append(bad_request)
    resource = getattr(error, "resource", None)
    if resource:
        details.append(error_details_pb2.ResourceInfo(resource_type=resource[0], resource_name=resource[1]))
    return _status(CODES[reason], message, details)


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """Give the status's code as grpc knows it."""
    return _BY_NUMBER[status.code]


def trailers_of(status: status_pb2.Status) -> tuple[tuple[str, bytes]]:
    """Give the trailing metadata that carries the details."""
    return ((DETAILS_KEY, status.SerializeToString()),)


def _status(code: grpc.StatusCode, message: str, details: Sequence[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(max(0, round(seconds * 1e9)))
    return info


def _bad_request(error: BaseException, message: str) -> error_details_pb2.BadRequest | None:
    violations: Sequence[Violation] = getattr(error, "violations", ())
    field = getattr(error, "field", None)
    if not violations and field:
        violations = (Violation(field, "", message),)
    if not violations:
        return None
    request = error_details_pb2.BadRequest()
    for violation in violations:
        entry = request.field_violations.add(field=violation.field, description=violation.description)
        if violation.rule:
            entry.description = f"{violation.description} [{violation.rule}]"
            entry.reason = violation.rule.upper().replace(".", "_")
    return request


def _of_dependency(error: grpc.aio.AioRpcError) -> Exception:
    """Translate another service's answer that no handler has dealt with; what it said is its caller's affair, not ours."""
    code = error.code()
    if code is _Code.DEADLINE_EXCEEDED:
        return Refused("DEADLINE_EXCEEDED", "a service this call needs did not answer in time")
    if code in (_Code.UNAVAILABLE, _Code.RESOURCE_EXHAUSTED):
        return Refused("DEPENDENCY_UNAVAILABLE", "a service this call needs cannot be reached")
    return error


def _defect(error: BaseException) -> status_pb2.Status:
    error_id = secrets.token_hex(8)
    facts: dict[str, Any] = describe(error)
    if isinstance(error, grpc.aio.AioRpcError):
        facts["dependency_code"] = error.code().name
    structlog.get_logger("tradewind.runtime").error("unexpected_error", error_id=error_id, **facts)
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})
    return _status(_Code.INTERNAL, f"internal error {error_id}", [info])


_BY_NUMBER: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}
