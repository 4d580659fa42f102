"""Fixtures of stories that are told on every store."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.tally import PLACES

FILES = ("a.db", "order.db", "mail.db", "new.db")
CHAT_FILES = ("chat.db",)


@pytest.fixture(params=["sqlite", "cql"])
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Runs a story on files, and on a CQL server with a keyspace for each file."""
    yield from _stores(request, tmp_path, FILES)


@pytest.fixture(params=["sqlite", "cql"])
def each_chat_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Runs a story of a `chat_world` on a file, and on a keyspace of a CQL server."""
    yield from _stores(request, tmp_path, CHAT_FILES)


def _stores(request: pytest.FixtureRequest, tmp_path: Path, files: Sequence[str]) -> Iterator[str]:
    if request.param == "cql":
        keyspaces = request.getfixturevalue("keyspaces")
        taken = {file: keyspaces.take(tmp_path / file) for file in files}
        settings = {file: asdict(keyspaces.settings(keyspace)) for file, keyspace in taken.items()}
        (tmp_path / PLACES).write_text(json.dumps(settings), encoding="utf-8")
        yield "cql"
        keyspaces.give_back()
    else:
        yield "sqlite"
