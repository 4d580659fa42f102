"""While a world runs, the ledger's modules take time, chance and names from it."""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import structlog

from services.ledger.requests import RequestMemory
from tests.simulation.loop import VirtualLoop
from tests.simulation.plan import Plan
from tests.simulation.servers import WALL_US


@contextmanager
def borrowed(loop: VirtualLoop, plan: Plan) -> Iterator[None]:
    """Puts the world's own in the place of `time`, `random` and `uuid` in every module of the ledger, and silences its log."""
    chance = random.Random(f"ledger {plan.seed}")
    ours: dict[ModuleType, Any] = {
        time: SimpleNamespace(
            monotonic=loop.time,
            time=lambda: WALL_US / 1e6 + loop.now,
            time_ns=lambda: WALL_US * 1000 + int(loop.now * 1e9),
        ),
        random: chance,
        uuid: SimpleNamespace(uuid4=lambda: uuid.UUID(int=chance.getrandbits(128), version=4), UUID=uuid.UUID),
    }
    changed: list[tuple[ModuleType, str, ModuleType]] = []
    for name, module in list(sys.modules.items()):
        if name.startswith("services.ledger."):
            for known, other in ours.items():
                if getattr(module, known.__name__, None) is known:
                    changed.append((module, known.__name__, known))
                    setattr(module, known.__name__, other)
    defaults = RequestMemory.__init__.__defaults__
    RequestMemory.__init__.__defaults__ = (plan.memory,)
    configuration = structlog.get_config()
    structlog.configure(wrapper_class=_Silent)  # type: ignore[arg-type]
    try:
        yield
    finally:
        structlog.configure(**configuration)
        RequestMemory.__init__.__defaults__ = defaults
        for module, attribute, known in changed:
            setattr(module, attribute, known)


class _Silent:
    """A logger that says nothing."""

    def __init__(self, *_args: Any, **_words: Any) -> None:
        pass

    def info(self, *_args: Any, **_words: Any) -> None:
        """Nothing."""

    warning = error = debug = info
