"""A backup holds what a store holds, and a store made of it is the same (rule 12)."""

import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from services.ledger.archive import Archive, Row
from services.ledger.backup import BackupUnusable, back_up, contents
from services.ledger.errors import HistoryGap, StoreLost
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from services.ledger.log import stream_name
from services.ledger.recovery import NotNow
from services.ledger.restoring import Restored, merge, restore
from services.ledger.verifying import Broken, Report, verify
from tests.integration.ledger_world import add, fresh_service, reckon, whole_history
from tests.integration.operate_world import operators
from tests.servers import NatsServer
from tests.tally import TALLY, Add, WakeAt, eventually, fresh_request, open_ledger, request, tally

TILLS = [tally(f"till {number}") for number in range(5)]


def quiet(_line: str) -> None:
    """Says nothing."""


async def purge(ledger: Ledger, below: int) -> None:
    """Lets everything below a sequence age out of the log."""
    name = stream_name(ledger.settings.service, ledger.epoch)
    await ledger._nats.jetstream().purge_stream(name, seq=below)


async def filled(url: str, file: Path, service: str, *files: Path, accept_loss: bool = False) -> Restored:
    """A restore without the waiting: nobody runs."""
    async with operators(url, file, service) as (lives, archive, _):
        return await restore(archive, lives, service, [TALLY], files, quiet, accept_loss=accept_loss, quiet=0.0)


async def broken(archive: Archive) -> list[Broken]:
    """What is wrong with a store."""
    report = Report()
    found = await verify(archive, [TALLY], report)
    assert report.aggregates
    return found


async def until_settled(ledger: Ledger, last: Callable[[], Awaitable[int]]) -> None:
    """Waits until repair has been through the log up to a sequence."""
    identity = await ledger.engine.archive.identity()

    async def settled() -> bool:
        kept = await ledger.engine.archive.position(f"repair-{identity}", ledger.settings.service, 0)
        return kept is not None and kept.seq >= await last()

    await eventually(settled, timeout=60)


async def test_a_store_restored_from_its_backup_is_the_same(nats_server: NatsServer, tmp_path: Path) -> None:
    service = fresh_service()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        for number, till in enumerate(TILLS):
            for amount in range(1, 4 + number):
                await add(ledger, till, amount)
        first = await ledger.execute(TILLS[0], Add(7), request("seven"))
        await ledger.execute(TILLS[1], WakeAt(9_000_000_000_000_000), fresh_request())
        histories = [await whole_history(ledger, till) for till in TILLS]
        made = await back_up(ledger.engine.archive, service, [("reader", service)], tmp_path / "backup")
        assert made == await contents(tmp_path / "backup")
        assert (made.trailer.entries, made.trailer.aggregates) == (27, 5)
        after = await add(ledger, TILLS[2], 100)
        await add(ledger, tally("new"), 5)
    with pytest.raises(StoreLost):
        async with open_ledger(nats_server.url, tmp_path / "b.db", service=service):
            pass
    done = await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "backup")
    assert (done.entries, done.loss) == (27, None)
    async with open_ledger(nats_server.url, tmp_path / "b.db", service=service) as ledger:
        assert await ledger.engine.archive.identity() not in (made.header.identity, None)
        archive = ledger.engine.archive
        assert [await whole_history(ledger, till) for till in (*TILLS[:2], *TILLS[3:])] == histories[:2] + histories[3:]
        assert (await ledger.read(TILLS[2])).version == after
        assert await reckon(ledger, tally("new")) == 5
        for till in TILLS:
            await reckon(ledger, till)
        again = await ledger.execute(TILLS[0], Add(7), request("seven"))
        assert (again.replayed, again.first_version) == (True, first.first_version)
        assert await add(ledger, TILLS[0]) == first.last_version + 1
        assert await broken(archive) == []


async def test_rows_that_no_entry_writes_are_kept_with_their_sequences(nats_server: NatsServer, tmp_path: Path) -> None:
    service = fresh_service()
    kept = [
        Row("kept", f"acme/{who}", f"{key:03}", b"%d" % key, key) for who in ("ann", "bob") for key in range(1, 800)
    ]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        await add(ledger, TILLS[0])
        await ledger.put_rows([*kept, Row("dropped", "acme/ann", "1", b"x", 1)])
        archive = ledger.engine.archive
        made = await back_up(archive, service, [], tmp_path / "backup", kept=["kept", "other"])
        assert made == await contents(tmp_path / "backup")
        assert (made.trailer.entries, made.trailer.rows) == (1, len(kept))
    await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "backup")
    async with open_ledger(nats_server.url, tmp_path / "b.db", service=service) as ledger:
        for who in ("ann", "bob"):
            rows = await ledger.rows("kept", f"acme/{who}", limit=1000)
            assert rows == [row for row in kept if row.partition == f"acme/{who}"]
        assert await ledger.row("dropped", "acme/ann", "1") is None
        await ledger.put_rows(
            [Row("kept", "acme/ann", "001", b"older", 0), Row("kept", "acme/ann", "002", b"newer", 9)]
        )
        assert [row.value for row in await ledger.rows("kept", "acme/ann", limit=2)] == [b"1", b"newer"]


async def test_rows_that_were_deleted_between_two_backups_stay_deleted(nats_server: NatsServer, tmp_path: Path) -> None:
    service = fresh_service()
    rows = [Row("kept", "acme/ann", name, b"token", 1) for name in ("one", "two")]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        archive = ledger.engine.archive
        await add(ledger, TILLS[0])
        await ledger.put_rows(rows)
        first = await back_up(archive, service, [], tmp_path / "1", kept=["kept"])
        await ledger.put_rows([Row("kept", "acme/ann", "one", None, 2)])
        seq = first.header.complete_seq
        second = await back_up(archive, service, [], tmp_path / "2", after_seq=seq, kept=["kept"])
        assert (first.trailer.rows, second.trailer.rows) == (2, 1)
    await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "1", tmp_path / "2")
    async with open_ledger(nats_server.url, tmp_path / "b.db", service=service) as ledger:
        assert await ledger.rows("kept", "acme/ann", limit=9) == rows[1:]


async def test_an_aggregate_held_in_part_shows_as_a_gap_and_no_other_does(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    service = fresh_service()
    whole, torn, late, silent = TILLS[:4]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        for till in (whole, torn, silent):
            await add(ledger, till, 1)
        await back_up(ledger.engine.archive, service, [], tmp_path / "backup")
        await add(ledger, torn, 2)  # will be in no place
        await add(ledger, late, 1)  # nor this
        await purge(ledger, (await ledger.engine.log.ends()).last + 1)
        for till in (whole, torn, late):
            await add(ledger, till, 3)
    with pytest.raises(NotNow, match="accept-loss"):
        await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "backup")
    done = await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "backup", accept_loss=True)
    assert done.loss is not None
    async with open_ledger(nats_server.url, tmp_path / "b.db", service=service) as ledger:
        for till in (torn, late):
            with pytest.raises(HistoryGap):
                await ledger.read(till)
            with pytest.raises(HistoryGap):
                await add(ledger, till)
        assert await reckon(ledger, whole) == 4
        assert await reckon(ledger, silent) == 1
        assert await add(ledger, whole) == 3
        assert await add(ledger, silent) == 2


async def test_a_log_that_reaches_back_gives_everything_by_itself(nats_server: NatsServer, tmp_path: Path) -> None:
    service = fresh_service()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        for till in TILLS:
            for amount in range(1, 9):
                await add(ledger, till, amount)
    done = await filled(nats_server.url, tmp_path / "b.db", service)
    assert done.loss is None
    async with open_ledger(nats_server.url, tmp_path / "b.db", service=service) as ledger:
        archive, last = ledger.engine.archive, (await ledger.engine.log.ends()).last

        async def newest() -> int:
            return last

        await until_settled(ledger, newest)
        assert ledger.counters.loads == len(TILLS)  # one for each, whatever it holds
        heads = [await archive.head(till.key) for till in TILLS]
        assert [head.version for head in heads if head is not None] == [8] * len(TILLS)
        assert [await reckon(ledger, till) for till in TILLS] == [36] * len(TILLS)
        await purge(ledger, last)
    with pytest.raises(NotNow, match="beginning"):
        await filled(nats_server.url, tmp_path / "c.db", service)


async def test_backups_of_what_is_new_go_on_from_each_other(nats_server: NatsServer, tmp_path: Path) -> None:
    service, till, other = fresh_service(), TILLS[0], TILLS[1]
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        archive = ledger.engine.archive
        await add(ledger, till, 1)
        first = await back_up(archive, service, [], tmp_path / "1")
        last = (await ledger.engine.log.ends()).last
        await add(ledger, till, 2)
        await add(ledger, other, 2)
        second = await back_up(archive, service, [], tmp_path / "2", after_seq=first.header.complete_seq)
        await back_up(archive, service, [], tmp_path / "too late", after_seq=last)
        assert second.trailer.entries == 3 - (first.header.complete_seq >= last)
    with pytest.raises(NotNow, match="first"):
        await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "2")
    with pytest.raises(NotNow, match="first"):
        await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "1", tmp_path / "too late")
    await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "1", tmp_path / "2")
    async with operators(nats_server.url, tmp_path / "b.db", service) as (_, archive, _):
        assert await broken(archive) == []
    await filled(nats_server.url, tmp_path / "c.db", service, tmp_path / "1")
    async with operators(nats_server.url, tmp_path / "c.db", service) as (_, archive, _):
        assert (await merge(archive, service, [TALLY], tmp_path / "2", quiet)).entries == 2
        assert (await merge(archive, service, [TALLY], tmp_path / "2", quiet)).entries == 0
        assert await broken(archive) == []
    async with open_ledger(nats_server.url, tmp_path / "c.db", service=service) as ledger:
        assert [await reckon(ledger, one) for one in (till, other)] == [3, 2]


async def test_a_store_in_use_is_not_restored_into(nats_server: NatsServer, tmp_path: Path) -> None:
    service = fresh_service()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        await add(ledger, TILLS[0])
        await back_up(ledger.engine.archive, service, [], tmp_path / "backup")
        with pytest.raises(NotNow, match="in use"):
            await filled(nats_server.url, tmp_path / "a.db", service, tmp_path / "backup")
        with pytest.raises(BackupUnusable, match="there already"):
            await back_up(ledger.engine.archive, service, [], tmp_path / "backup")
    with pytest.raises(BackupUnusable, match="a backup of"):
        await filled(nats_server.url, tmp_path / "b.db", fresh_service(), tmp_path / "backup")


async def test_a_restore_that_was_killed_goes_on(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = fresh_service()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        for till in TILLS:
            for amount in range(1, 30):
                await add(ledger, till, amount)
        await back_up(ledger.engine.archive, service, [], tmp_path / "backup")
        await back_up(ledger.engine.archive, service, [], tmp_path / "another")
    async with operators(nats_server.url, tmp_path / "b.db", service) as (lives, archive, _):
        monkeypatch.setattr(archive, "store", _broken_after(archive.store, 70))
        with pytest.raises(_Killed):
            await restore(archive, lives, service, [TALLY], [tmp_path / "backup"], quiet, quiet=0.0)
    with pytest.raises(StoreLost):
        async with open_ledger(nats_server.url, tmp_path / "b.db", service=service):
            pass
    done = await filled(nats_server.url, tmp_path / "b.db", service, tmp_path / "backup")
    assert done.entries == 5 * 29
    async with open_ledger(nats_server.url, tmp_path / "b.db", service=service) as ledger:
        assert [await reckon(ledger, till) for till in TILLS] == [435] * 5
        assert await broken(ledger.engine.archive) == []


class _Killed(Exception):
    """Stands for the end of the process."""


def _broken_after(store: Callable[..., Awaitable[None]], left: int) -> Callable[..., Awaitable[None]]:
    async def dies(write: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Killed
        await store(write)

    return dies


async def test_a_file_that_was_cut_or_changed_is_refused(nats_server: NatsServer, tmp_path: Path) -> None:
    service = fresh_service()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        for amount in range(1, 40):
            await add(ledger, TILLS[amount % 5], amount)
        await back_up(ledger.engine.archive, service, [], tmp_path / "backup")
    data = (tmp_path / "backup").read_bytes()
    plain = gzip.decompress(data)
    bad = tmp_path / "bad"
    for cut in (0, 1, 20, len(data) // 2, len(data) - 9, len(data) - 1):
        bad.write_bytes(data[:cut])
        with pytest.raises(BackupUnusable):
            await contents(bad)
    for where in (0, len(plain) // 3, len(plain) // 2, len(plain) - 5):
        changed = bytearray(plain)
        changed[where] ^= 1
        bad.write_bytes(gzip.compress(bytes(changed)))
        with pytest.raises(BackupUnusable):
            await contents(bad)
    for cut in (len(plain) // 2, len(plain) - 40):
        bad.write_bytes(gzip.compress(plain[:cut]))
        with pytest.raises(BackupUnusable):
            await contents(bad)
    bad.write_bytes(data + gzip.compress(b"more"))
    with pytest.raises(BackupUnusable):
        await contents(bad)
    with pytest.raises(BackupUnusable):
        await contents(tmp_path / "none")


async def test_what_is_wrong_with_a_store_is_found(nats_server: NatsServer, tmp_path: Path) -> None:
    service = fresh_service()
    async with open_ledger(nats_server.url, tmp_path / "a.db", service=service) as ledger:
        for till in TILLS:
            for amount in range(1, 4):
                await add(ledger, till, amount)
        archive = ledger.engine.archive
        assert await broken(archive) == []
        writer = archive._writer  # type: ignore[attr-defined]
        for statement, values in (
            ("DELETE FROM entries WHERE key = ? AND first_version = 2", (TILLS[0].key,)),
            ("UPDATE heads SET version = 9 WHERE key = ?", (TILLS[1].key,)),
            ("DELETE FROM requests WHERE key = ? AND first_version = 3", (TILLS[2].key,)),
            ("UPDATE rows SET value = '8' WHERE name = 'totals' AND key = ?", (TILLS[3].id,)),
        ):
            await writer.submit(lambda c, s=statement, v=values: c.execute(s, v) and None)
        found = {one.aggregate: one.why for one in await broken(archive)}
        assert set(found) == set(TILLS[:4])
        assert "continues version 1" in found[TILLS[0]]
        assert "head at version 9" in found[TILLS[1]]
        assert "request id in version 3" in found[TILLS[2]]
        assert "row in totals" in found[TILLS[3]]


def test_every_key_is_read_back() -> None:
    strange = AggregateId("acme", "tally", "a/b c/ä")
    assert AggregateId.from_key(strange.key) == strange
