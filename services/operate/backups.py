"""A service's backup as a whole: the store's, and of Chat its attachments with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from services.chat.attachments.jetstream import JetStreamVault
from services.chat.attachments.vault import VaultUnavailable
from services.chat.config import ChatSettings
from services.chat.privacy.keys import PersonKeys
from services.chat.privacy.master import Master
from services.ledger import backup
from services.ledger.errors import StoreUnavailable
from services.ledger.recovery import NotNow
from services.operate import attachments, catalogue
from services.operate.attachments import Copied, PutBack, Restorer
from services.operate.place import Place

Tell = Callable[[str], None]


async def written(place: Place, file: Path, since: int, tell: Tell, *, with_attachments: bool) -> backup.Contents:
    """Write a backup; one whose attachments were broken off goes on with them.

    Raises:
        BackupUnusable, NotNow, OSError, StoreUnavailable, VaultUnavailable: not made as a whole.
    """
    with_attachments = with_attachments and isinstance(place.settings, ChatSettings)
    if with_attachments and await asyncio.to_thread(_lacks_only_its_list, file):
        made = await backup.contents(file)
        if (made.header.service, made.header.after_seq) != (place.service, since):
            raise backup.BackupUnusable(f"{file} is there already")
        tell(f"{file} is there, and goes on with its attachments")
    else:
        known = place.known
        made = await backup.back_up(place.archive, place.service, known.roles, file, after_seq=since, kept=known.kept)
    if with_attachments:
        done = await attachments.back_up(_vault(place), file, made.trailer.digest, tell)
        tell(done.line())
        _hold_to(done)
    return made


async def put_back(place: Place, file: Path, tell: Tell) -> None:
    """Put back the attachments that belong to a backup, into a store that has what it holds; again does only what is left.

    Raises:
        BackupUnusable, NotNow: not all are there.
    """
    if not isinstance(place.settings, ChatSettings):
        return
    if not await asyncio.to_thread(catalogue.list_of(file).exists):
        tell(f"{file} was made without attachments")
        return
    key_file = place.settings.person_key_file
    keys = None
    if key_file is not None:
        keys = PersonKeys(place.archive, await asyncio.to_thread(Master.from_file, key_file))
    made = await backup.contents(file)
    try:
        done = await Restorer(place.archive, _vault(place), keys).restore(file, made.trailer.digest, tell)
    except (StoreUnavailable, VaultUnavailable) as error:
        raise NotNow(f"{error}; go on with restore --merge {file}") from error
    tell(done.line())
    _hold_to(done)


def _lacks_only_its_list(file: Path) -> bool:
    return file.exists() and not catalogue.list_of(file).exists()


def _hold_to(done: Copied | PutBack) -> None:
    if done.damaged:
        raise NotNow(f"{done.damaged} attachments or thumbnails are damaged or missing; all else is done")


def _vault(place: Place) -> JetStreamVault:
    settings = place.settings
    assert isinstance(settings, ChatSettings)
    assert place.nats is not None
    return JetStreamVault(
        place.nats,
        settings.attachment_bucket,
        replicas=settings.attachment_replicas,
        max_bytes=settings.attachment_bucket_bytes,
    )
