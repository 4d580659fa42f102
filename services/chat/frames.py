"""Frames of Converse, joined from bytes: protobuf's fields may simply stand one after the other.

What every reader of a place is given is encoded once and shared; what one reader alone is given is a result of some forty bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from google.rpc import status_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat.wire import timestamp_bytes
from services.ledger.ids import AggregateId
from services.ledger.varint import field, varint

# Fields of ConverseResponse, SendResult and Delivery; the tests of this module hold them to the contract.
_RESULT: Final = b"\x0a"
_DELIVERY: Final = b"\x12"
_REQUEST_ID: Final = b"\x0a"
_RESULT_VERSION: Final = b"\x10"
_SEND_TIME: Final = 3
_CONVERSATION_ID: Final = 1


def send_result(request_id: str, version: int, at_us: int) -> bytes:
    """Encode the answer to a send that was taken, as a field of ConverseResponse."""
    name = request_id.encode()
    number = varint(version)
    sent = _sent(at_us)
    size = len(name) + len(number) + len(sent) + 3  # the two tags, and the length of a name shorter than 128
    if len(name) > 127:
        size += len(varint(len(name))) - 1
    return b"".join((_RESULT, varint(size), _REQUEST_ID, varint(len(name)), name, _RESULT_VERSION, number, sent))


@lru_cache(maxsize=256)
def _sent(at_us: int) -> bytes:
    return field(_SEND_TIME, timestamp_bytes(at_us))


def refusal(request_id: str, error: status_pb2.Status) -> bytes:
    """Encode the answer to a send that was refused, as a field of ConverseResponse."""
    return pb.ConverseResponse(results=[pb.SendResult(request_id=request_id, error=error)]).SerializeToString()


def delivery(conversation_id: str, events: bytes) -> bytes:
    """Encode a run of events (field 2, repeated) as a delivery, as a field of ConverseResponse."""
    name = _named(conversation_id)
    return b"".join((_DELIVERY, varint(len(name) + len(events)), name, events))


@lru_cache(maxsize=4096)
def _named(conversation_id: str) -> bytes:
    return field(_CONVERSATION_ID, conversation_id.encode())


def wrap(aggregate: AggregateId, events: bytes) -> bytes:
    """Wrap a run of events for all watchers of an aggregate; the ledger keeps what this gives."""
    return delivery(aggregate.id, events)


def ended(conversation_id: str, error: status_pb2.Status) -> bytes:
    """Encode the end of a subscription, as a field of ConverseResponse."""
    gone = pb.SubscriptionEnded(conversation_id=conversation_id, error=error)
    return pb.ConverseResponse(ended=[gone]).SerializeToString()
