"""What happened, as the clients saw it: every try of every call, every frame of every stream, every fault; one JSON line each.

The checker reads these lines and nothing else of the clients, so a run can be judged again later, and elsewhere.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ACKNOWLEDGED, REFUSED, UNKNOWN = "acknowledged", "refused", "unknown"


def digest(content: bytes | str) -> str:
    """A short name of a content (16 bytes, BLAKE2b), so that records hold no texts."""
    return hashlib.blake2b(content if isinstance(content, bytes) else content.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Call:
    """One try of one call.

    Attributes:
        kind: what was asked, as "chat.send".
        target: of what: a conversation, an order, a stock, a recipient; empty where the answer names it.
        request_id: the same over all tries of one intent.
        digest: of the content.
        start, end: seconds since the run began.
        outcome: acknowledged, refused (nothing was written), or unknown.
        version: the answer's version; 0 where there is none.
        reason: why it was refused or is unknown.
        facts: what else the checker needs, such as what the answer named.
    """

    kind: str
    client: str
    target: str
    request_id: str
    digest: str
    start: float
    end: float
    outcome: str
    version: int = 0
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame of one stream brought of one target.

    Attributes:
        watcher: one reader over all its streams: it resumes where it was.
        events: (version as the event's bytes say it, digest of the event's bytes), in the order they came.
    """

    watcher: str
    target: str
    stream: int
    at: float
    events: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to whom, and for how long (seconds since the run began).

    Attributes:
        outage: True where calls cannot succeed before its end; what comes back is measured from there on.
    """

    what: str
    part: str
    start: float
    end: float
    outage: bool = False


Line = Call | Frame | Fault
_KINDS: dict[str, type[Any]] = {"call": Call, "frame": Frame, "fault": Fault}


class Recorder:
    """Writes lines as they happen; also a clock: seconds since it was made.

    Args:
        file: where to; None keeps nothing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._out = file.open("w", encoding="utf-8")
        self._began = time.monotonic()
        self.acknowledged = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._out.close()

    def now(self) -> float:
        """Seconds since the run began."""
        return round(time.monotonic() - self._began, 4)

    def add(self, line: Line) -> None:
        """Writes one line. What is told after the end is dropped: nobody waits for it any more."""
        if self._out.closed:
            return
        if isinstance(line, Call) and line.outcome == ACKNOWLEDGED:
            self.acknowledged += 1
        name = type(line).__name__.lower()
        self._out.write(json.dumps({"line": name, **asdict(line)}, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        """Makes what was written readable for others."""
        self._out.flush()


@dataclass
class Records:
    """All lines of a run."""

    calls: list[Call] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Records":
        """Sorts lines by what they are."""
        records = cls()
        for line in lines:
            if isinstance(line, Call):
                records.calls.append(line)
            elif isinstance(line, Frame):
                records.frames.append(line)
            else:
                records.faults.append(line)
        return records

    @classmethod
    def read(cls, file: Path) -> "Records":
        """Reads what a recorder wrote."""
        with file.open(encoding="utf-8") as lines:
            return cls.of(_line(json.loads(line)) for line in lines)


def _line(values: dict[str, Any]) -> Line:
    made = _KINDS[values.pop("line")](**values)
    assert isinstance(made, Call | Frame | Fault)
    return made
