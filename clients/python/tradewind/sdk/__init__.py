"""Tradewind's client for asyncio: calls that try again, streams that go on, errors with types.

Start at `Client`. Messages are those of the contracts (`tradewind.chat.v1` and its neighbours); this layer adds what a stub lacks.
"""

from tradewind.sdk._admin import Admin
from tradewind.sdk._bulk import Outcome
from tradewind.sdk._chat import Chat
from tradewind.sdk._chat_inbox import InboxList
from tradewind.sdk._client import Client, Endpoints
from tradewind.sdk._connection import Tls, Token
from tradewind.sdk._errors import (
    AlreadyExists,
    ClientClosed,
    Contention,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RateLimited,
    Refused,
    ServerFault,
    SessionClosed,
    StreamFault,
    SubscriptionEnded,
    TradewindError,
    Transient,
    Unauthenticated,
    Unavailable,
    VersionGap,
)
from tradewind.sdk._mail import Mails, SendOutcome, StatsFrame
from tradewind.sdk._news import News
from tradewind.sdk._order import Orders, PlaceOutcome
from tradewind.sdk._request_ids import derive_request_id, new_request_id
from tradewind.sdk._retry import RetryPolicy
from tradewind.sdk._session import Session

__all__ = [
    "Admin",
    "AlreadyExists",
    "Chat",
    "Client",
    "ClientClosed",
    "Contention",
    "DataLoss",
    "DeadlineExceeded",
    "Endpoints",
    "FailedPrecondition",
    "FieldViolation",
    "InboxList",
    "InvalidArgument",
    "Mails",
    "News",
    "NotFound",
    "Orders",
    "Outcome",
    "PermissionDenied",
    "PlaceOutcome",
    "RateLimited",
    "Refused",
    "RetryPolicy",
    "SendOutcome",
    "ServerFault",
    "Session",
    "SessionClosed",
    "StatsFrame",
    "StreamFault",
    "SubscriptionEnded",
    "Tls",
    "Token",
    "TradewindError",
    "Transient",
    "Unauthenticated",
    "Unavailable",
    "VersionGap",
    "derive_request_id",
    "new_request_id",
]
