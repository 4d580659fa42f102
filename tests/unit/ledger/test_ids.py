"""Names, tokens and derived ids."""

import uuid
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.ids import (
    AggregateId,
    derive_id,
    derive_request_id,
    fingerprint,
    milliseconds_of,
    partition_of,
    request_bytes,
    token,
    untoken,
)
from services.ledger.log import aggregate_of

texts = st.text(st.characters(exclude_categories=["Cs"]))
scopes = st.lists(texts, max_size=4)
times = st.integers(0, (1 << 48) * 1000 - 1)


@given(texts)
def test_any_text_is_one_token_and_comes_back(text: str) -> None:
    part = token(text)
    assert untoken(part) == text
    assert part
    assert not set(part) & set(" .*>\t\r\n")
    assert part.isascii()


@given(texts, texts)
def test_tokens_of_different_texts_differ(one: str, other: str) -> None:
    assert (token(one) == token(other)) is (one == other)


@given(st.from_regex(r"[a-z]{1,8}", fullmatch=True), texts)
def test_an_aggregate_comes_back_from_key_and_subject(tenant: str, ident: str) -> None:
    aggregate = AggregateId(tenant, "tally", ident)
    assert AggregateId.from_key(aggregate.key) == aggregate
    assert aggregate_of(f"ledger.1.s.0.{token(tenant)}.tally.{token(ident)}") == aggregate


@given(times, scopes)
def test_a_derived_request_id_is_a_uuid_7_of_its_time(time_us: int, scope: list[str]) -> None:
    made = derive_request_id(time_us, *scope)
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert milliseconds_of(request_bytes(made)) == time_us // 1000
    assert made == derive_request_id(time_us, *scope)


@given(times, scopes, scopes)
def test_a_derived_id_keeps_the_request_s_time_and_tells_scopes_apart(
    time_us: int, scope: list[str], other: list[str]
) -> None:
    request = derive_request_id(time_us, "a request")
    made = uuid.UUID(derive_id(request, *scope))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert milliseconds_of(made.bytes) == time_us // 1000
    assert (derive_id(request, *scope) == derive_id(request, *other)) is (scope == other)
    assert derive_id(request.upper().replace("-", ""), *scope) == str(made)


@pytest.mark.parametrize("text", ["", "x", "00000000-0000-4000-8000-000000000000", "01" * 15, "01" * 17, "zz" * 16])
def test_what_is_no_uuid_7_is_no_request_id(text: str) -> None:
    with pytest.raises(ValueError):
        request_bytes(text)


@given(texts, st.integers(1, 64))
def test_a_partition_is_the_checksum_of_the_key(key: str, partitions: int) -> None:
    assert partition_of(key, partitions) == zlib.crc32(key.encode()) % partitions


def test_partitions_never_change() -> None:
    """What was written under one partition must be found there by every later release."""
    keys = ["acme/conversation/1", "acme/order/é", "beta/mail/x y"]
    assert [partition_of(key, 4) for key in keys] == [2, 3, 1]


@given(st.lists(st.one_of(st.binary(), texts, st.integers())), st.lists(st.one_of(st.binary(), texts, st.integers())))
def test_a_fingerprint_tells_contents_apart_however_they_are_cut(one: list[object], other: list[object]) -> None:
    def plain(parts: list[object]) -> list[bytes]:
        return [part if isinstance(part, bytes) else str(part).encode() for part in parts]

    same = fingerprint(*one) == fingerprint(*other)  # type: ignore[arg-type]
    assert same is (plain(one) == plain(other))
    assert len(fingerprint(*one)) == 16  # type: ignore[arg-type]
