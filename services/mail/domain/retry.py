"""What a reply code means, and how long to wait after a failure that may pass."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP server's last word: RFC 5321 code (0: there was none) and RFC 3463 enhanced code (empty: there was none)."""

    code: int = 0
    enhanced: str = ""

    @property
    def verdict(self) -> Verdict:
        """Read the first digit (RFC 5321, 4.2.1). No reply, and one outside 2xx to 5xx, is a failure that may pass."""
        if 200 <= self.code < 300:
            return Verdict.TAKEN
        return Verdict.HARD if 500 <= self.code < 600 else Verdict.SOFT


NO_REPLY = Reply()


class Verdict(Enum):
    """What a reply means for the mail."""

    TAKEN = "taken"
    SOFT = "soft"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from ``first_us`` to ``most_us``, each moved by up to a quarter so that failures do not return together."""

    first_us: int = MINUTE_US
    most_us: int = 60 * MINUTE_US

    def wait_us(self, failures: int, jitter: float) -> int:
        """Give the wait after the ``failures``-th failure (1, 2, …); ``jitter`` is in [0, 1)."""
        doublings = min(max(failures, 1) - 1, 40)
        wait = min(self.most_us, self.first_us << doublings)
        return int(wait * (0.75 + 0.5 * jitter))
