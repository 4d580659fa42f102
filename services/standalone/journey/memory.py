"""What must outlive a killed supervisor: which journey is under way, and the trace it is in.

All request ids are made of the journey's own id, so a journey that is played again after a crash says the same things again, and
everything that was done already is only answered again.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from tradewind.sdk import derive_request_id


@dataclass(frozen=True)
class Memory:
    """A journey that is not complete."""

    id: str
    """UUIDv7 of its beginning."""
    traceparent: str | None
    """The first span of its trace."""

    @property
    def short(self) -> str:
        """Eight characters that tell journeys apart, for names that people read."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:8]

    def request_id(self, intent: str) -> str:
        """The UUIDv7 of one intent of this journey, the same whenever it is asked for."""
        milliseconds = uuid.UUID(self.id).int >> 80
        return derive_request_id(milliseconds, self.id, intent)


def recall(path: Path) -> Memory | None:
    """Read which journey is not complete; None where none is, or where the file is not one of ours. Raises OSError."""
    try:
        facts = json.loads(path.read_bytes())
        memory = Memory(str(uuid.UUID(facts["id"])), facts["traceparent"])
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError):
        # Written whole or not at all, so this is some other file; a new journey replaces it.
        return None
    return memory


def begin(path: Path, ident: str, traceparent: str | None) -> Memory:
    """Remember a new journey before it does anything. Raises OSError."""
    memory = Memory(ident, traceparent)
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="ascii") as file:
        json.dump(asdict(memory), file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return memory


def forget(path: Path) -> None:
    """Forget a journey: it is complete. Raises OSError."""
    path.unlink(missing_ok=True)
