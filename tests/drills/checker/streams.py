"""All watchers saw identical bytes at each version, each from one version to the next, and what they saw is what is stored."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.drills.checker import findings
from tests.drills.checker.evidence import Evidence
from tests.drills.checker.findings import Finding
from tests.drills.records import Frame, digest


def check_frames(frames: Iterable[Frame], evidence: Evidence) -> Iterator[Finding]:
    """Walks every watcher's frames in the order they came."""
    shown: dict[str, dict[int, str]] = defaultdict(dict)
    last: dict[str, int] = {}
    for frame in frames:
        at_version = shown[frame.target]
        for version, event in frame.events:
            before = last.get(frame.watcher, 0)
            if version != before + 1:
                where = f"{frame.watcher}: {version} after {before}, stream {frame.stream}"
                yield Finding(findings.SKIPPED, where)
            last[frame.watcher] = version
            if at_version.setdefault(version, event) != event:
                yield Finding(findings.BYTES, f"{frame.target} at {version}, {frame.watcher}")
    yield from _stored(shown, evidence)


def _stored(shown: dict[str, dict[int, str]], evidence: Evidence) -> Iterator[Finding]:
    for conversation, history in evidence.of_kind("chat", "conversation"):
        if conversation not in shown:
            continue
        stored = {version: digest(event) for version, event in history.events()}
        for version, event in shown[conversation].items():
            if version not in stored:
                yield Finding(findings.MADE_UP, f"{conversation} at {version}")
            elif stored[version] != event:
                yield Finding(findings.BYTES, f"{conversation} at {version}: the store has others")
