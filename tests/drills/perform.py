"""One run of one drill: load, faults, rest, evidence, verdict, report."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.drills.checker import findings
from tests.drills.checker.collect import Collector
from tests.drills.checker.evidence import Evidence
from tests.drills.checker.verdict import Verdict, judge
from tests.drills.load.calling import Pace
from tests.drills.load.chat import bearer
from tests.drills.load.crowd import Crowd, Size
from tests.drills.load.order import SHOP, SKUS
from tests.drills.play import Play
from tests.drills.records import Recorder, Records
from tests.drills.report import Report, summary
from tests.drills.rest import unfinished
from tests.drills.stage import Stage

LATER = frozenset({findings.TOLD, findings.MONEY, findings.STOCK, findings.UNDELIVERED})
"""What may be right a moment later: consumers and the mail's way take their time."""


@dataclass(frozen=True)
class Drill:
    """A drill.

    Attributes:
        name: as people call it.
        what: what happens.
        promise: what must hold besides everything the checker proves.
        faults: does it, while the load runs.
        size: the load.
        services: of "chat", "order", "mail", those it needs.
        settings: what services are told besides: "all", one service, or one process; names without the prefix.
        linked: processes reach their servers over links that can be cut.
        needs_nodes: there is nothing to do where the store has no nodes.
        sync: how often log servers make sure of what they wrote.
        wrong_clocks: orders put off by a wrong clock may still wait in the end.
        in_order: what consumers do is done in the events' order.
        rests: seconds that consumers, sagas and mails are given afterwards.
    """

    name: str
    what: str
    promise: str
    faults: Callable[[Play], Awaitable[None]]
    size: Size = field(default_factory=Size)
    services: tuple[str, ...] = ("chat", "order", "mail")
    rests: float = 60.0
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    linked: bool = False
    sync: str = "2m"
    needs_nodes: bool = False
    wrong_clocks: bool = False
    in_order: bool = True

    @property
    def stage_kind(self) -> str:
        """Drills of the same kind can have one stage, one after the other: each judges all that it finds there."""
        return f"{self.settings} {self.linked} {self.sync} {self.services} {self.in_order} {self.wrong_clocks}"


async def perform(drill: Drill, stage: Stage, seed: int, seconds: float, file: Path) -> Report:
    """Runs a drill on a stage and judges it.

    Args:
        seconds: how long the faults go on.
        file: where records are kept.
    """
    pace = Pace(think=drill.size.think)
    with Recorder(file) as recorder:
        play = Play(stage, recorder, random.Random(seed), seconds)
        crowd = Crowd(stage, recorder, pace, f"{drill.name}-{seed}-{time.time_ns() // 1_000_000:x}", drill.size)
        try:
            await crowd.prepare()
            crowd.start()
            await _under_load(drill, play, crowd)
            came_back = recorder.now()
            play.expect(await play.more(25, 180.0), "calls succeed again after the faults")
            play.figures["rest_s"] = round(recorder.now() - came_back, 2)
            await crowd.settle()
            evidence, verdict = await _rest(drill, play, crowd)
        finally:
            await crowd.leave()
    records = Records.read(file)
    return summary(drill.name, drill.what, seed, seconds, records, evidence, verdict, play)


async def _under_load(drill: Drill, play: Play, crowd: Crowd) -> None:
    play.expect(await play.more(30, 180.0), "calls succeed before the faults")
    play.begin()
    faults = asyncio.ensure_future(drill.faults(play))
    try:
        while not faults.done():
            await asyncio.wait([faults], timeout=1.0)
            play.weigh()
            if failure := crowd.failed():
                raise failure
        await faults
    except Exception as error:  # noqa: BLE001 - whatever it is, it is judged and reported, and the other drills go on
        play.broken.append(f"the drill did not come to its end: {type(error).__name__}: {str(error)[:500]}")
    finally:
        faults.cancel()


async def _rest(drill: Drill, play: Play, crowd: Crowd) -> tuple[Evidence, Verdict]:
    """Waits until consumers, sagas and readers have come to rest, then gathers and judges; again where it may be right a moment later."""
    loop = asyncio.get_running_loop()
    until = loop.time() + drill.rests
    evidence = Evidence()
    while True:
        evidence = await _logs(play.stage)
        versions = {ident: history.version for ident, history in evidence.of_kind("chat", "conversation")}
        found = list(unfinished(evidence))
        waiting = [name for name, late in found if not (late and drill.wrong_clocks)] + crowd.behind(versions)
        if drill.wrong_clocks:
            play.figures["put off by a wrong clock"] = sum(late for _, late in found)
        if not waiting or loop.time() > until:
            break
        await asyncio.sleep(0.5)
    play.expect(not waiting, f"everything comes to rest: {waiting[:5]}")
    while True:
        await _ask(play.stage, crowd, evidence)
        play.recorder.flush()
        verdict = judge(await asyncio.to_thread(Records.read, play.recorder.file), evidence, drill.in_order)
        if not any(finding.rule in LATER for finding in verdict.findings) or loop.time() > until:
            return evidence, verdict
        await asyncio.sleep(1.0)
        evidence = await _logs(play.stage)


async def _logs(stage: Stage) -> Evidence:
    evidence = Evidence()
    for service in stage.services:
        evidence.logs[service] = await asyncio.to_thread(stage.history, service)
    return evidence


async def _ask(stage: Stage, crowd: Crowd, evidence: Evidence) -> None:
    collector = Collector(crowd.channels, bearer(stage, "checker", "admin", "service", "operator"))
    if "chat" in stage.services:
        await collector.messages(evidence, crowd.groups)
    if "order" in stage.services:
        await collector.orders(evidence, SHOP, SKUS)
    if "mail" in stage.services:
        await collector.mails(evidence, stage.received())
    await collector.dead_letters(evidence)


def smaller(drill: Drill) -> Drill:
    """A drill with a load for a few seconds on a busy machine."""
    size = replace(drill.size, groups=2, speakers=2, conversing=1, watchers=1, buyers=min(2, drill.size.buyers))
    return replace(drill, size=size)
