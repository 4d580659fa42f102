"""Traces: what W3C calls a traceparent, who is sampled, and what a span keeps."""

import json
from pathlib import Path

import pytest

from services.runtime import trace
from services.runtime.config import RuntimeSettings
from services.runtime.errors import Refused
from services.runtime.spans import NO_SPAN
from services.runtime.telemetry import Telemetry
from services.runtime.trace_file import TraceFile

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + "0"


def test_a_traceparent_survives_the_way_through() -> None:
    parent = trace.parse(SAMPLED)
    assert parent is not None
    assert trace.render(*parent) == SAMPLED


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "junk",
        SAMPLED[:-1],
        SAMPLED + "-more",
        "ff" + SAMPLED[2:],
        SAMPLED.replace("b7ad6b7169203331", "0" * 16),
        SAMPLED.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        SAMPLED.replace("a", "x"),
        SAMPLED.replace("-", "_"),
    ],
)
def test_what_is_no_traceparent_counts_as_absent(text: str | None) -> None:
    assert trace.parse(text) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert trace.parse("01" + SAMPLED[2:] + "-more") == trace.parse(SAMPLED)


def test_the_unsampled_header_is_valid_and_says_so() -> None:
    parent = trace.parse(trace.unsampled())
    assert parent is not None
    assert not parent.sampled


def started(folder: Path, ratio: float) -> Telemetry:
    return Telemetry.start("trial", RuntimeSettings(trace_dir=folder, trace_ratio=ratio))


def spans(folder: Path) -> dict[str, dict[str, object]]:
    lines = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return {line["name"]: line for line in lines}


async def test_the_parent_decides_and_without_one_the_ratio(tmp_path: Path) -> None:
    always, never = started(tmp_path, 1.0), started(tmp_path, 0.0)
    assert always.root("a", UNSAMPLED) is NO_SPAN
    assert never.root("b") is NO_SPAN
    for telemetry, parent in ((always, None), (never, SAMPLED)):
        with telemetry.root("c", parent) as span:
            assert span.traceparent is not None
    for parent in (None, UNSAMPLED, "junk"):
        assert always.span("d", parent) is NO_SPAN
    assert always.span("e") is NO_SPAN
    await always.close()
    await never.close()


async def test_without_an_exporter_nothing_is_sampled() -> None:
    telemetry = Telemetry.start("trial", RuntimeSettings(trace_ratio=1.0))
    assert telemetry.root("a", SAMPLED) is NO_SPAN
    assert telemetry.span("b", SAMPLED) is NO_SPAN
    telemetry.observe("/a.A/Do", "OK", 0.1)
    await telemetry.close()


async def test_a_tree_of_spans_reaches_the_file(tmp_path: Path) -> None:
    telemetry = started(tmp_path, 1.0)
    with telemetry.root("outer", kind="server") as outer:
        assert trace.current.get() == outer.traceparent
        with telemetry.span("inner", attributes={"count": 3, "mail.text": "hello"}, links=[SAMPLED, "junk"]) as inner:
            inner.set("recipient", "ann@example.org")
            inner.set("ok", True)
            inner.event("written", {"bytes": 5, "body": "hello"})
    assert trace.current.get() is None
    with pytest.raises(Refused), telemetry.span("refused", outer.traceparent):
        raise Refused("NOT_FOUND", "hello")
    with pytest.raises(KeyError), telemetry.span("broken", outer.traceparent):
        raise KeyError("hello")
    await telemetry.close()
    found = spans(tmp_path)
    outer_line, inner_line = found["outer"], found["inner"]
    assert outer_line["parent_id"] is None
    assert outer_line["kind"] == "server"
    assert inner_line["parent_id"] == outer_line["span_id"]
    assert {line["trace_id"] for line in found.values()} == {outer_line["trace_id"]}
    assert {line["service"] for line in found.values()} == {"trial"}
    assert inner_line["attributes"] == {"count": 3, "ok": True}
    assert inner_line["links"] == [SAMPLED]
    assert [event["attributes"] for event in inner_line["events"]] == [{"bytes": 5}]  # type: ignore[attr-defined]
    assert (inner_line["status"], inner_line["reason"]) == ("ok", None)
    assert (found["refused"]["status"], found["refused"]["reason"]) == ("error", "NOT_FOUND")
    assert found["broken"]["reason"] == "KeyError"
    assert "hello" not in repr(found)
    assert "example.org" not in repr(found)


async def test_the_file_is_bounded(tmp_path: Path) -> None:
    telemetry = started(tmp_path / "spans", 1.0)
    kept: list[object] = []
    with telemetry.root("one") as span:
        kept.append(span)
    sdk = span._sdk  # type: ignore[attr-defined]
    exporter = TraceFile(tmp_path / "bounded", "trial", max_bytes=4096)
    for _ in range(200):
        exporter.export([sdk])
    exporter.shutdown()
    files = sorted((tmp_path / "bounded").iterdir())
    assert len(files) == 2
    assert all(0 < file.stat().st_size <= 4096 for file in files)
    await telemetry.close()
