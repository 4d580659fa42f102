"""The command line on a whole standalone, as people and scripts use it."""

import asyncio
import json
import signal
import sysconfig
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest
from tradewind.cli.__main__ import app
from tradewind.sdk import new_request_id
from typer.testing import CliRunner

from tests.e2e.standalone_world import Standalone

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "tradewind")


def own(word: str) -> str:
    """A name that no other test uses."""
    return f"{word}-{uuid.uuid4().hex[:12]}"


async def one(standalone: Standalone, *arguments: str) -> dict[str, Any]:
    """The one object that a command says."""
    (found,) = await standalone.json(*arguments)
    return found


async def test_people_talk(standalone: Standalone) -> None:
    title = own("lunch")
    group = await one(standalone, "chat", "create", "customer", "courier", "--title", title, "--as", "shop")
    name = group["conversation_id"]
    first = await one(standalone, "chat", "send", name, "Who is hungry?", "--as", "shop")
    await one(standalone, "chat", "send", name, "I am", "--reply-to", str(first["version"]), "--as", "customer")
    messages = await standalone.json("chat", "history", name, "--oldest-first", "--as", "courier")
    assert [(each["sender_id"], each["content"]["text"]) for each in messages] == [
        ("shop", "Who is hungry?"),
        ("customer", "I am"),
    ]
    assert messages[1]["content"]["reply_to"] == [first["version"]]
    events = await standalone.json("chat", "watch", name, "--count", "3", "--as", "courier")
    assert [event["version"] for event in events] == [1, 2, 3]
    assert title in (await standalone.command("chat", "list", "--as", "courier")).stdout
    shown = await one(standalone, "chat", "show", name, "--as", "courier")
    assert {member["user_id"] for member in shown["members"]} == {"shop", "customer", "courier"}


async def test_people_attach_files(standalone: Standalone, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("What was said at lunch\n" * 20_000, encoding="utf-8")
    name = (await one(standalone, "chat", "create", "customer", "--as", "shop"))["conversation_id"]
    sent = await one(standalone, "chat", "attach", name, str(file), "--text", "Notes", "--as", "shop")
    copy = tmp_path / "copy.txt"
    await one(standalone, "chat", "download", sent["attachment_id"], "-o", str(copy), "--as", "customer")
    assert copy.read_bytes() == file.read_bytes()
    link = await one(standalone, "chat", "link", sent["attachment_id"], "--as", "customer")
    with await asyncio.to_thread(urllib.request.urlopen, link["uri"]) as answer:
        assert answer.read() == file.read_bytes()
    refused = await standalone.command("chat", "download", sent["attachment_id"], "-o", str(copy), "--as", "courier")
    assert refused.returncode == 1


async def test_people_keep_order_amend_react_and_read(standalone: Standalone) -> None:
    async def chat(command: str, *arguments: str, by: str) -> dict[str, Any]:
        return await one(standalone, "chat", command, name, *arguments, "--as", by)

    created = await one(standalone, "chat", "create", "customer", "--open", "--as", "shop")
    name = created["conversation_id"]
    shown = await chat("role", "customer", "moderator", by="shop")
    assert [member["role"] for member in shown["members"]] == ["MEMBER_ROLE_OWNER", "MEMBER_ROLE_MODERATOR"]
    await chat("join", by="courier")
    shown = await chat("mute", "courier", "--seconds", "600", by="customer")
    assert [member["muted"] for member in shown["members"]] == [False, False, True]
    refused = await standalone.command("chat", "send", name, "hm", "--as", "courier")
    assert refused.returncode != 0
    assert "may not speak" in refused.stderr
    await chat("unmute", "courier", by="customer")
    root = str((await chat("send", "helo", "--mention", "customer", by="shop"))["version"])
    await chat("edit", root, "hello", by="shop")
    await chat("send", "to you too", "--thread", root, by="courier")
    await chat("react", root, "👍", by="courier")
    await chat("pin", root, by="customer")
    (message,) = await standalone.json("chat", "history", name, "--pinned", "--as", "customer")
    assert (message["content"]["text"], message["edits"], message["thread"]["reply_count"]) == ("hello", 1, 1)
    assert message["reactions"] == [{"emoji": "👍", "count": 1, "mine": False}]
    assert "👍" in (await standalone.command("chat", "history", name, "--around", root, "--as", "courier")).stdout
    (unread,) = await standalone.json("chat", "unread", name, "--as", "customer")
    assert (unread["count"], unread["mention_count"]) == (2, 1)
    assert (await chat("read", by="customer"))["count"] == 0
    receipts = await standalone.json("chat", "receipts", name, "--as", "shop")
    assert [receipt["user_id"] for receipt in receipts] == ["customer"]
    await standalone.json("chat", "delete", name, root, "--as", "shop")
    await standalone.json("chat", "leave", name, "--as", "courier")


async def test_the_same_request_id_says_nothing_twice(standalone: Standalone) -> None:
    group = await one(standalone, "chat", "create", "customer", "--as", "shop")
    sent = ["chat", "send", group["conversation_id"], "once", "--request-id", new_request_id(), "--as", "shop"]
    assert await one(standalone, *sent) == await one(standalone, *sent)


async def test_what_is_typed_is_said_and_what_others_say_is_shown(standalone: Standalone) -> None:
    name = (await one(standalone, "chat", "create", "customer", "--as", "shop"))["conversation_id"]
    talk = await asyncio.create_subprocess_exec(
        PROGRAM, "--json", "chat", "talk", name, "--as", "customer",
        env=standalone.environment(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert talk.stdin is not None
    assert talk.stdout is not None
    talk.stdin.write(b"anyone there?\n")
    assert json.loads(await talk.stdout.readline())["message"]["text"] == "anyone there?"
    await one(standalone, "chat", "send", name, "yes", "--as", "shop")
    assert json.loads(await talk.stdout.readline())["actor_id"] == "shop"
    talk.stdin.close()
    assert await talk.wait() == 0


async def test_an_order_goes_its_way(standalone: Standalone) -> None:
    sku = own("cocoa")
    item = await one(standalone, "item", "put", sku, "4.50", "--title", "Tea", "--as", "shop")
    assert item["unit_price"] == {"currency_code": "GBP", "minor_units": 450}
    assert (await one(standalone, "item", "show", sku))["title"] == "Tea"
    assert (await one(standalone, "stock", "adjust", sku, "10", "--as", "shop"))["available"] == 10
    assert (await one(standalone, "stock", "adjust", sku, "-4", "--as", "shop"))["available"] == 6
    order = (await one(standalone, "order", "place", f"{sku}=2", "--as", "customer"))["order"]
    assert order["total"]["minor_units"] == 900
    name = order["order_id"]
    watch = await asyncio.create_subprocess_exec(
        PROGRAM, "--json", "order", "watch", name, "--as", "customer",
        env=standalone.environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert watch.stdout is not None
    events: list[dict[str, Any]] = []
    while not any("confirmed" in event for event in events):
        events.append(json.loads(await watch.stdout.readline()))
    for step in (["accept"], ["dispatch", "--courier", "courier"], ["deliver"]):
        await one(standalone, "order", step[0], name, *step[1:], "--as", "shop")
    events += [json.loads(line) async for line in watch.stdout]
    assert await watch.wait() == 0
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["state_after"] == "ORDER_STATE_COMPLETED"
    assert (await one(standalone, "order", "show", name, "--as", "customer"))["settled"] is True
    assert name in [each["order_id"] for each in await standalone.json("order", "list", "--as", "customer")]
    assert (await one(standalone, "stock", "show", sku, "--as", "shop"))["sold"] == 2


async def test_operators_and_readers_find_their_way(standalone: Standalone) -> None:
    await standalone.json("dead-letters", "list")
    assert "delivered" in (await standalone.command("mail", "stats", "--by", "template")).stdout
    sent = await one(
        standalone, "mail", "send", f"{own('ann')}@{own('x')}.example", "--subject", "Hi", "--text", "Hello"
    )
    assert (await one(standalone, "mail", "show", sent["mail_id"]))["subject"] == "Hi"
    spans = await standalone.json("trace", "show")
    assert {"chat", "order", "mail"} <= {span["service"] for span in spans}
    assert spans[0]["depth"] == 0
    drawn = await standalone.command("trace", "show", spans[0]["trace_id"][:12])
    assert drawn.returncode == 0
    assert "ms" in drawn.stdout


async def test_exit_codes_mean_something(standalone: Standalone) -> None:
    async def code(*arguments: str, **more: str) -> tuple[int, dict[str, Any]]:
        done = await asyncio.create_subprocess_exec(
            PROGRAM, "--json", *arguments,
            env=standalone.environment(**more), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await done.communicate()
        return done.returncode or 0, json.loads(out.splitlines()[-1]) if out.strip() else {}

    assert await code("chat", "show", "nowhere") == (
        1, {"error": "NotFound", "reason": "NOT_FOUND", "message": (await code("chat", "show", "nowhere"))[1]["message"]},
    )  # fmt: skip
    assert (await code("chat", "shout"))[0] == 2
    assert (await code("item", "put", "x", "4.555"))[0] == 2
    assert (await code("chat", "list", TRADEWIND_HOME="nowhere"))[0] == 2
    assert (await code("chat", "list", "--as", "nobody"))[0] == 2
    assert (await code("chat", "list", "--endpoint", "127.0.0.1:1", "--timeout", "1", TRADEWIND_TOKEN="t"))[0] == 3
    assert (await code("chat", "list", "--token", "wrong"))[0] == 4
    assert (await code("dead-letters", "list", "--as", "customer"))[0] == 4


async def test_ctrl_c_ends_a_watch(standalone: Standalone) -> None:
    name = (await one(standalone, "chat", "create", "customer", "--as", "shop"))["conversation_id"]
    watch = await asyncio.create_subprocess_exec(
        PROGRAM, "--json", "chat", "watch", name, "--as", "shop",
        env=standalone.environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert watch.stdout is not None
    assert json.loads(await watch.stdout.readline())["version"] == 1
    watch.send_signal(signal.SIGINT)
    assert await watch.wait() == 130


@pytest.mark.parametrize(
    "group", ["chat", "order", "item", "stock", "mail", "replay", "export", "import", "trace", "dead-letters"]
)
def test_every_group_explains_itself(group: str) -> None:
    done = CliRunner().invoke(app, [group, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.stdout
