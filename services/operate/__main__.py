"""The operator's commands: ``python -m services.operate COMMAND --service chat|order|mail``.

They read the settings of the service they operate on (``TRADEWIND_…``); with ``TRADEWIND_HOME`` they find what a standalone has by
themselves.
Exit codes: 0 done, or all is well; 1 something is wrong (status, verify); 2 a bad setting or argument; 3 refused, or not done.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.chat.attachments.vault import VaultUnavailable
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.privacy.keys import PersonKeys
from services.chat.privacy.master import Master
from services.chat.search.rebuilding import RebuildRefused, rebuild
from services.chat.search.running import folder_of
from services.ledger.backup import BackupUnusable
from services.ledger.errors import LedgerError
from services.ledger.recovery import NotNow, recover_log
from services.ledger.restoring import merge, restore
from services.ledger.verifying import Report, verify
from services.operate import backups
from services.operate.known import SERVICES
from services.operate.place import opened
from services.operate.status import status
from services.runtime import logs
from services.runtime.config import Unstartable
from services.runtime.run import run
from services.standalone.broker import NoBroker
from services.standalone.home import HomeUnusable

WRONG, REFUSED = 1, 3
_MOST_SHOWN = 100
_SAID = (
    NotNow, BackupUnusable, RebuildRefused, LedgerError, VaultUnavailable, NoBroker, HomeUnusable, Unstartable,
)  # fmt: skip


def tell(line: str) -> None:
    """One line for the operator."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def recover(options: argparse.Namespace) -> int:
    """Puts a new life in the place of a lost log."""
    force = options.even_though_it_stands
    if force is not None and force != options.service:
        raise NotNow(f"--even-though-it-stands must name the service: {options.service}")
    async with opened(options.service) as place:
        await recover_log(place.lives, place.archive, place.log, tell, force=force is not None)
    return 0


async def write_backup(options: argparse.Namespace) -> int:
    """Writes all entries of the store into a file, and Chat's attachments into the folder beside it."""
    # They are where the log is; without them a backup needs nothing but the store.
    with_attachments = options.attachments and options.service == "chat"
    async with opened(options.service, with_log=with_attachments) as place:
        made = await backups.written(place, options.file, options.since, tell, with_attachments=with_attachments)
    counts = f"{made.trailer.entries} entries of {made.trailer.aggregates} aggregates, {made.trailer.rows} rows"
    tell(f"{options.file}: {counts}")
    tell(f"what comes after it: backup --since {made.header.complete_seq}")
    return 0


async def read_backup(options: argparse.Namespace) -> int:
    """Fills an empty store, or adds to one in use."""
    if not options.files and not options.from_log:
        raise NotNow("name a backup, or say --from-log")
    if options.files and options.from_log:
        raise NotNow("a backup is always followed by what the log holds: --from-log is for none")
    with_attachments = options.attachments and options.service == "chat" and options.files
    async with opened(options.service, with_log=with_attachments or not options.merge) as place:
        kinds = place.known.kinds
        if options.merge:
            for file in options.files:
                await merge(place.archive, place.service, kinds, file, tell)
            if with_attachments:
                await backups.put_back(place, options.files[-1], tell)
            return 0
        done = await restore(
            place.archive, place.lives, place.service, kinds, options.files, tell, accept_loss=options.accept_loss
        )
        tell(f"restored {done.entries} entries; what the log holds beyond them is stored as soon as the service runs")
        if with_attachments:
            await backups.put_back(place, options.files[-1], tell)
    return 0


async def show(options: argparse.Namespace) -> int:
    """Shows one screen for each service."""
    healthy = True
    for service in [options.service] if options.service else SERVICES:
        async with opened(service) as place:
            found = await status(place)
        healthy = healthy and found.healthy
        for line in found.lines():
            tell(line)
    return 0 if healthy else WRONG


async def check(options: argparse.Namespace) -> int:
    """Walks over the store and says what is wrong with it."""
    report = Report()
    async with opened(options.service, with_log=False) as place:
        if not await place.archive.identity():
            tell("the store is new, or lost: nothing was ever written to it; see what status says")
            return WRONG
        broken = await verify(place.archive, place.known.kinds, report, ids=not options.quick)
    for one in broken[:_MOST_SHOWN]:
        tell(f"{one.aggregate.kind} {one.aggregate.tenant}/{one.aggregate.id} {one.why}")
    tell(
        f"{report.aggregates} aggregates, {report.entries} entries, {report.events} events, {report.request_ids} request ids, "
        f"{report.rows} rows: {report.broken} aggregates are broken"
    )
    return WRONG if broken else 0


async def rebuild_search(options: argparse.Namespace) -> int:
    """Makes the index of Chat's search anew, out of the store; one that was broken off goes on."""
    if options.service not in (None, "chat"):
        raise NotNow(f"{options.service} has no search")
    async with opened("chat", with_log=False) as place:
        settings = place.settings
        assert isinstance(settings, ChatSettings)
        contents = Contents()
        if settings.person_key_file is not None:
            master = await asyncio.to_thread(Master.from_file, settings.person_key_file)
            contents = Contents(PersonKeys(place.archive, master))
        folder = folder_of(settings)
        done = await rebuild(place.archive, contents, folder, settings.log_partitions, tell)
    tell(f"{folder}: {'went on, ' if done.resumed else ''}{done.messages} messages; what was said meanwhile follows")
    return 0


async def perform(arguments: list[str] | None = None) -> int:
    """Performs one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], Awaitable[int]] = options.command
    try:
        return await command(options)
    except _SAID as error:
        sys.stderr.write(f"{error}\n")
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sys.stderr.write(f"{error.filename or ''}: {error.strerror}\n")
    return REFUSED


def main() -> int:
    """Performs what the command line says."""
    logs.configure("operate", "error")
    return run(perform())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.operate", description=__doc__.partition("\n\n")[2])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[argparse.Namespace], Awaitable[int]], *, one: bool = True
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        made.add_argument("--service", choices=sorted(SERVICES), required=one, help="whose log and store")
        made.set_defaults(command=command)
        return made

    lost = add("recover-log", recover)
    lost.add_argument(
        "--even-though-it-stands", metavar="SERVICE",
        help="begin a new life although the log is not lost; what it holds and the store does not is dropped. Name the service again",
    )  # fmt: skip
    backup = add("backup", write_backup)
    backup.add_argument("file", type=Path, help="a new file")
    backup.add_argument("--since", type=int, default=0, metavar="SEQ", help="only entries above this log sequence")
    _attachments(backup)
    filled = add("restore", read_backup)
    _attachments(filled)
    filled.add_argument(
        "files", type=Path, nargs="*", help="a whole backup, and those of what came after it, oldest first"
    )
    filled.add_argument("--from-log", action="store_true", help="there is no backup: let the log give everything")
    filled.add_argument("--accept-loss", action="store_true", help="go on where backup and log leave something out")
    filled.add_argument("--merge", action="store_true", help="add what is missing to a store in use")
    add("status", show, one=False)
    add("rebuild-search", rebuild_search, one=False)
    walked = add("verify", check)
    walked.add_argument("--quick", action="store_true", help="do not look up request ids")
    return parser


def _attachments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--attachments", action=argparse.BooleanOptionalAction, default=True, help="of Chat: with its attachments"
    )


if __name__ == "__main__":
    sys.exit(main())
