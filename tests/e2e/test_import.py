"""Real data in and out of a whole standalone: a channel's days, a shop's month."""

import asyncio
import csv
import gzip
import json
import signal
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.standalone_world import Standalone
from tests.e2e.test_cli import PROGRAM, own

DAYS = (
    "2004-11-15_03", "2005-06-27_12", "2005-08-08_01", "2008-12-11_11", "2009-02-23_10",
    "2009-03-03_10", "2009-10-01_17", "2011-05-29_19", "2011-11-13_02", "2016-12-19_20",
)  # fmt: skip
COLUMNS = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


async def said(standalone: Standalone, *arguments: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Exit code, the objects before the last line, and the last."""
    done = await standalone.command("--json", *arguments)
    *before, last = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, before, last


def talk_line(number: int) -> str:
    """A line of a chat file that answers another now and then."""
    fields = {
        "at": "2024-05-01T10:00",
        "line": number,
        "from": f"nick{number % 50}",
        "kind": "message",
        "text": own(f"{number}"),
        "reply_to": [number - 7] if number % 5 == 0 and number > 7 else [],
        "annotated": True,
    }
    return json.dumps(fields, ensure_ascii=False)


async def while_it_runs(
    standalone: Standalone, lines: int, happens: Callable[[asyncio.subprocess.Process], object], *arguments: str
) -> tuple[int, bytes]:
    """Run a command, and do something when it has said so many lines; its exit code and what it said after."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "--json", *arguments, env=standalone.environment(), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(lines):
        await process.stdout.readline()
    happens(process)
    rest = await process.stdout.read()
    return await process.wait(), rest


@pytest.mark.data
@pytest.mark.parametrize("name", DAYS)
async def test_a_recorded_day_comes_back_byte_for_byte(standalone: Standalone, recorded_data: Path, name: str) -> None:
    file = recorded_data / "chat" / f"{name}.jsonl"
    code, before, last = await said(standalone, "replay", "chat", str(file))
    count = len(file.read_bytes().splitlines())
    assert (code, before) == (0, [])
    assert last["sent"] + last["replayed"] == count
    assert last["refused"] == 0
    exported = await standalone.command("export", "chat", last["conversation"])
    assert exported.stdout == file.read_text(encoding="utf-8")
    if name == DAYS[0]:
        _, _, again = await said(standalone, "replay", "chat", str(file))
        assert again == {"conversation": last["conversation"], "sent": 0, "replayed": count, "refused": 0}


async def test_a_replay_killed_half_way_is_gone_on_with(standalone: Standalone, tmp_path: Path) -> None:
    file = tmp_path / "day.jsonl"
    lines = [talk_line(number) for number in range(4000)]
    # Said while it reads on: tells the test that sending has begun.
    lines.insert(500, "broken")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    code, _ = await while_it_runs(standalone, 1, lambda process: process.kill(), "replay", "chat", str(file))
    assert code == -signal.SIGKILL
    code, before, last = await said(standalone, "replay", "chat", str(file))
    assert code == 1
    assert [(each["line"], each["rule"]) for each in before if "line" in each] == [(501, "json")]
    assert last["sent"] + last["replayed"] == 4000
    assert last["replayed"] > 0
    exported = await standalone.command("export", "chat", last["conversation"])
    del lines[500]
    assert exported.stdout.splitlines() == lines


@pytest.mark.data
async def test_services_killed_meanwhile_do_not_show(
    own_standalone: Standalone, recorded_data: Path, tmp_path: Path
) -> None:
    own_standalone.start()
    own_standalone.serves()
    lines = [talk_line(number) for number in range(4000)]
    file = tmp_path / "day.jsonl"
    file.write_text("\n".join([*lines[:1000], "broken", *lines[1000:]]) + "\n", encoding="utf-8")
    _, rest = await while_it_runs(own_standalone, 1, lambda _: own_standalone.kill("chat"), "replay", "chat", str(file))
    last = json.loads(rest.splitlines()[-1])
    assert (last["sent"], last["replayed"], last["refused"]) == (4000, 0, 1)
    assert (await own_standalone.command("export", "chat", last["conversation"])).stdout.splitlines() == lines
    orders = str(recorded_data / "orders" / "online_retail_2010-12.csv")
    _, rest = await while_it_runs(
        own_standalone,
        5,
        lambda _: own_standalone.kill("order"),
        "import",
        "orders",
        orders,
        "--limit",
        "300",
        "--stock",
        "9",
    )
    last = json.loads(rest.splitlines()[-1])
    assert last["placed"] + last["replayed"] == 300


async def test_a_broken_chat_file_is_told_line_by_line(standalone: Standalone, tmp_path: Path) -> None:
    good = {
        "at": "2024-05-01T10:00",
        "line": 0,
        "from": "ann",
        "kind": "message",
        "text": own("hi"),
        "reply_to": [],
        "annotated": False,
    }
    file = tmp_path / "day.jsonl"
    raws = [good, {**good, "line": 1, "text": "x" * 17_000}, {**good, "line": 2, "reply_to": [9]}, {**good, "line": 3}]
    file.write_text("".join(json.dumps(raw) + "\n" for raw in raws) + "{\n")
    code, before, last = await said(standalone, "replay", "chat", str(file))
    assert code == 1
    assert [(each["line"], each["rule"]) for each in before] == [(2, "text_too_long"), (3, "reply_to"), (5, "json")]
    assert (last["sent"], last["refused"]) == (2, 3)
    file.write_bytes(b"")
    code, before, last = await said(standalone, "replay", "chat", str(file))
    assert code == 2  # no line of it was wrong: the file is
    assert last == {"conversation": None, "sent": 0, "replayed": 0, "refused": 0}


async def test_odd_names_and_dates_are_nobody_s_trouble(standalone: Standalone, tmp_path: Path) -> None:
    odd = ["a/b", "é" * 64, "x\u0000y", " ", "new\nline", "*", ">", ".", "../..", "💥", "\u202e", "%s", "=41"]
    lines = [
        json.loads(talk_line(number)) | {"from": name, "text": name, "at": "9999-12-31T23:59"}
        for number, name in enumerate(odd)
    ]
    file = tmp_path / "day.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _, last = await said(standalone, "replay", "chat", str(file))
    assert (code, last["sent"] + last["replayed"]) == (0, len(odd))
    assert (await standalone.command("export", "chat", last["conversation"])).stdout == file.read_text()
    table = tmp_path / "orders.csv"
    with table.open("w", newline="") as out:
        rows = ([own("N"), name, name, 1, "9999-12-31 23:59:59", "0.01", "", ""] for name in odd if name.strip())
        csv.writer(out).writerows([COLUMNS.strip().split(","), *rows])
    code, before, last = await said(standalone, "import", "orders", str(table), "--stock", "1")
    assert (code, before) == (0, [])
    assert last == {"placed": 12, "replayed": 0, "refused": 0, "totals": {"GBP": "0.12"}}


async def test_invoices_become_orders_once(standalone: Standalone, tmp_path: Path) -> None:
    one, two, sku = own("A"), own("B"), own("sku")
    rows = [
        f"{one},{sku},TEA,2,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        f"C{one},{sku},TEA,-2,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        f"{two},{sku},\"TEA, GREEN\",1,2010-12-01 08:30:00,3.0,,France",
        f"{one},{sku},TEA,1,2010-12-01 08:27:00,0.1,17850.0,United Kingdom",
        f"{one},{sku},TEA,0,2010-12-01 08:27:00,0.1,17850.0,United Kingdom",
        f"{two},{sku},TEA,1,2010-12-01 08:30:00,3.001,,France",
    ]  # fmt: skip
    file = tmp_path / "orders.csv.gz"
    file.write_bytes(gzip.compress((COLUMNS + "\n".join(rows) + "\n").encode()))
    arguments = ["import", "orders", str(file), "--stock", "7"]
    code, before, last = await said(standalone, *arguments)
    assert code == 1
    assert [(each["line"], each["rule"]) for each in before] == [
        (3, "cancellation"),
        (6, "no_quantity"),
        (7, "price_precision"),
    ]
    assert last == {"placed": 2, "replayed": 0, "refused": 3, "totals": {"GBP": "8.20"}}
    _, _, again = await said(standalone, *arguments)
    assert again == {"placed": 0, "replayed": 2, "refused": 3, "totals": {"GBP": "8.20"}}
    stock = (await standalone.json("stock", "show", sku))[0]
    assert stock["available"] + stock["reserved"] + stock["sold"] == 7
    orders = await standalone.json("order", "list", "--customer", "guest", "--limit", "200")
    assert [each["lines"][0]["title"] for each in orders if each["attributes"]["invoice"] == two] == ["TEA, GREEN"]


@pytest.mark.data
async def test_a_recorded_month_is_imported_whole_over_an_interruption(
    own_standalone: Standalone, recorded_data: Path
) -> None:
    file = str(recorded_data / "orders" / "online_retail_2010-12.csv")
    own_standalone.start()
    own_standalone.serves()
    arguments = ["import", "orders", file, "--limit", "300"]
    code, _ = await while_it_runs(own_standalone, 50, lambda process: process.send_signal(signal.SIGINT), *arguments)
    assert code == 130
    _, _, some = await said(own_standalone, *arguments)
    assert some["placed"] + some["replayed"] == 300
    # The shelves are empty, so that this asks after the import alone and not after forty thousand reservations.
    code, out = await while_it_runs(own_standalone, 0, lambda _: None, "import", "orders", file)
    *before, last = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert (last["placed"] + last["replayed"], last["replayed"], last["refused"]) == (1559, 300, 1001)
    assert last["totals"] == {"GBP": "823746.14"}
    rules = [each["rule"] for each in before]
    assert {rule: rules.count(rule) for rule in set(rules)} == {
        "cancellation": 728,
        "negative_quantity": 70,
        "no_price": 203,
    }
    # A line of the file named by its number is the line refused.
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    assert all(
        lines[each["line"] - 1].startswith("C") for each in islice(before, 728) if each["rule"] == "cancellation"
    )
