"""Search as a part of a process of Chat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from opentelemetry.metrics import Meter

from services.chat import metrics
from services.chat.config import ChatSettings
from services.chat.contents import Contents
from services.chat.search.embedded import EmbeddedIndex
from services.chat.search.finding import Finder
from services.chat.search.following import Follower
from services.chat.search.service import SearchService
from services.ledger.errors import StoreUnavailable
from services.ledger.ledger import Ledger


def folder_of(settings: ChatSettings) -> Path:
    """Tell where the embedded index of a deployment is."""
    return settings.search_folder or settings.store_file.parent / "search"


@asynccontextmanager
async def searching(
    ledger: Ledger,
    contents: Contents,
    folder: Path,
    partitions: int,
    *,
    follows: bool = True,
    meter: Meter | None = None,
) -> AsyncIterator[SearchService]:
    """Search in the embedded index in ``folder``, and keep it true where this process ``follows`` the log and is the one that does.

    Where the folder cannot be used, searches are answered UNAVAILABLE until it can; all else of Chat goes on.
    """
    index = EmbeddedIndex(folder)
    try:
        await index.prepare()
    except StoreUnavailable as error:
        structlog.get_logger(__name__).error("search_unavailable", reason=str(error))
    follower = Follower(ledger, contents, index, partitions)
    if meter is not None:
        metrics.search(meter, follower.lag)
    if follows:
        follower.start()
    try:
        yield SearchService(Finder(ledger, contents, index), index)
    finally:
        await follower.close()
        await index.close()
