"""Exit codes, the same for every command."""

from __future__ import annotations

from enum import IntEnum

from tradewind.sdk import (
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    TradewindError,
    Transient,
    Unauthenticated,
)


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    """All of it was done."""
    REFUSED = 1
    """It was refused, or some items of it were."""
    USAGE = 2
    """The command line, its configuration or its file cannot be used; or a value breaks a rule, whoever found that."""
    UNAVAILABLE = 3
    """A service could not be reached, or did not answer in time; the same command again goes on."""
    UNAUTHORIZED = 4
    """No token, one that does not verify, or one that does not allow this."""
    INTERRUPTED = 130
    """Ctrl-C."""


HELP = (
    "Exit codes: 0 done; 1 refused, wholly or some items; 2 wrong usage, configuration or file; "
    "3 a service cannot be reached or does not answer in time; 4 no token, or not allowed; 130 interrupted."
)


def code_of(error: TradewindError) -> Exit:
    """The exit code that an error leads to."""
    if isinstance(error, Transient | DeadlineExceeded):
        return Exit.UNAVAILABLE
    if isinstance(error, Unauthenticated | PermissionDenied):
        return Exit.UNAUTHORIZED
    if isinstance(error, InvalidArgument):
        return Exit.USAGE
    return Exit.REFUSED
