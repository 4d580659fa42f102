import asyncio
import json
import time
import uuid
from pathlib import Path

import grpc
import pytest
from tradewind.cli.exporting import export
from tradewind.cli.replaying import Replay, Report, survey
from tradewind.cli.source import Source
from tradewind.cli.verdicts import Note, Refusal
from tradewind.sdk import Client, PermissionDenied

from tests.unit.client.harbour import Harbour, status, texts
from tests.unit.client.test_transcript import fields


async def replay(client: Client, file: Path) -> tuple[Report, list[Refusal | Note]]:
    """Replay a file; what it came to, and what was told."""
    told: list[Refusal | Note] = []
    report = Report(told.append)
    await Replay(client, Source(file), survey(Source(file)), report).run(lambda _: None)
    return report, told


def day(tmp_path: Path, *lines: object) -> Path:
    """A file of lines; text stands for itself."""
    file = tmp_path / "day.jsonl"
    raws = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    file.write_text("".join(raw + "\n" for raw in raws), encoding="utf-8")
    return file


async def exported(client: Client, report: Report) -> list[str]:
    """What export gives."""
    assert report.conversation is not None
    return [line async for line in export(client, report.conversation)]


@pytest.mark.data
async def test_every_recorded_day_comes_back_byte_for_byte(port: Harbour, recorded_data: Path) -> None:
    port.chat.page = 500
    files = sorted((recorded_data / "chat").glob("*.jsonl"))
    async with port.client() as client:
        for file in files:
            report, told = await replay(client, file)
            lines = file.read_text(encoding="utf-8").split("\n")[:-1]
            assert told == []
            assert report.summary() == {
                "conversation": report.conversation, "sent": len(lines), "replayed": 0, "refused": 0,
            }  # fmt: skip
            assert await exported(client, report) == lines


async def test_a_second_run_says_nothing_twice(port: Harbour, tmp_path: Path) -> None:
    file = day(tmp_path, *(fields(n, text=f"{n}", reply_to=[n - 1] if n % 3 == 2 else []) for n in range(50)))
    async with port.client() as client:
        once, _ = await replay(client, file)
        again, _ = await replay(client, file)
    assert (once.sent, once.replayed) == (50, 0)
    assert (again.sent, again.replayed, again.conversation) == (0, 50, once.conversation)
    assert len(port.chat.events[str(once.conversation)]) == 51


async def test_a_broken_off_run_is_gone_on_with(port: Harbour, tmp_path: Path) -> None:
    file = day(tmp_path, *(fields(n, text=f"{n}", reply_to=[n - 1] if n % 2 else []) for n in range(400)))
    async with port.client() as client:
        run = asyncio.create_task(replay(client, file))
        while len(port.chat.made) < 100:
            await asyncio.sleep(0.001)
        run.cancel()
        await asyncio.wait([run])
        there = len(port.chat.made)
        report, _ = await replay(client, file)
    assert there < 400
    assert report.sent + report.replayed == 400
    assert report.replayed >= 100
    assert texts(port.chat.events[str(report.conversation)]) == [f"{n}" for n in range(400)]


async def test_broken_connections_do_not_show(port: Harbour, tmp_path: Path) -> None:
    file = day(tmp_path, *(fields(n, text=f"{n}", reply_to=[n - 5] if n > 5 else []) for n in range(300)))
    port.chat.faults.frames = [1, 0, 2, 3, 1]
    async with port.client() as client:
        report, _ = await replay(client, file)
        assert await exported(client, report) == file.read_text().splitlines()
    assert report.sent == 300


async def test_lines_that_the_server_refuses_are_told_and_links_to_them_survive(port: Harbour, tmp_path: Path) -> None:
    port.chat.faults.items = {"bad": status(grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")}
    file = day(tmp_path, fields(0), fields(1, text="bad"), "nonsense", fields(3, reply_to=[0, 1, 2]))
    async with port.client() as client:
        report, told = await replay(client, file)
        lines = await exported(client, report)
    assert report.refused == 2
    assert [(item.number, item.rule) for item in told if isinstance(item, Refusal)] == [
        (3, "json"),
        (2, "not_a_member"),
    ]
    assert [json.loads(line)["reply_to"] for line in lines] == [[], [0, 1, 2]]


async def test_who_may_not_speak_for_others_is_told_once(port: Harbour, tmp_path: Path) -> None:
    port.chat.faults.items = {f"{n}": status(grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN") for n in range(600)}
    told: list[Refusal | Note] = []
    source = Source(day(tmp_path, *(fields(n, text=f"{n}") for n in range(600))))
    async with port.client() as client:
        with pytest.raises(PermissionDenied):
            await Replay(client, source, survey(source), Report(told.append)).run(lambda _: None)
    assert told == []


async def test_no_id_is_from_the_future_and_all_of_them_rise(port: Harbour, tmp_path: Path) -> None:
    times = ["0001-01-01T00:00", "2024-05-01T10:00", "2024-05-01T09:00", "9999-12-31T23:59", "9999-12-31T23:59"]
    async with port.client() as client:
        await replay(client, day(tmp_path, *(fields(n, at=at) for n, at in enumerate(times))))
    ids = port.chat.requests[1:]
    assert ids == sorted(ids)
    assert uuid.UUID(ids[-1]).int >> 80 < time.time() * 1000


async def test_each_habit_of_writing_comes_back(port: Harbour, tmp_path: Path) -> None:
    async with port.client() as client:
        for ascii_only in (True, False):
            for separators in ((",", ":"), (", ", ": ")):
                line = json.dumps(fields(0, text="grüße", mood=[1]), ensure_ascii=ascii_only, separators=separators)
                report, _ = await replay(client, day(tmp_path, line))
                assert await exported(client, report) == [line]


async def test_an_ordinary_conversation_is_exported_in_the_same_format(port: Harbour) -> None:
    async with port.client() as client, client.chat.converse() as session:
        name = (await client.chat.create_group(["ann"])).conversation_id
        version = await session.send(name, "hello", sender_id="ann")
        await session.send(name, "yes?", sender_id="bob", reply_to=[version], attributes={"line": "x", "extra": "["})
        lines = [json.loads(line) async for line in export(client, name)]
    assert [(line["line"], line["from"], line["text"], line["reply_to"]) for line in lines] == [
        (0, "ann", "hello", []),
        (1, "bob", "yes?", [0]),
    ]
