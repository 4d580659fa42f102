"""How a rule of the protocol is broken on purpose: by what is patched, and the world that shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.simulation.stories import Story

Applied = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Mutant:
    """One rule broken.

    Attributes:
        rule: its number in the protocol.
        broken: what is done instead.
        applied: breaks it for as long as it is entered.
        story, seed: a world that shows it.
    """

    name: str
    rule: str
    broken: str
    applied: Applied
    story: Story
    seed: int


class Mutants(dict[str, Mutant]):
    """Mutants by name."""

    def add(self, name: str, rule: str, broken: str, story: Story, seed: int = 0) -> Callable[[Applied], Applied]:
        """Adds what the decorated function applies."""

        def adds(applied: Applied) -> Applied:
            self[name] = Mutant(name, rule, broken, applied, story, seed)
            return applied

        return adds
