"""What is the same word, and where it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chat.search.words import _clusters, compared, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Crème BRÛLÉE", "creme brulee"),
        ("e\u0301te\u0301", "été"),
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("İstanbul", "istanbul"),
        ("\uff46\uff55\uff4c\uff4c", "full"),
        ("ﾊﾞｽ", "バス"),
        ("مُحَمَّد", "محمد"),
        ("so\u00adft", "soft"),
        ("👍🏽", "👍"),
        ("\u1112\u1161\u11ab", "한"),
    ],
)
def test_forms_of_writing_do_not_matter(one: str, other: str) -> None:
    assert compared(one) == compared(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it's 192.168.1.1, ok_then!", ("it", "s", "192", "168", "1", "1", "ok", "then")),
        ("iPhone手機", ("iphone", "手", "機")),
        ("東京タワー", ("東", "京", "タ", "ワ", "ー")),
        ("हिन्दी में", ("हिन्दी", "में")),
        ("zero\u200bwidth", ("zero", "width")),
        ("か が", ("か", "が")),
        ("yes👍no", ("yes", "👍", "no")),
        ("-- … !", ()),
    ],
)
def test_words_are_cut(text: str, expected: tuple[str, ...]) -> None:
    assert compared(text) == expected


@given(st.text(max_size=60))
def test_words_stand_where_they_say(text: str) -> None:
    found = words(text)
    for word in found:
        assert 0 <= word.start < word.end <= len(text)
        assert word.text in compared(text[word.start : word.end])
        assert word.text
        assert not any(character.isspace() or character in '"*:()^' for character in word.text)
    assert [word.start for word in found] == sorted(word.start for word in found)


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=60))
def test_the_short_way_for_ascii_is_the_same(text: str) -> None:
    # One letter beyond it, far away, takes the long way.
    assert [*compared(text), "ж"] == list(compared(f"{text} ж"))


def test_marks_without_end_are_taken_in_parts() -> None:
    """Ordering all marks of a hostile text at once took 20 times as long as reading any other text."""
    text = "a" + "\u0301\u0316" * 4_000 + " tea"
    assert max(end - start for start, end in _clusters(text)) <= 31
    assert compared(text) == ("a", "tea")
