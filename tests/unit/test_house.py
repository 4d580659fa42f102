"""The rules of the house that no linter knows."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("services", "clients/python/tradewind", "tests", "proto")
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")

# Names that say nothing of what is inside.
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}

FILE_LINES, FUNCTION_LINES = 400, 60


def hand_written() -> list[Path]:
    """Every Python file of this tree that people write."""
    found = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if not GENERATED.search(path.name))


def domain_files() -> list[Path]:
    """Every module of a domain: ``domain.py``, or all of a package ``domain``."""
    return [path for path in hand_written() if "services" in path.parts and "domain" in (path.stem, path.parent.name)]


def imports(path: Path) -> Iterator[str]:
    """The full name of every module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function of a file with its length in lines, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            told = node.body[0] if ast.get_docstring(node) else None
            prose = (told.end_lineno or told.lineno) - told.lineno + 1 if told else 0
            yield f"{node.name}:{node.lineno}", (node.end_lineno or node.lineno) - node.lineno + 1 - prose


def named(path: Path) -> str:
    """A path as people write it."""
    return path.relative_to(ROOT).as_posix()


def test_domains_import_the_standard_library_only() -> None:
    foreign = [
        f"{named(path)} imports {module}"
        for path in domain_files()
        for module in imports(path)
        if module.split(".")[0] not in sys.stdlib_module_names
        and not module.startswith(".".join((*path.relative_to(ROOT).parts[:2], "domain")))
    ]
    assert foreign == []


def test_every_name_says_what_is_inside() -> None:
    empty = [named(path) for path in hand_written() if EMPTY_NAMES & {path.stem, *path.relative_to(ROOT).parts[:-1]}]
    assert empty == []


def test_files_stay_readable_at_one_sitting() -> None:
    lengths = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in hand_written()}
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES} == {}


def test_functions_stay_readable_at_one_glance() -> None:
    long = {
        f"{named(path)} {name}": lines
        for path in hand_written()
        for name, lines in functions(path)
        if lines > FUNCTION_LINES
    }
    assert long == {}


def test_nothing_is_declared_that_does_not_work() -> None:
    unfinished = [
        f"{named(path)}:{node.lineno}"
        for path in hand_written()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    ]
    assert unfinished == []


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_locks_hold_hashes_and_no_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert [line for line in lines if re.search(r"://|@ |^\s*--(?!hash=sha256:)", line)] == []
    pins = re.findall(r"^[a-z0-9][^\n]*==[^\n]*\\\n +--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) == sum(1 for line in lines if not line.startswith(" "))


def test_no_node_lock_holds_a_place() -> None:
    locks = ROOT.glob("clients/*/package-lock.json")
    assert [named(path) for path in locks if '"resolved"' in path.read_text(encoding="utf-8")] == []
