"""What a user id may be: one rule for subjects of tokens and for every field of Chat's requests that names a user."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from services.runtime.errors import Refused
from services.runtime.tokens import Authenticator, Signer
from services.runtime.validation import validate
from tests.integration.chat_requests import METHODS

NAMES = {"user_id", "user_ids", "member_ids", "sender_id", "sender_ids", "add_user_ids", "remove_user_ids"}
# ForwardedFrom is set by the server, and refused in requests.
NOT_ASKED = {"tradewind.chat.v1.ForwardedFrom.sender_id"}
GOOD = [
    "bob", "ann@example.org", "auth0|5f7c8e", "a/b", "[ann]`^{x}|_-", "Зоя", "张伟", "مريم", "ש", "e\u0301", "Mary Ann", "👍",
    "x" * 128,
]  # fmt: skip
BAD = {
    "control": "a\x00b", "line": "a\nb", "escape": "a\x1b[31mb", "c1": "a\x85b", "line separator": "a\u2028b", "wide space": "a\u00a0b",
    "zero width": "a\u200bb", "joiner": "a\u200db", "right to left": "a\u202eb", "isolate": "a\u2066b", "mark of order": "\ufeffa",
    "soft hyphen": "a\u00adb", "tag": "a\U000e0061b", "private": "\ue000", "no character": "\uffff", "highest": "\U0010ffff",
    "ends in a space": "a ", "begins with one": " a", "two spaces": "a  b", "space": " ", "long": "x" * 129,
}  # fmt: skip


def fields(of: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Every field of a request that names users, however deep."""
    if of.full_name in seen:
        return
    seen.add(of.full_name)
    for each in of.fields:
        if each.name in NAMES and each.full_name not in NOT_ASKED:
            yield each
        if each.message_type is not None:
            yield from fields(each.message_type, seen)


def every_field() -> list[FieldDescriptor]:
    seen: set[str] = set()
    return [each for method in METHODS.values() for each in fields(method.input_type, seen)]


def breaks(at: FieldDescriptor, value: str) -> bool:
    """Tell whether a value breaks the rules of a field, whatever else the message lacks."""
    assert at.containing_type is not None
    message = GetMessageClass(at.containing_type)()
    if at.is_repeated:
        getattr(message, at.name).append(value)
    else:
        setattr(message, at.name, value)
    try:
        validate(message)
    except Refused as refused:
        return any(violation.field.partition("[")[0] == at.name for violation in refused.violations)
    return False


def opens(subject: str, actor: str | None = None) -> bool:
    """Tell whether a token of a subject, or of who acts, is taken."""
    signer = Signer(Ed25519PrivateKey.generate())
    token = signer.mint(subject, "acme", ["customer"], actor=actor)
    try:
        Authenticator([signer.public_key]).verify(token)
    except Refused:
        return False
    return True


def test_the_fields_are_found() -> None:
    assert len(every_field()) >= 20


@pytest.mark.parametrize("at", every_field(), ids=lambda at: at.full_name.removeprefix("tradewind.chat.v1."))
def test_a_field_takes_what_can_be_seen_and_nothing_else(at: FieldDescriptor) -> None:
    assert [value for value in GOOD if breaks(at, value)] == []
    assert [why for why, value in BAD.items() if not breaks(at, value)] == []


def test_a_subject_of_a_token_is_one_by_the_same_rule() -> None:
    assert [value for value in GOOD if not (opens(value) and opens("ann", value))] == []
    assert [why for why, value in BAD.items() if opens(value) or opens("ann", value)] == []
