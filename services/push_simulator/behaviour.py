"""What a device's token makes the simulator do; the tokens are described in the package's docstring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MOST_MS: Final = 60_000
_MOST_TIMES: Final = 1000


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What goes wrong with a token. Counts are of tries, or of calls, from the first on; None: never."""

    invalid_after: int | None = None
    """From how many delivered notifications on the token is invalid."""
    later: int = 0
    """So many tries of each notification are put off."""
    slow_ms: int = 0
    """A call that carries it takes so long."""
    unavailable: int = 0
    """So many calls do nothing and fail."""
    lost: int = 0
    """So many calls are done and fail."""


def behaviour_of(token: str) -> Behaviour:
    """Read a token; one that says nothing works."""
    word, _, rest = token.partition(":")
    number = rest.partition(":")[0]
    times = int(number) if number.isdecimal() and len(number) < 9 else 1
    match word:
        case "gone-after":
            return Behaviour(invalid_after=times)
        case "later":
            return Behaviour(later=min(times, _MOST_TIMES))
        case "slow":
            return Behaviour(slow_ms=min(times, _MOST_MS))
        case "unavailable":
            return Behaviour(unavailable=min(times, _MOST_TIMES))
        case "lost":
            return Behaviour(lost=min(times, _MOST_TIMES))
    return Behaviour(invalid_after=0) if token.startswith("invalid") else Behaviour()
