"""Each rule of the protocol, broken on purpose, is noticed by the simulation. The table is in docs/guarantees.md."""

import re
from pathlib import Path

import pytest

from tests.simulation.draw import tell
from tests.simulation.mutants import MUTANTS
from tests.simulation.world import run

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"
MOST_SEEDS = 200
"""A change of the ledger's steps moves what a seed means: then one of those after the known one notices."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str) -> None:
    mutant = MUTANTS[name]
    for seed in range(mutant.seed, mutant.seed + MOST_SEEDS):
        plan = tell(mutant.story, seed)
        with mutant.applied():
            noticed = run(plan).broken
        if noticed is not None:
            assert run(plan).broken is None  # it is the broken rule that did it
            return
    pytest.fail(f"{MOST_SEEDS} worlds noticed nothing")


def test_the_table_names_every_broken_rule() -> None:
    text = GUARANTEES.read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) >= set(MUTANTS)
