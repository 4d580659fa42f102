"""A broken promise."""

from dataclasses import dataclass

LOST = "lost"
DOUBLED = "doubled"
REFUSED_BUT_THERE = "refused but there"
ANSWERS_DIFFER = "answers differ"
HOLE = "hole in the versions"
CONTENT = "content differs"
BYTES = "watchers saw different bytes"
SKIPPED = "a watcher missed or repeated a version"
MADE_UP = "shown but not stored"
STOCK = "stock does not add up"
OVERSOLD = "oversold"
MONEY = "money does not add up"
TOLD = "an order's conversation does not tell its steps once each"
MAILED = "mailed more often than attempts say"
UNDELIVERED = "said delivered but never received"


@dataclass(frozen=True, slots=True)
class Finding:
    """Which promise, and where."""

    rule: str
    where: str
