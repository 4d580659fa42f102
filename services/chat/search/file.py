"""One file of the embedded index: SQLite with its full-text index FTS5. Blocking; one thread uses it at a time.

A message is a row, named by the time it was sent so that the newest stand last, and an entry of the full-text index under the same name:
its words, and beside them who said it, where, and what it has. Words are cut here and not by SQLite, so FTS5 is told to take them as
they are (tokenizer ascii: all that is not ASCII belongs to words). Every word stands under its tenant's number.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from services.chat.search.asked import Feature
from services.chat.search.expression import BREAK, FLAGS, facets, flags_of, indexed_words
from services.chat.search.index import Change, Position, Reacted, Removed, Reworded, Said
from services.chat.search.words import compared

FORMAT: Final = 1
"""Of files and of what words are; a file of another one is not used."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tenants (no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS conversations (
    no INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (tenant, name)
);
CREATE TABLE IF NOT EXISTS users (
    no INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (tenant, name)
);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, version INTEGER NOT NULL, sender INTEGER NOT NULL,
    author INTEGER, revision INTEGER NOT NULL, reaction_revision INTEGER NOT NULL, flags INTEGER NOT NULL, words TEXT NOT NULL,
    UNIQUE (conversation, version)
);
CREATE INDEX IF NOT EXISTS messages_by_sender ON messages (sender);
CREATE INDEX IF NOT EXISTS messages_by_author ON messages (author) WHERE author IS NOT NULL;
CREATE TABLE IF NOT EXISTS gone (
    conversation INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (conversation, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (partition INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS found USING fts5(words, facets, content='', columnsize=0, tokenize='ascii');
"""
_PUT_POSITION: Final = "INSERT INTO positions VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)"
_ROW: Final = """SELECT m.id, m.conversation, m.sender, m.flags, m.words, m.revision, m.reaction_revision
    FROM messages m WHERE m.conversation = ? AND m.version = ?"""
_VERSION_BITS: Final = 10
LATEST_US: Final = (1 << 52) - 1
"""The last moment that has a place; in the year 2112."""
END_ID: Final = (LATEST_US + 1) << _VERSION_BITS
"""Above all places of messages."""
_REMEMBERED: Final = 50_000
_DELETED_AT_ONCE: Final = 1000
TIDY_AFTER_S: Final = 86_400
_UNTIDY: Final = "untidy"
"""The note of since when words of what was deleted or reworded are in the full-text index."""


def id_of(at_us: int, version: int = 0) -> int:
    """Give the place of a message in time; messages of one microsecond stand in the order of their versions."""
    return min(max(at_us, 0), LATEST_US) << _VERSION_BITS | version & ((1 << _VERSION_BITS) - 1)


def time_of(rowid: int) -> int:
    """Give when a message was sent, in microseconds since the Unix epoch."""
    return rowid >> _VERSION_BITS


class IndexFile:
    """A connection to one file.

    Args:
        path: of a file that is there, where it is not `new`.
    """

    def __init__(self, path: Path, *, new: bool = False) -> None:
        self.path = path
        mode = "rwc" if new else "rw"
        if new:  # words in the clear: its owner's alone, and so are the files that SQLite keeps beside it
            path.touch(mode=0o600)
        self.connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=10.0, isolation_level=None,
            check_same_thread=False, cached_statements=128,
        )  # fmt: skip
        self._numbers: dict[tuple[str, int, str], int] = {}
        # What is lost with the last moments is read again from the log, so a commit need not wait for the disk.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON", "cache_size=-16000"):
            self.connection.execute(f"PRAGMA {pragma}")
        if new:
            self.connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    def number(self, table: str, tenant: int, name: str) -> int | None:
        """Give the number of a tenant's conversation or user; None where there is none."""
        known = self._numbers.get((table, tenant, name))
        if known is not None:
            return known
        found = self.connection.execute(
            f"SELECT no FROM {table} WHERE tenant = ? AND name = ?",  # noqa: S608 - one of two constant names
            (tenant, name),
        ).fetchone()
        return self._remember((table, tenant, name), found[0]) if found else None

    def tenant(self, name: str) -> int | None:
        """Give a tenant's number; None where nothing of it is indexed."""
        known = self._numbers.get(("tenants", 0, name))
        if known is not None:
            return known
        found = self.connection.execute("SELECT no FROM tenants WHERE name = ?", (name,)).fetchone()
        return self._remember(("tenants", 0, name), found[0]) if found else None

    def positions(self) -> dict[int, int]:
        """Give up to which sequence the file is true, by partition."""
        return dict(self.connection.execute("SELECT partition, seq FROM positions").fetchall())

    def note(self, name: str) -> str:
        """Read a note; "" where there is none."""
        found = self.connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def put(
        self, changes: Sequence[Change], positions: Sequence[Position] = (), notes: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Take in changes, places and notes in one transaction. Raises sqlite3.Error; then nothing of it is there."""
        c = self.connection
        if not (changes or positions or notes):
            return
        c.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                self._take(change)
            for each in positions:
                c.execute(_PUT_POSITION, (each.partition, each.seq))
            for note in notes:
                c.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", note)
            c.execute("COMMIT")
        finally:
            if c.in_transaction:
                self._numbers.clear()  # some of them may never have been written
                c.execute("ROLLBACK")

    def remove_person(self, tenant_name: str, user_id: str) -> int:
        """See `Index.remove_person`. The full-text index is written anew, as it keeps words of what was deleted until then."""
        c = self.connection
        count = 0
        c.execute("BEGIN IMMEDIATE")
        try:
            tenant = self.tenant(tenant_name)
            sender = None if tenant is None else self.number("users", tenant, user_id)
            while tenant is not None and sender is not None:
                lines = c.execute(
                    "SELECT conversation, version FROM messages WHERE sender = ? OR author = ? LIMIT ?",
                    (sender, sender, _DELETED_AT_ONCE),
                ).fetchall()
                for conversation, version in lines:
                    self._remove(tenant, conversation, version)
                count += len(lines)
                if len(lines) < _DELETED_AT_ONCE:
                    break
            c.execute("COMMIT")
        finally:
            if c.in_transaction:
                c.execute("ROLLBACK")
        self._write_anew()
        return count

    def tidy(self, now_s: float) -> None:
        """Write the full-text index anew a day after something was deleted or reworded: it keeps those words until then."""
        since = self.note(_UNTIDY)
        if since and now_s - int(since) >= TIDY_AFTER_S:
            self._write_anew()
            self.connection.execute("DELETE FROM notes WHERE name = ?", (_UNTIDY,))

    def _write_anew(self) -> None:
        self.connection.execute("INSERT INTO found(found) VALUES ('optimize')")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _soil(self) -> None:
        self.connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (_UNTIDY, str(int(time.time()))))

    def _take(self, change: Change) -> None:
        name = change.name
        tenant = self._made("tenants", 0, name.tenant)
        conversation = self._made("conversations", tenant, name.conversation_id)
        if isinstance(change, Said):
            self._say(tenant, conversation, change)
        elif isinstance(change, Removed):
            self._remove(tenant, conversation, name.version)
        else:
            self._change(tenant, conversation, change)

    def _say(self, tenant: int, conversation: int, said: Said) -> None:
        c, version = self.connection, said.name.version
        if self._is_known(conversation, version):
            return
        sender = self._made("users", tenant, said.sender_id)
        author = self._made("users", tenant, said.author_id) if said.author_id else None
        rowid, words, flags = id_of(said.at_us, version), _joined(said.texts), flags_of(said.has)
        # Another conversation's message of the same microsecond may stand there.
        while c.execute("SELECT 1 FROM messages WHERE id = ?", (rowid,)).fetchone():
            rowid += 1
        c.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
            (rowid, conversation, version, sender, author, version, flags, words),
        )
        self._enter(rowid, tenant, conversation, sender, flags, words)

    def _is_known(self, conversation: int, version: int) -> bool:
        at = (conversation, version)
        c = self.connection
        return bool(
            c.execute("SELECT 1 FROM messages WHERE conversation = ? AND version = ?", at).fetchone()
            or c.execute("SELECT 1 FROM gone WHERE conversation = ? AND version = ?", at).fetchone()
        )

    def _change(self, tenant: int, conversation: int, change: Reworded | Reacted) -> None:
        line = self.connection.execute(_ROW, (conversation, change.name.version)).fetchone()
        if line is None:
            return
        rowid, _, sender, flags, words, revision, reaction_revision = line
        reaction = FLAGS[Feature.REACTION]
        if isinstance(change, Reworded):
            if change.revision <= revision:
                return
            new_words, revision = _joined(change.texts), change.revision
            new_flags = flags_of(change.has) | flags & reaction
            self._soil()
        else:
            if change.revision <= reaction_revision:
                return
            new_words, reaction_revision = words, change.revision
            new_flags = flags | reaction if change.any else flags & ~reaction
        if (new_words, new_flags) != (words, flags):
            self._leave(rowid, tenant, conversation, sender, flags, words)
            self._enter(rowid, tenant, conversation, sender, new_flags, new_words)
        self.connection.execute(
            "UPDATE messages SET revision = ?, reaction_revision = ?, flags = ?, words = ? WHERE id = ?",
            (revision, reaction_revision, new_flags, new_words, rowid),
        )

    def _remove(self, tenant: int, conversation: int, version: int) -> None:
        line = self.connection.execute(_ROW, (conversation, version)).fetchone()
        if line is not None:
            rowid, _, sender, flags, words, _, _ = line
            self._leave(rowid, tenant, conversation, sender, flags, words)
            self.connection.execute("DELETE FROM messages WHERE id = ?", (rowid,))
            self._soil()
        self.connection.execute("INSERT OR IGNORE INTO gone VALUES (?, ?)", (conversation, version))

    def _enter(self, rowid: int, tenant: int, conversation: int, sender: int, flags: int, words: str) -> None:
        self.connection.execute(
            "INSERT INTO found(rowid, words, facets) VALUES (?, ?, ?)",
            (rowid, indexed_words(tenant, words), facets(tenant, conversation, sender, flags)),
        )

    def _leave(self, rowid: int, tenant: int, conversation: int, sender: int, flags: int, words: str) -> None:
        # FTS5 keeps no texts of its own here, and is told what it forgets.
        self.connection.execute(
            "INSERT INTO found(found, rowid, words, facets) VALUES ('delete', ?, ?, ?)",
            (rowid, indexed_words(tenant, words), facets(tenant, conversation, sender, flags)),
        )

    def _made(self, table: str, tenant: int, name: str) -> int:
        number = self.tenant(name) if table == "tenants" else self.number(table, tenant, name)
        if number is not None:
            return number
        if table == "tenants":
            made = self.connection.execute("INSERT INTO tenants(name) VALUES (?)", (name,))
        else:
            made = self.connection.execute(f"INSERT INTO {table}(tenant, name) VALUES (?, ?)", (tenant, name))  # noqa: S608 - constant
        assert made.lastrowid is not None
        return self._remember((table, tenant, name), made.lastrowid)

    def _remember(self, key: tuple[str, int, str], number: int) -> int:
        if len(self._numbers) >= _REMEMBERED:
            self._numbers.clear()
        self._numbers[key] = number
        return number


def _joined(texts: Sequence[str]) -> str:
    """Give the words of all texts in a row, with a break between two."""
    return f" {BREAK} ".join(" ".join(words) for text in texts if (words := compared(text)))
