"""What can go wrong, as a tree. Catch a branch to mean all below it.

    TradewindError
    ├── Refused               the server said no; the same call gives the same answer
    │   ├── InvalidArgument     a field breaks its rule; see `field_violations`
    │   ├── Unauthenticated     no token, or one that does not verify
    │   ├── PermissionDenied    roles, or the caller's place in the resource, do not allow it
    │   ├── NotFound            there is none, or none the caller may know of
    │   ├── AlreadyExists       the request id, or the resource's id, is taken by other content
    │   └── FailedPrecondition  the resource's state does not allow it now
    ├── Transient             not now; the client has tried again until its patience or the deadline ended
    │   ├── Unavailable         the server, its log or its store cannot be reached
    │   ├── RateLimited         too fast, or the server holds as much work as it allows itself
    │   └── Contention          too many writers met on one resource; nothing was written
    ├── DeadlineExceeded      too late; whether it was done is settled by the same request id
    ├── DataLoss              the history has a hole; an operator must restore
    ├── ServerFault           a defect of the server
    ├── ClientClosed          the client was closed meanwhile, or before
    └── StreamFault           a stream did not do what it promises
        ├── VersionGap          an event that is not the next one
        ├── SubscriptionEnded   one conversation of a session is heard no more
        └── SessionClosed       the session was closed before the answer came

Branch on the class or on `reason`, a name of `tradewind.errors.v1.ErrorReason` without its prefix; never on the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import grpc
import grpc.aio
import protovalidate
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_PREFIX = "ERROR_REASON_"


class FieldViolation(NamedTuple):
    """A field that breaks a rule: its path such as `content.text`, and what is wrong with it."""

    field: str
    description: str


class TradewindError(Exception):
    """Everything this client raises on purpose.

    `reason`: name of an ErrorReason, or empty where the error did not come from a service. `retry_after`: seconds the server asked
    to wait, or None. `resource`: (type, name) or None. `metadata`: what the reason needs to be understood, such as the state of an order.
    """

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        retry_after: float | None = None,
        field_violations: Iterable[FieldViolation] = (),
        resource: tuple[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or reason)
        self.message = message
        self.reason = reason
        self.retry_after = retry_after
        self.field_violations = tuple(field_violations)
        self.resource = resource
        self.metadata = dict(metadata or {})

    def __str__(self) -> str:
        """Reason and message."""
        return ": ".join(part for part in (self.reason, self.message) if part) or type(self).__name__


class Refused(TradewindError):
    """The server said no; the same call gives the same answer."""


class InvalidArgument(Refused):
    """A field breaks its rule; see `field_violations`."""


class Unauthenticated(Refused):
    """No token, or one that does not verify."""


class PermissionDenied(Refused):
    """Roles, or the caller's place in the resource, do not allow it."""


class NotFound(Refused):
    """There is none, or none the caller may know of."""


class AlreadyExists(Refused):
    """The request id, or the resource's id, is taken by other content."""


class FailedPrecondition(Refused):
    """The resource's state does not allow it now."""


class Transient(TradewindError):
    """Not now; the client has tried again until its patience or the deadline ended."""


class Unavailable(Transient):
    """The server, its log or its store cannot be reached."""


class RateLimited(Transient):
    """Too fast, or the server holds as much work as it allows itself."""


class Contention(Transient):
    """Too many writers met on one resource; nothing was written."""


class DeadlineExceeded(TradewindError):
    """Too late; whether it was done is settled by the same request id."""


class DataLoss(TradewindError):
    """The history has a hole; an operator must restore."""


class ServerFault(TradewindError):
    """A defect of the server; the message holds an id that its log explains."""


class ClientClosed(TradewindError):
    """The client was closed meanwhile, or before; what was asked may have been done."""


class StreamFault(TradewindError):
    """A stream did not do what it promises."""


class VersionGap(StreamFault):
    """An event that is not the next one: `expected` and `got` are versions of `resource_id`."""

    def __init__(self, resource_id: str, expected: int, got: int) -> None:
        super().__init__(f"the stream of {resource_id} should go on with version {expected} and went on with {got}")
        self.resource_id = resource_id
        self.expected = expected
        self.got = got


class SubscriptionEnded(StreamFault):
    """A conversation of a session is heard no more; `__cause__` says why. The session goes on."""

    def __init__(self, conversation_id: str, cause: TradewindError) -> None:
        super().__init__(f"conversation {conversation_id} is heard no more: {cause}", reason=cause.reason)
        self.conversation_id = conversation_id
        self.__cause__ = cause


class SessionClosed(StreamFault):
    """The session was closed before the answer came."""


_CLASSES: Mapping[int, type[TradewindError]] = {
    code.value[0]: kind
    for code, kind in (
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.OUT_OF_RANGE, InvalidArgument),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
        (grpc.StatusCode.UNIMPLEMENTED, Refused),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, RateLimited),
        (grpc.StatusCode.ABORTED, Contention),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.DATA_LOSS, DataLoss),
    )
}
# What gRPC itself makes of a connection that broke. A service's own defect carries details and is not taken for it.
_BROKEN = frozenset(
    code.value[0] for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
)


def from_status(status: status_pb2.Status) -> TradewindError:
    """Turn a `google.rpc.Status` into the error of this tree that it means."""
    facts: dict[str, Any] = {}
    for detail in status.details:
        _read(detail, facts)
    kind = _CLASSES.get(status.code, ServerFault)
    if kind is ServerFault and status.code in _BROKEN and not facts:
        kind = Unavailable
    return kind(status.message, **facts)


def from_rpc(error: grpc.aio.AioRpcError) -> TradewindError:
    """Turn what gRPC raises into an error of this tree."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break  # not of a Tradewind service; code and message are all there is
    return from_status(status_pb2.Status(code=error.code().value[0], message=error.details() or ""))


def check(request: Message) -> None:
    """Hold a request to the field rules of its contract before it is sent. Raises InvalidArgument.

    Streams need it: a frame with one broken item would end the stream for all the others in it.
    """
    try:
        protovalidate.validate(request)
    except protovalidate.ValidationError as error:
        violations = [FieldViolation(_path(each.proto.field), each.proto.message) for each in error.violations]
        first = violations[0]
        raise InvalidArgument(
            f"{first.field}: {first.description}", reason="INVALID_FIELD", field_violations=violations
        ) from error


def _path(path: Any) -> str:
    elements = path.elements if path is not None else ()
    return ".".join(element.field_name for element in elements)


def _read(detail: Any, facts: dict[str, Any]) -> None:
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    request = error_details_pb2.BadRequest()
    resource = error_details_pb2.ResourceInfo()
    if detail.Unpack(info):
        facts["reason"] = info.reason.removeprefix(_PREFIX)
        facts["metadata"] = dict(info.metadata)
    elif detail.Unpack(retry):
        facts["retry_after"] = retry.retry_delay.ToNanoseconds() / 1e9
    elif detail.Unpack(request):
        facts["field_violations"] = [FieldViolation(v.field, v.description) for v in request.field_violations]
    elif detail.Unpack(resource):
        facts["resource"] = (resource.resource_type, resource.resource_name)
