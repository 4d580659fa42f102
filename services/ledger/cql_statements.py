"""Every statement the CQL archive sends, by name.

All are idempotent and touch one partition. Writes carry the log's sequence as their timestamp (`lives` the epoch, which is one too), so the
higher sequence wins whatever order they come in. `tests/unit/ledger/test_cql_statements.py` holds them and the schema to that.
"""

from __future__ import annotations

from typing import Final

_ENTRY: Final = (
    "SELECT version, seq, data, head_version, head_seq, newest_request_ms, size, last_bucket FROM {keyspace}.history"
    " WHERE key = ? AND bucket = ? AND part = 0"
)

STATEMENTS: Final[dict[str, str]] = {
    # an aggregate's entries, ids and head
    "put_entry": (
        "INSERT INTO {keyspace}.history"
        " (key, bucket, part, version, seq, data, head_version, head_seq, newest_request_ms, size)"
        " VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
    ),
    "put_ids": (
        "INSERT INTO {keyspace}.history (key, bucket, part, version, seq, data)"
        " VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
    ),
    "put_bucket": "INSERT INTO {keyspace}.buckets (key, bucket, first_version) VALUES (?, ?, ?) USING TIMESTAMP ?",
    "put_last_bucket": "UPDATE {keyspace}.history USING TIMESTAMP ? SET last_bucket = ? WHERE key = ? AND bucket = 0",
    "entries_down": _ENTRY + " AND version <= ? ORDER BY part DESC, version DESC LIMIT ?",
    "entries_up": _ENTRY + " AND version > ? LIMIT ?",
    "ids": (
        "SELECT version, seq, data, newest_request_ms FROM {keyspace}.history WHERE key = ? AND bucket = ? AND part = ?"
    ),
    "buckets": "SELECT bucket, first_version FROM {keyspace}.buckets WHERE key = ? AND bucket <= ?",
    "keys": (
        "SELECT DISTINCT key, bucket, token(key, bucket) FROM {keyspace}.history WHERE token(key, bucket) > ? LIMIT ?"
    ),
    # snapshots
    "put_snapshot": (
        "INSERT INTO {keyspace}.snapshots (key, piece, pieces, version, seq, data)"
        " VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
    ),
    "snapshot": "SELECT piece, pieces, version, seq, data FROM {keyspace}.snapshots WHERE key = ?",
    # read models: those that stay, those that come and go, and those that hold secrets
    **{
        f"{name}{statement}": text.replace("{table}", table)
        for name, table in (("", "rows"), ("fleeting_", "fleeting_rows"), ("secret_", "secret_rows"))
        for statement, text in {
            "put_row": (
                "INSERT INTO {keyspace}.{table} (name, partition, slice, key, value, seq)"
                " VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
            ),
            "delete_row": (
                "DELETE FROM {keyspace}.{table} USING TIMESTAMP ?"
                " WHERE name = ? AND partition = ? AND slice = ? AND key = ?"
            ),
            "row": (
                "SELECT key, value, seq FROM {keyspace}.{table}"
                " WHERE name = ? AND partition = ? AND slice = ? AND key = ?"
            ),
            "rows_first": (
                "SELECT key, value, seq FROM {keyspace}.{table} WHERE name = ? AND partition = ? AND slice = ? LIMIT ?"
            ),
            "rows_up": (
                "SELECT key, value, seq FROM {keyspace}.{table}"
                " WHERE name = ? AND partition = ? AND slice = ? AND key > ? LIMIT ?"
            ),
            "rows_last": (
                "SELECT key, value, seq FROM {keyspace}.{table}"
                " WHERE name = ? AND partition = ? AND slice = ? ORDER BY key DESC LIMIT ?"
            ),
            "rows_down": (
                "SELECT key, value, seq FROM {keyspace}.{table}"
                " WHERE name = ? AND partition = ? AND slice = ? AND key < ? ORDER BY key DESC LIMIT ?"
            ),
        }.items()
    },
    **{
        f"{name}row_places": (
            "SELECT DISTINCT name, partition, slice, token(name, partition, slice) FROM {keyspace}.{table}"
            " WHERE token(name, partition, slice) > ? LIMIT ?"
        ).replace("{table}", f"{name}rows")
        for name in ("", "secret_")
    },
    "put_slice": "INSERT INTO {keyspace}.slices (name, partition, slice) VALUES (?, ?, ?) USING TIMESTAMP ?",
    "slices_up": "SELECT slice FROM {keyspace}.slices WHERE name = ? AND partition = ? AND slice >= ? LIMIT ?",
    "slices_down": (
        "SELECT slice FROM {keyspace}.slices"
        " WHERE name = ? AND partition = ? AND slice <= ? ORDER BY slice DESC LIMIT ?"
    ),
    "slices_last": ("SELECT slice FROM {keyspace}.slices WHERE name = ? AND partition = ? ORDER BY slice DESC LIMIT ?"),
    # what servers share
    "put_position": (
        "INSERT INTO {keyspace}.positions (role, source, partition, epoch, seq)"
        " VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?"
    ),
    "position": ("SELECT epoch, seq FROM {keyspace}.positions WHERE role = ? AND source = ? AND partition = ? LIMIT 1"),
    "put_life": "INSERT INTO {keyspace}.lives (service, epoch) VALUES (?, ?) USING TIMESTAMP ?",
    "life": "SELECT epoch FROM {keyspace}.lives WHERE service = ?",
    "put_identity": "INSERT INTO {keyspace}.identities (name, id) VALUES ('store', ?)",
    "identity": "SELECT id FROM {keyspace}.identities WHERE name = 'store'",
    "put_newest": "INSERT INTO {keyspace}.newest (name, seq) VALUES ('store', ?) USING TIMESTAMP ?",
    "newest": "SELECT seq FROM {keyspace}.newest WHERE name = 'store'",
}
"""Text by name; `{keyspace}` stands for the service's keyspace."""
