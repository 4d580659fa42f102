"""A log line is JSON, belongs to a trace, and keeps quiet about people and secrets."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from services.runtime import logs, trace


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    logs.configure("trial", "info", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_what_where_when_and_in_which_trace(stream: io.StringIO) -> None:
    token = trace.current.set("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    structlog.get_logger().info("order_placed", count=2)
    trace.current.reset(token)
    structlog.get_logger().debug("not_shown")
    (line,) = lines(stream)
    assert (line["event"], line["count"], line["level"], line["service"]) == ("order_placed", 2, "info", "trial")
    assert (line["trace_id"], line["span_id"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert line["timestamp"].endswith("Z")


def test_private_keys_are_dropped(stream: io.StringIO) -> None:
    structlog.get_logger().info("x", **dict.fromkeys(logs.PRIVATE_KEYS, "hunter2"), kept=1)
    (line,) = lines(stream)
    assert line["kept"] == 1
    assert "hunter2" not in stream.getvalue()


def test_libraries_say_their_template_and_not_what_was_filled_in(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("cannot reach %s", "ann@example.org")
    try:
        raise ValueError("ann@example.org")
    except ValueError:
        logging.getLogger("some.library").exception("ann@example.org failed")
    first, second = lines(stream)
    assert (first["event"], first["template"], first["logger"]) == (
        "library_message",
        "cannot reach %s",
        "some.library",
    )
    assert (second["error"], second["level"]) == ("ValueError", "error")
    assert "ann@" not in stream.getvalue()


def test_an_exception_is_described_by_class_causes_and_place() -> None:
    try:
        try:
            raise KeyError("inner words")
        except KeyError as cause:
            raise ValueError("outer words") from cause
    except ValueError as error:
        facts = logs.describe(error)
    assert facts["error"] == "ValueError"
    assert facts["causes"] == ["KeyError"]
    assert "test_logs.py" in facts["frames"][0]
    assert "words" not in repr(facts)


def test_a_group_is_described_by_its_members() -> None:
    facts = logs.describe(ExceptionGroup("words", [ValueError("a"), KeyError("b")]))
    assert [member["error"] for member in facts["members"]] == ["ValueError", "KeyError"]
