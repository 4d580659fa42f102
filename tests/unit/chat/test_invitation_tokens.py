"""Tokens of invitations: the same for the same request, and for no other."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from services.chat.invitations.tokens import digest_of, token_of

names = st.text(max_size=12)
secrets = st.binary(min_size=16, max_size=64)
wanted = st.tuples(names, names, names, secrets)


@given(wanted, wanted)
def test_a_token_is_of_one_invitation(one: tuple[str, str, str, bytes], other: tuple[str, str, str, bytes]) -> None:
    token = token_of(*one)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert token == token_of(*one)
    assert (token == token_of(*other)) is (one == other)
    assert (digest_of(token) == digest_of(token_of(*other))) is (one == other)
    assert one[3].hex() not in token


@given(names, names, secrets)
def test_what_one_name_ends_with_is_not_what_the_next_begins_with(one: str, other: str, secret: bytes) -> None:
    if other:
        assert token_of(one, other, "", secret) != token_of(one + other, "", "", secret)
