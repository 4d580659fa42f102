import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradewind.cli.chat_line import FIELDS, FORMS, KINDS, Form, Line, fields_of, parse
from tradewind.cli.source import BrokenFile, Source, SourceLine
from tradewind.cli.transcript import Transcript
from tradewind.cli.verdicts import Note, Refusal


def fields(line: int, /, **changed: Any) -> dict[str, Any]:
    """The object of a good line."""
    good = {"at": "2004-11-15T00:18", "line": line, "from": "ann", "kind": "message", "text": "hello", "reply_to": []}
    return {**good, "annotated": False, **changed}


def read(objects: Iterable[Any]) -> list[Line | Refusal | Note]:
    """What becomes of lines; bytes stand for themselves."""
    raws = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in objects]
    return list(Transcript().read(SourceLine(number, raw + b"\n") for number, raw in enumerate(raws, 1)))


def outcome(items: list[Line | Refusal | Note]) -> list[str]:
    """Numbers of lines that are taken, and `number:rule` of the others (a note in brackets)."""
    return [
        str(i.number)
        if isinstance(i, Line)
        else f"{i.number}:{i.rule}"
        if isinstance(i, Refusal)
        else f"({i.number}:{i.rule})"
        for i in items
    ]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
good_lines = st.fixed_dictionaries(
    {
        "at": st.datetimes().map(lambda at: at.strftime("%Y-%m-%dT%H:%M").rjust(16, "0")),
        "line": st.just(7),
        "from": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
        "kind": st.sampled_from(KINDS),
        "text": texts,
        "reply_to": st.lists(st.integers(0, 6), unique=True, max_size=5),
        "annotated": st.booleans(),
    },
    optional={"mood": texts},
)


@given(good_lines, st.sampled_from(FORMS))
def test_a_good_line_is_written_again_as_it_was(line: dict[str, Any], form: Form) -> None:
    written = form.write({name: line[name] for name in (*FIELDS, *line)})
    assert form.write(fields_of(parse(1, written.encode()))) == written


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_a_refusal_or_blank(raw: bytes) -> None:
    items = list(Transcript().read([SourceLine(1, raw)]))
    assert all(isinstance(item, Line | Refusal) for item in items)
    assert len(items) == (1 if raw.strip() else 0)


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (b"{", "json"),
        (b"[" * 100_000, "json"),
        (b"[]", "json"),
        (b'{"at": NaN}', "json"),
        (b'{"at": 1, "at": 2}', "json"),
        (b"\xff\xfe{}", "encoding"),
        (b'{"at": "2004-11-15T00:18"}', "missing_field"),
        (fields(1, at="2004-13-15T00:18"), "at"),
        (fields(1, at="15.11.2004"), "at"),
        (fields(1, at=7), "at"),
        (fields(1, line="1"), "line"),
        (fields(1, line=True), "line"),
        (fields(1, line=-1), "line"),
        (fields(1, line=0), "line"),
        (fields(1, line=50), "line"),
        (fields(1, **{"from": ""}), "from"),
        (fields(1, **{"from": "x" * 129}), "from"),
        (fields(1, kind="shout"), "kind"),
        (fields(1, text=None), "text"),
        (fields(1, text="\ud800"), "text"),
        (fields(1, text="é" * 8193), "text_too_long"),
        (fields(1, reply_to=[1]), "reply_to"),
        (fields(1, reply_to=[2]), "reply_to"),
        (fields(1, reply_to=[0, 0]), "reply_to"),
        (fields(1, reply_to=0), "reply_to"),
        (fields(1, reply_to=["0"]), "reply_to"),
        (fields(1, annotated="no"), "annotated"),
        (fields(1, more="x" * 2000), "extra"),
    ],
)
def test_a_broken_line_is_refused_by_its_rule_and_the_others_go_on(bad: object, rule: str) -> None:
    assert outcome(read([fields(0), bad, fields(2), fields(3)])) == ["1", f"2:{rule}", "3", "4"]


def test_missing_lines_are_told_and_do_not_hurt() -> None:
    assert outcome(read([fields(3), fields(4), fields(9), fields(10)])) == ["(1:gap)", "1", "2", "(3:gap)", "3", "4"]


def test_a_line_that_got_in_between_moves_no_other() -> None:
    items = read([fields(0), b"junk", b"junk", fields(1), fields(1), fields(2), fields(77), fields(3, reply_to=[2])])
    assert outcome(items) == ["1", "2:json", "3:json", "4", "5:line", "6", "7:line", "8"]


def test_lines_in_a_wrong_order_cost_one_of_them() -> None:
    items = read([fields(0), fields(2), fields(1), fields(3), fields(4, reply_to=[2])])
    assert outcome(items) == ["1", "2:line", "3", "4", "(5:reply_to_refused)", "5"]


def test_lines_that_cannot_be_read_stand_for_the_numbers_that_are_missing() -> None:
    items = read([fields(0), b"junk", b"junk", fields(3, reply_to=[1, 2]), fields(9, reply_to=[5])])
    assert outcome(items) == ["1", "2:json", "3:json", "(4:reply_to_refused)", "4", "(5:gap)", "5:reply_to"]


@given(st.lists(st.one_of(st.just(b"junk"), st.integers(0, 8).map(fields)), max_size=12))
def test_every_line_has_one_outcome_and_numbers_rise(lines: list[Any]) -> None:
    items = [item for item in read(lines) if not isinstance(item, Note)]
    assert sorted(item.number for item in items) == list(range(1, len(lines) + 1))
    taken = [item.line for item in items if isinstance(item, Line)]
    assert taken == sorted(set(taken))


def test_an_answer_to_a_line_that_was_never_there_is_refused() -> None:
    assert outcome(read([fields(0), fields(2), fields(3, reply_to=[1])]))[-1] == "3:reply_to"


def test_an_answer_to_a_refused_line_is_taken_and_told() -> None:
    items = read([fields(0), b"broken", fields(2, reply_to=[0, 1])])
    assert outcome(items) == ["1", "2:json", "(3:reply_to_refused)", "3"]
    last = items[-1]
    assert isinstance(last, Line)
    assert last.lost == {1}
    assert last.reply_to == (0, 1)


def test_blank_lines_are_told_inside_and_not_at_the_end() -> None:
    assert outcome(read([fields(0), b"", b"  ", fields(1), b"", b""])) == ["1", "(2:blank)", "4"]


def test_line_ends_of_windows_are_taken() -> None:
    assert outcome(read([json.dumps(fields(0)).encode() + b"\r"])) == ["1"]


def test_a_group_holds_5000_nicks_and_lines_of_the_others_are_refused() -> None:
    items = read([fields(n, **{"from": f"nick{n}"}) for n in range(5001)] + [fields(5001, **{"from": "nick0"})])
    assert outcome(items)[4999:] == ["5000", "5001:members_limit", "5002"]


def test_files_are_read_as_they_come(tmp_path: Path) -> None:
    file = tmp_path / "day.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(fields(0)).encode() + b"\n" + b"x" * 3_000_000 + b"\n" + b"end")
    lines = list(Source(file).lines())
    assert [line.number for line in lines] == [1, 2, 3]
    assert lines[1].raw is None
    assert lines[2].raw == b"end"
    assert outcome(list(Transcript().read(lines))) == ["1", "2:line_too_long", "3:json"]


def test_another_encoding_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "day.jsonl"
    file.write_bytes(json.dumps(fields(0)).encode("utf-16"))
    with pytest.raises(BrokenFile, match="UTF-16"):
        list(Source(file).lines())
