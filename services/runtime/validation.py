"""Field rules (protovalidate) of a message, and the refusal that names what breaks them."""

from __future__ import annotations

from functools import cache
from typing import Any

import protovalidate
from google.protobuf.message import Message

from services.runtime.errors import Refused, Violation

_MOST = 20
_MOST_TEXT = 160


def validate(message: Message) -> None:
    """Check a message against the rules of its descriptor. Raises Refused (INVALID_FIELD) naming up to 20 fields and rules."""
    broken = _validator().collect_violations(message)
    if broken:
        violations = [_violation(violation.proto) for violation in broken[:_MOST]]
        first = violations[0]
        where = first.field or message.DESCRIPTOR.name
        raise Refused("INVALID_FIELD", f"{where}: {first.description}", violations=violations)


@cache
def _validator() -> protovalidate.Validator:
    # Compiling rules takes milliseconds a message type; one validator keeps them.
    return protovalidate.Validator()


def _violation(proto: Any) -> Violation:
    # A path holds the keys of maps, which nothing has checked yet; a rule's text may list all that is allowed.
    text = proto.message or f"breaks {proto.rule_id}"
    return Violation(field_path(proto.field)[:_MOST_TEXT], proto.rule_id[:_MOST_TEXT], text[:_MOST_TEXT])


def field_path(path: Any) -> str:
    """Write a ``buf.validate.FieldPath`` as ``items[2].price``."""
    if path is None:
        return ""
    parts = []
    for element in path.elements:
        subscript = element.subscript
        key = "" if subscript is None else f"[{_subscript(subscript)}]"
        parts.append(f"{element.field_name}{key}")
    return ".".join(parts)


def _subscript(subscript: Any) -> str:
    value = subscript.value
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
