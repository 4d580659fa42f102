"""A verdict: every promise that was found broken, each by its own name."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.drills.checker import histories, mails, money, streams
from tests.drills.checker.evidence import Evidence
from tests.drills.checker.findings import Finding
from tests.drills.checker.intents import told
from tests.drills.records import ACKNOWLEDGED, REFUSED, UNKNOWN, Records


@dataclass
class Verdict:
    """What was found.

    Attributes:
        findings: broken promises; none is what everybody wants.
        outcomes: how many intents were acknowledged, refused, unknown.
        checked: how much was looked at, so that a check of nothing shows.
    """

    findings: list[Finding] = field(default_factory=list)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)

    def count(self, *rules: str) -> int:
        """How often these promises were broken."""
        return sum(finding.rule in rules for finding in self.findings)

    @property
    def good(self) -> bool:
        """True: nothing is broken."""
        return not self.findings


def judge(records: Records, evidence: Evidence, in_order: bool = True) -> Verdict:
    """Compares what clients were told and shown with what there is.

    Args:
        in_order: False where an event that could not be taken was replayed after those that followed it.
    """
    intents = told(records.calls)
    outcomes = Counter(intent.outcome for intent in intents.values())
    verdict = Verdict(outcomes={name: outcomes[name] for name in (ACKNOWLEDGED, REFUSED, UNKNOWN)})
    verdict.findings += histories.check_versions(evidence)
    verdict.findings += histories.check_intents(intents.values(), evidence)
    verdict.findings += histories.check_texts(intents.values(), evidence)
    verdict.findings += streams.check_frames(records.frames, evidence)
    verdict.findings += money.check_stock(evidence)
    verdict.findings += money.check_payments(evidence)
    verdict.findings += money.check_told(evidence, in_order)
    verdict.findings += mails.check_mails(evidence)
    histories_ = [history for log in evidence.logs.values() for history in log.values()]
    verdict.checked = {
        "calls": len(records.calls),
        "intents": len(intents),
        "aggregates": len(histories_),
        "events": sum(len(entry.events) for history in histories_ for entry in history.entries),
        "events streamed": sum(len(frame.events) for frame in records.frames),
        "orders": len(evidence.orders),
        "payments": len(evidence.payments),
        "mails": len(evidence.mails),
    }
    return verdict
