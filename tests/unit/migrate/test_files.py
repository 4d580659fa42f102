"""Migrations as files."""

from pathlib import Path

import pytest

from services.migrate.apply import replicated
from services.migrate.files import FOLDER, BadMigrations, read


def test_this_tree_s_migrations_can_be_read() -> None:
    first = read(FOLDER)[0]
    assert (first.number, first.name) == (1, "0001_archive.cql")
    assert all("--" not in statement for statement in first.statements)


def test_statements_are_cut_at_semicolons_and_freed_of_comments(tmp_path: Path) -> None:
    (tmp_path / "0001_one.cql").write_text("-- why; because\nCREATE a (\n  b -- c; d\n);\n\nCREATE e;\n")
    (one,) = read(tmp_path)
    assert one.statements == ("CREATE a (\n  b \n)", "CREATE e")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "no migrations"), (["0001_a.cql", "0003_b.cql"], "gap"), (["0002_a.cql"], "gap"),
        (["0001_a.cql", "0001_b.cql"], "gap"), (["1_a.cql"], "named"), (["0001_A.cql"], "named"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(names: list[str], words: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("CREATE a;")
    with pytest.raises(BadMigrations, match=words):
        read(tmp_path)


def test_copies_are_said_in_cql() -> None:
    assert replicated("3") == "{'class': 'SimpleStrategy', 'replication_factor': 3}"
    assert replicated("eu-1:3, us.2:2") == "{'class': 'NetworkTopologyStrategy', 'eu-1': 3, 'us.2': 2}"
