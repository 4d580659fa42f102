"""Texts as words that can be compared: what is typed in another case, with other accents or in another form of writing is the same word.

Forms are those of Unicode normalisation (UAX 15, NFKC) and case folding; words are runs of letters, digits and the marks on them. Scripts
that put no spaces between words have no words that could be told without a dictionary: there every character is a word of its own,
and what is typed is looked for as characters in a row, so that it is found wherever it stands. Symbols such as emoji are taken
one by one too. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

_ASCII_WORD: Final = re.compile(r"[a-z0-9]+")
_ACCENTS: Final = (
    (0x0300, 0x036F), (0x0591, 0x05C7), (0x0610, 0x061A), (0x0640, 0x0640), (0x064B, 0x065F), (0x0670, 0x0670),
    (0x06D6, 0x06ED), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F),
)  # fmt: skip
"""Marks that many leave out when they type: accents, Hebrew points, Arabic vowels and stretching. Not those without which a word of an
Indian script or a Japanese syllable is another one."""
_UNSPACED: Final = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029),
    (0x3031, 0x3035), (0x3041, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Thai, Lao, Myanmar, Khmer, the Han characters, Kana and Bopomofo; and Hangul, whose words carry their particles with them."""
_SKIN_TONES: Final = (0x1F3FB, 0x1F3FF)
_ZERO_WIDTH_SPACE: Final = "\u200b"
_JAMO: Final = (0x1160, 0x11FF)
_MOST_MARKS: Final = 30
_HALFWIDTH_MARKS: Final = "\uff9e\uff9f"


class Word(NamedTuple):
    """A word as it is compared, and where it stands: code points of the text, the end not included."""

    text: str
    start: int
    end: int


def words(text: str) -> list[Word]:
    """Give a text's words in order."""
    if text.isascii():
        return [Word(found[0], found.start(), found.end()) for found in _ASCII_WORD.finditer(text.lower())]
    return list(_words(text))


def compared(text: str) -> tuple[str, ...]:
    """Give a text's words as they are compared, in order."""
    return tuple(word.text for word in words(text))


def _words(text: str) -> Iterator[Word]:
    letters: list[str] = []
    start = end = 0
    for first, last in _clusters(text):
        folded = _known if last - first <= _LONGEST_KNOWN else _folded
        for character, sort in folded(text[first:last]):
            if sort == "word":
                if not letters:
                    start = first
                letters.append(character)
                end = last
                continue
            if letters:
                yield Word("".join(letters), start, end)
                letters.clear()
            if sort == "alone":
                yield Word(character, first, last)
    if letters:
        yield Word("".join(letters), start, end)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text into characters with what is written on or into them: at most 30, as in UAX 15's stream-safe text.

    No language has more, and putting marks in their order takes the square of how many there are.
    """
    start = 0
    for place in range(1, len(text)):
        if place - start > _MOST_MARKS or not _joins(text[place]):
            yield start, place
            start = place
    if text:
        yield start, len(text)


@lru_cache(maxsize=8192)
def _joins(character: str) -> bool:
    code = ord(character)
    if code < 0x300:
        return False
    return unicodedata.category(character)[0] == "M" or character in _HALFWIDTH_MARKS or _JAMO[0] <= code <= _JAMO[1]


def _folded(cluster: str) -> tuple[tuple[str, str], ...]:
    """Give a cluster's characters as they are compared, each with its sort: part of a word, a word alone, or between words."""
    open_form = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", cluster).casefold())
    bare = unicodedata.normalize("NFKC", "".join(c for c in open_form if not _within(c, _ACCENTS)))
    return tuple((c, sort) for c in bare if (sort := _sort(c)))


_known: Final = lru_cache(maxsize=16384)(_folded)
_LONGEST_KNOWN: Final = 8
"""A cluster may be as long as a text; only short ones are remembered."""


def _sort(character: str) -> str:
    """Tell what a character is; "" where it is as if it were not there."""
    category = unicodedata.category(character)
    if category == "Cf":
        return "between" if character == _ZERO_WIDTH_SPACE else ""
    if _within(character, (_SKIN_TONES,)):
        return ""
    if category == "So" or (_within(character, _UNSPACED) and category[0] in "LNM"):
        return "alone"
    return "word" if category[0] in "LNM" else "between"


def _within(character: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    code = ord(character)
    return any(first <= code <= last for first, last in ranges)
