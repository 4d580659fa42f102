"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_test_that_shows_a_guarantee_is_there() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    references = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert references
    missing = [
        f"{file}::{test}"
        for file, test in references
        if not (ROOT / file).is_file() or f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_to_files_of_this_tree(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_programs_and_settings_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m (services\.\w+)", text))
    assert [module for module in modules if not (ROOT / module.replace(".", "/") / "__main__.py").is_file()] == []
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "services").rglob("*.py"))
    code += "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "clients" / "python" / "tradewind").rglob("*.py")
    )
    code += "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py"))
    settings = set(re.findall(r"\bTRADEWIND_([A-Z][A-Z_]*[A-Z])\b", text))
    unknown = [
        setting
        for setting in sorted(settings)
        if f"TRADEWIND_{setting}" not in code and not re.search(rf"^    {setting.lower()}:", code, flags=re.MULTILINE)
    ]
    assert unknown == []


def test_every_metric_is_told_of_in_operations() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "services").rglob("*.py"))
    named_in_code = set(re.findall(r'"((?:tradewind|rpc|db)\.[a-z]+\.?[a-z.]*)",\n? *(?:unit|description)=', code))
    named_in_code |= set(re.findall(r'_(?:gauge|counter)\(\s*meter,\s*"(tradewind\.[a-z.]+)"', code))
    assert len(named_in_code) > 12
    assert {name for name in named_in_code if f"`{name}`" not in text} == set()
