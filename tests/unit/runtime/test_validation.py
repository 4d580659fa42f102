"""A broken rule is named by the field's path and the rule, never by the value."""

import pytest

from services.runtime.errors import Refused, status_of
from services.runtime.validation import validate
from tests.unit.runtime.trial import parcel


def test_a_good_message_passes() -> None:
    validate(parcel("ok", (1, 2)))


def test_fields_and_rules_are_named() -> None:
    with pytest.raises(Refused) as caught:
        validate(parcel("sixteen letters at most", (1, 0)))
    error = caught.value
    assert error.reason == "INVALID_FIELD"
    assert [(violation.field, violation.rule) for violation in error.violations] == [
        ("label", "string.max_len"),
        ("parts[1].weight", "int32.gt"),
    ]
    assert "sixteen" not in repr((error.message, error.violations))
    assert error.message.startswith("label: ")


def test_a_thousand_breaches_are_told_in_twenty() -> None:
    with pytest.raises(Refused) as caught:
        validate(parcel("", (0,) * 1000))
    assert len(caught.value.violations) == 20


def test_a_refusal_fits_into_trailers_whatever_was_sent() -> None:
    request = parcel()
    for number in range(30):
        request.notes["k" * 100_000 + str(number)] = ""  # type: ignore[attr-defined]
    with pytest.raises(Refused) as caught:
        validate(request)
    assert all(violation.field.startswith('notes["kkk') for violation in caught.value.violations)
    assert len(status_of(caught.value).SerializeToString()) < 8000
