"""Page tokens fit their own listing and no other."""

from __future__ import annotations

import pytest

from services.chat import pages
from services.chat.domain import Refused


def test_a_token_comes_back_for_its_own_listing() -> None:
    token = pages.make("41", "messages", "acme", "c-1", "up")
    assert pages.read_version(token, "messages", "acme", "c-1", "up") == 41
    assert len(pages.make("f" * 16 + "-" + "x" * 64, "conversations", "acme", "ada")) < 512


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "????",
        "AAAA",
        pages.make("41", "messages", "acme", "c-1", "down"),
        pages.make("41", "messages", "umbrella", "c-1", "up"),
        pages.make("-1", "messages", "acme", "c-1", "up"),
        pages.make("four", "messages", "acme", "c-1", "up"),
        pages.make("41", "messages", "acme", "c-1", "up")[:-1],
        pages.make("41", "messages", "acme", "c-1", "up") + "é",
    ],
)
def test_any_other_token_is_refused(token: str) -> None:
    with pytest.raises(Refused) as caught:
        pages.read_version(token, "messages", "acme", "c-1", "up")
    assert caught.value.reason == "INVALID_PAGE_TOKEN"
