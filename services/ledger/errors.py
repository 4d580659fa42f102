"""What the ledger refuses, each with the reason it travels under (`tradewind.errors.v1.ErrorReason`)."""

from __future__ import annotations


class LedgerError(Exception):
    """A refusal by the ledger itself.

    Attributes:
        reason: name of an ErrorReason without its prefix.
        retry_after: seconds to wait before the same call may succeed; None where waiting does not help.
        metadata: words for programs; never content.
    """

    reason = "INTERNAL"
    retry_after: float | None = None

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class RequestIdReused(LedgerError):
    """The request id was used before for another content."""

    reason = "REQUEST_ID_REUSED"


class InvalidRequestId(LedgerError):
    """The request id is no UUIDv7, or is dated more than a day ahead."""

    reason = "INVALID_FIELD"
    field = "request_id"


class Unavailable(LedgerError):
    """Log or store cannot be reached. The outcome may be unknown: the same request id settles it."""

    reason = "LOG_UNAVAILABLE"
    retry_after = 1.0


class LogUnavailable(Unavailable):
    """The log cannot be reached, or did not answer in time."""


class StoreUnavailable(Unavailable):
    """The store cannot be reached, or did not answer in time."""

    reason = "STORE_UNAVAILABLE"


class Contention(LedgerError):
    """Too many other writers on one aggregate; nothing was written."""

    reason = "CONTENTION"
    retry_after = 0.1


class Overloaded(LedgerError):
    """The aggregate's queue is full; nothing was written."""

    reason = "OVERLOADED"
    retry_after = 0.5


class TooLarge(LedgerError):
    """What one command writes does not fit one message of the log; nothing was written."""

    reason = "INVALID_FIELD"


class DeadlineExceeded(LedgerError):
    """The caller's time was up. The outcome may be unknown: the same request id settles it."""

    reason = "DEADLINE_EXCEEDED"


class HistoryGap(LedgerError):
    """The log holds the aggregate only in part and the store does not hold the rest; an operator must restore."""

    reason = "HISTORY_GAP"


class StoreLost(StoreUnavailable):
    """The log has a life this store knows nothing of: the store was lost, or is another's. An operator must restore it."""

    retry_after = 5.0


class LogLost(LogUnavailable):
    """The registered life of the log is gone or shorter than the store: an operator must recover the log."""

    retry_after = 5.0


class FenceLost(Exception):
    """Another writer appended first (JetStream error 10071): reload and decide again."""
