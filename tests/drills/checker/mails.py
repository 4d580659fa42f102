"""Each mail's recipient got it at most as often as the attempts recorded as sent or unknown."""

from collections.abc import Iterator

from tests.drills.checker import findings
from tests.drills.checker.evidence import Evidence
from tests.drills.checker.findings import Finding


def check_mails(evidence: Evidence) -> Iterator[Finding]:
    """Counts what the receiving server took against what attempts say."""
    for ident, mail in evidence.mails.items():
        got = evidence.inbox[mail.recipient]
        sent = sum(outcome == "delivered" for outcome in mail.outcomes)
        unsure = sum(outcome in ("unknown", "") for outcome in mail.outcomes)
        where = f"{ident}: received {got}, attempts {list(mail.outcomes)}"
        if got > sent + unsure:
            yield Finding(findings.MAILED, where)
        if got < sent:
            yield Finding(findings.UNDELIVERED, where)
    known = {mail.recipient for mail in evidence.mails.values()}
    for recipient, got in evidence.inbox.items():
        if got and recipient not in known and evidence.mails:
            yield Finding(findings.MAILED, f"{got} to {recipient.partition('@')[0]}, of which no mail is known")
