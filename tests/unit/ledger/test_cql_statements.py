"""Schema and statements keep to what every CQL server does without coordination: upserts and reads of one partition."""

import re
from collections.abc import Iterator

import pytest

from services.chat.privacy import keys
from services.ledger import cql_rows
from services.ledger.cql_statements import STATEMENTS
from services.migrate.files import FOLDER, read

FORBIDDEN = {
    "lightweight transactions": r"\bIF\b(?! NOT EXISTS \{keyspace\}\.\w+ \()",
    "counters": r"\bcounter\b",
    "materialized views": r"\bMATERIALIZED\b|\bVIEW\b",
    "secondary indexes": r"\bINDEX\b",
    "filtering": r"\bFILTERING\b",
    "batches in text": r"\bBATCH\b",
    "times to live": r"\bTTL\b|default_time_to_live",
}


def schema() -> str:
    return ";\n".join(statement for migration in read() for statement in migration.statements)


def tables() -> dict[str, tuple[list[str], list[str], set[str]]]:
    """Partition key, clustering key and all columns by table."""
    found = {}
    for name, body in re.findall(r"CREATE TABLE IF NOT EXISTS \{keyspace\}\.(\w+) \((.*?)\n\)", schema(), re.DOTALL):
        columns = set(re.findall(r"^\s+(\w+) (?:text|int|bigint|blob)\b", body, re.MULTILINE))
        whole = re.search(r"PRIMARY KEY \((?:\(([\w, ]+)\)|(\w+))((?:, \w+)*)\)", body)
        alone = re.search(r"(\w+) \w+ PRIMARY KEY", body)
        if whole is not None:
            partition = (whole[1] or whole[2]).split(", ")
            found[name] = partition, re.findall(r"\w+", whole[3]), columns
        else:
            assert alone is not None
            found[name] = [alone[1]], [], columns
    return found


def writes() -> Iterator[tuple[str, str]]:
    yield from ((name, text) for name, text in STATEMENTS.items() if not text.startswith("SELECT"))


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_is_used_that_servers_must_agree_for(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.IGNORECASE)
    assert [text for text in [*STATEMENTS.values(), *schema().split(";\n")] if pattern.search(text)] == []


def test_every_table_is_made_only_where_it_is_missing() -> None:
    assert all(text.startswith("CREATE TABLE IF NOT EXISTS {keyspace}.") for text in schema().split(";\n"))
    assert len(tables()) == schema().count("CREATE TABLE") == 11


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_names_known_columns_of_a_known_table(name: str) -> None:
    text = STATEMENTS[name]
    table = re.search(r"\{keyspace\}\.(\w+)", text)
    assert table is not None
    words = set(re.findall(r"[a-z_]+", re.sub(r"'[^']*'|\{keyspace\}\.\w+|token", "", text)))
    assert words <= tables()[table[1]][2]


@pytest.mark.parametrize(
    "name", [name for name in STATEMENTS if name not in ("keys", "row_places", "secret_row_places")]
)
def test_every_statement_asks_for_one_partition(name: str) -> None:
    """All but the scans of keys and of rows, which recovery and backups alone use."""
    text = STATEMENTS[name]
    table = re.search(r"\{keyspace\}\.(\w+)", text)
    assert table is not None
    partition = tables()[table[1]][0]
    if text.startswith("INSERT"):
        named = re.search(r"\(([\w, ]+)\) VALUES", text)
        assert named is not None
        assert set(partition) <= set(named[1].split(", "))
    else:
        where = text.partition("WHERE")[2]
        assert all(re.search(rf"\b{column} = ", where) for column in partition)
    assert " IN " not in text


def test_reads_are_bounded_or_of_what_is_bounded() -> None:
    """Without a LIMIT: one line, a bucket's ids of one part, an aggregate's buckets (one for 4 MiB), a snapshot's pieces."""
    unlimited = {name for name, text in STATEMENTS.items() if text.startswith("SELECT") and "LIMIT" not in text}
    assert unlimited == {
        "ids",
        "buckets",
        "snapshot",
        "row",
        "fleeting_row",
        "secret_row",
        "life",
        "identity",
        "newest",
    }


def test_every_write_carries_its_own_timestamp() -> None:
    """A server's clock and a log's sequence on the same cells would let a late write win. Only a store's name is by the clock."""
    assert [name for name, text in writes() if "USING TIMESTAMP ?" not in text] == ["put_identity"]


def test_only_rows_are_ever_deleted() -> None:
    assert [name for name, text in writes() if text.startswith("DELETE")] == [
        "delete_row", "fleeting_delete_row", "secret_delete_row",
    ]  # fmt: skip


def test_secrets_are_in_a_small_table_that_is_rewritten_with_every_flush() -> None:
    """What was written over is gone once two files are compacted together; and keys of persons are among it."""
    assert [cql_rows.place_of(name) for name in (keys.TABLE, keys.ERASED)] == ["secret_", ""]
    options = schema().partition("secret_rows")[2].partition(") WITH ")[2]
    assert (
        options
        == "compaction = {'class': 'SizeTieredCompactionStrategy', 'min_threshold': 2} AND gc_grace_seconds = 10800"
    )


def test_migrations_are_numbered_and_say_why() -> None:
    migrations = read(FOLDER)
    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))
    for migration in migrations:
        text = (FOLDER / migration.name).read_text(encoding="utf-8")
        assert text.startswith("--")
        for table in re.findall(r"\n\n(?:CREATE|ALTER)", text):
            pytest.fail(f"{migration.name}: a table without its reason: {table}")
