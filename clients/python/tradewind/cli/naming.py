"""What a file names, as services want it named: the times of intents, and users."""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

_LATEST: Final = datetime(2026, 1, 1, tzinfo=UTC)
_ESCAPED: Final = "nick:"
_MOST: Final = 128


def milliseconds(at: datetime) -> int:
    """Milliseconds since the Unix epoch for the request id of something that a file dates `at`; without a zone it is taken as UTC.

    Services refuse ids from the future, and a file may hold any date: later ones count as the beginning of 2026. A fixed day, not today,
    so that the same file gives the same ids whenever it is read.
    """
    zoned = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return int(min(zoned, _LATEST).timestamp() * 1000)


def user_id_of(nick: str) -> str:
    """Give the user id of a nick of at most 128 characters: the nick itself, if it may be one, and otherwise one that no other nick has.

    A user id is of letters, marks, numbers, punctuation and symbols (Unicode L, M, N, P, S), with single spaces between words.
    """
    if not nick.startswith(_ESCAPED) and all(map(_is_seen, nick.split(" "))):
        return nick
    escaped = _ESCAPED + quote(nick, safe="")
    # Never as another's: quoting leaves no "=".
    return escaped if len(escaped) <= _MOST else f"{_ESCAPED}sha256={hashlib.sha256(nick.encode()).hexdigest()}"


def _is_seen(word: str) -> bool:
    return word != "" and all(unicodedata.category(each)[0] in "LMNPS" for each in word)
