import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradewind.chat.v1 import chat_pb2
from tradewind.cli.__main__ import flags_first
from tradewind.cli.exits import Exit, code_of
from tradewind.cli.output import Output, plain
from tradewind.cli.settings import Flags, Misconfigured, load
from tradewind.cli.traces import chosen, drawing, ordered, spans
from tradewind.sdk import DeadlineExceeded, Endpoints, InvalidArgument, PermissionDenied, RateLimited, Unauthenticated


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of somebody who has set nothing, in an empty folder."""
    for name in ("ENDPOINT", "ENDPOINTS", "TOKEN", "HOME", "TLS", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"TRADEWIND_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


def credentials(home: Path, **tokens: str) -> None:
    """Write a credentials file as standalone does."""
    home.mkdir(exist_ok=True)
    endpoints = {"chat": "h:1", "order": "h:2", "mail": "h:3", "tracking": "http://h:4"}
    content = {"endpoints": endpoints, "tokens": {"admin": "a", **tokens}, "default": "admin"}
    (home / "credentials.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        ("replay chat FILE --json", "--json replay chat FILE"),
        ("replay --json chat FILE", "--json replay chat FILE"),
        ("chat list --as shop --limit 3", "--as shop chat list --limit 3"),
        ("chat list --as=shop", "--as=shop chat list"),
        ("chat send C -- --json", "chat send C -- --json"),
        ("chat list --as", "--as chat list"),
    ],
)
def test_common_flags_may_stand_anywhere(typed: str, parsed: str) -> None:
    assert flags_first(typed.split()) == parsed.split()


@given(st.lists(st.sampled_from(["a", "--json", "--as", "--limit", "--", "x=y", "--token=t"]), max_size=8))
def test_no_argument_is_lost(arguments: list[str]) -> None:
    assert sorted(flags_first(arguments)) == sorted(arguments)


def test_a_local_tradewind_is_found_in_its_home(tmp_path: Path) -> None:
    credentials(tmp_path / ".tradewind", shop="s", service="w")
    assert load(Flags()).endpoints == Endpoints("h:1", "h:2", "h:3")
    assert load(Flags()).token == "a"
    assert load(Flags(), "service").token == "w"
    assert load(Flags(name="shop"), "service").token == "s"


def test_a_local_token_goes_nowhere_else_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials(tmp_path / ".tradewind", shop="s")
    monkeypatch.setenv("TRADEWIND_ENDPOINT", "elsewhere:1")
    assert load(Flags()).token is None
    assert load(Flags(name="shop")).token == "s"
    monkeypatch.setenv("TRADEWIND_TOKEN", "mine")
    assert load(Flags()).token == "mine"
    assert load(Flags(endpoint="chat=x:1,mail=y:2")).endpoints == Endpoints("x:1", "", "y:2")


def test_a_token_is_not_shown(tmp_path: Path) -> None:
    credentials(tmp_path / ".tradewind", admin="very secret")
    assert "secret" not in repr(load(Flags()))


@pytest.mark.parametrize(
    ("flags", "content"),
    [
        (Flags(), None),
        (Flags(), "{"),
        (Flags(), "[]"),
        (Flags(name="nobody"), '{"endpoints": {}, "tokens": {}}'),
        (Flags(endpoint="telephone=x:1"), None),
        (Flags(endpoint="x:1", name="shop"), None),
    ],
)
def test_what_cannot_be_used_is_said(flags: Flags, content: str | None, tmp_path: Path) -> None:
    (tmp_path / ".tradewind").mkdir()
    if content is not None:
        (tmp_path / ".tradewind" / "credentials.json").write_text(content)
    with pytest.raises(Misconfigured):
        load(flags)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgument(), Exit.USAGE),
        (RateLimited(), Exit.UNAVAILABLE),
        (DeadlineExceeded(), Exit.UNAVAILABLE),
        (Unauthenticated(), Exit.UNAUTHORIZED),
        (PermissionDenied(), Exit.UNAUTHORIZED),
    ],
)
def test_errors_have_their_exit_codes(error: Any, code: Exit) -> None:
    assert code_of(error) is code


def test_messages_are_said_in_the_contract_s_names() -> None:
    event = chat_pb2.ConversationEvent(version=7, actor_id="ann")
    event.event_time.FromJsonString("2024-05-01T10:00:00.5Z")
    event.message.text = "grüße"
    event.message.reply_to.append(3)
    event.message.attributes["a"] = "b"
    said = plain(event)
    assert said.pop("message").items() >= {"text": "grüße", "reply_to": [3], "attributes": {"a": "b"}}.items()
    assert said == {
        "version": 7,
        "event_time": "2024-05-01T10:00:00.500000Z",
        "actor_id": "ann",
        "acting_service": "",
        "message_count": 0,
        "thread_reply_count": 0,
    }
    assert plain(chat_pb2.Member(role=chat_pb2.MEMBER_ROLE_OWNER))["role"] == "MEMBER_ROLE_OWNER"


def test_a_trace_is_put_together_from_all_files(tmp_path: Path) -> None:
    def span(trace: str, name: str, parent: str | None, start: int, end: int) -> str:
        return json.dumps({"trace_id": trace, "span_id": name, "parent_id": parent, "name": name, "service": "chat",
                           "start_ns": start, "end_ns": end, "status": "ok", "reason": None})  # fmt: skip

    (tmp_path / "chat-1.jsonl").write_text(
        "\n".join([span("t1", "child", "root", 2, 3), span("t1", "late", "gone", 9, 10)])
    )
    (tmp_path / "order-2.jsonl").write_text(
        "\n".join([span("t1", "root", None, 1, 8), span("t2", "other", None, 20, 21), "[]", '{"half'])
    )
    assert chosen(tmp_path, "") == "t1"
    assert chosen(tmp_path, "t2") == "t2"
    assert chosen(tmp_path, "t9") is None
    found = [each for each in spans(tmp_path) if each.trace_id == "t1"]
    assert [(depth, each.name) for depth, each in ordered(found)] == [(0, "root"), (1, "child"), (0, "late")]
    assert "3 spans, 0.0 ms, chat; 1 of them below spans" in str(drawing("t1", found).label)


def test_other_people_s_texts_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b]0;owned\x07\x9b31m\u202eb\x7f\r\tc\n[red]d"
    Output(as_json=False).line({}, evil)
    said = capsys.readouterr().out
    assert not set(said) & {"\x1b", "\x07", "\x9b", "\u202e", "\x7f", "\r"}
    assert "[red]d" in said
    Output(as_json=True).line({"text": evil}, "")
    said = capsys.readouterr().out
    assert not set(said) & {"\x1b", "\x07", "\x9b", "\u202e", "\x7f", "\r"}
    assert json.loads(said) == {"text": evil}
