"""Every acknowledged event present once, with the acknowledged version and content; refused ones absent; versions dense."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tradewind.chat.v1 import chat_pb2
from tradewind.order.v1 import order_pb2

from tests.drills.checker import findings
from tests.drills.checker.evidence import Evidence
from tests.drills.checker.findings import Finding
from tests.drills.checker.intents import Intent
from tests.drills.fields import integer
from tests.drills.records import ACKNOWLEDGED, REFUSED, digest

_CANCELLED = 9
SERVICE_OF = {"chat": "chat", "order": "order", "stock": "order", "mail": "mail"}
"""Where a kind of call is stored."""
_WRITES_NOTHING_AGAIN = frozenset({"order.cancel"})
"""Acknowledged without a new event where the state is there already."""

Place = tuple[str, int, Sequence[bytes]]


def check_versions(evidence: Evidence) -> Iterator[Finding]:
    """Versions 1, 2, 3, … in every aggregate up to its head, each event saying its own; sequences rise; no request id twice."""
    for service, log in evidence.logs.items():
        for key, history in log.items():
            where = f"{service} {key}"
            expected, seq = 1, 0
            for entry in history.entries:
                if not entry.events:
                    continue
                if entry.first_version != expected or entry.base_version != expected - 1:
                    yield Finding(findings.HOLE, f"{where}: {entry.first_version} follows {expected - 1}")
                if entry.seq <= seq or not seq <= entry.base_seq < entry.seq:
                    yield Finding(findings.HOLE, f"{where}: sequence {entry.seq} on {entry.base_seq} follows {seq}")
                expected, seq = entry.first_version + len(entry.events), entry.seq
                if sum(count for _, count in entry.commands) != len(entry.events):
                    yield Finding(findings.HOLE, f"{where}: commands and events of {entry.first_version} differ")
            if expected - 1 != history.version:
                yield Finding(findings.HOLE, f"{where}: ends at {expected - 1}, its head says {history.version}")
            yield from _own_versions(where, history.events())
            requests = Counter(request for request, _, _ in history.requests())
            for request, count in requests.items():
                if count > 1:
                    yield Finding(findings.DOUBLED, f"{where}: request {request} {count} times")


def _own_versions(where: str, events: Iterable[tuple[int, bytes]]) -> Iterator[Finding]:
    for version, event in events:
        if integer(event, 1) != version:
            yield Finding(findings.HOLE, f"{where}: the event at {version} calls itself {integer(event, 1)}")


def check_intents(intents: Iterable[Intent], evidence: Evidence) -> Iterator[Finding]:
    """What clients were told of each request id against where it is in the stores."""
    places: Mapping[str, Mapping[str, list[Place]]] = {service: _places(evidence, service) for service in evidence.logs}
    for intent in intents:
        service = SERVICE_OF[intent.kind.partition(".")[0]]
        if service not in places:
            continue
        found = places[service].get(intent.request, [])
        where = f"{intent.kind} {intent.request}"
        if len(intent.versions) > 1:
            yield Finding(findings.ANSWERS_DIFFER, f"{where}: versions {sorted(intent.versions)}")
        if len(found) > 1:
            yield Finding(findings.DOUBLED, f"{where}: {len(found)} times")
        if intent.outcome == REFUSED and found:
            yield Finding(findings.REFUSED_BUT_THERE, where)
        if intent.outcome == ACKNOWLEDGED:
            yield from _acknowledged(intent, where, found, evidence)


def _places(evidence: Evidence, service: str) -> Mapping[str, list[Place]]:
    places: dict[str, list[Place]] = defaultdict(list)
    for key, history in evidence.logs[service].items():
        for request, version, events in history.requests():
            places[request].append((key, version, events))
    return places


def _acknowledged(intent: Intent, where: str, found: list[Place], evidence: Evidence) -> Iterator[Finding]:
    if not found:
        called_off = evidence.orders.get(intent.target, (0, False))[0] == _CANCELLED
        if not (intent.kind in _WRITES_NOTHING_AGAIN and called_off):
            yield Finding(findings.LOST, f"{where}, acknowledged at {intent.start:.1f} s")
        return
    key, version, events = found[0]
    if intent.kind.startswith("chat."):
        if version not in intent.versions:
            yield Finding(findings.ANSWERS_DIFFER, f"{where}: answered {sorted(intent.versions)}, is {version}")
        said = chat_pb2.ConversationEvent.FromString(events[0])
        if key.rpartition("/")[2] != intent.target or digest(said.message.text) != intent.digest:
            yield Finding(findings.CONTENT, where)
    elif intent.kind == "stock.adjust":
        adjusted = order_pb2.StockEvent.FromString(events[0]).adjusted.delta
        if adjusted != intent.facts["delta"]:
            yield Finding(findings.CONTENT, f"{where}: {adjusted}, not {intent.facts['delta']}")
    elif intent.kind == "order.place":
        if intent.target not in evidence.orders:
            yield Finding(findings.LOST, f"{where}: not to be had by GetOrder")
    elif intent.kind == "mail.send":
        mail = evidence.mails.get(str(intent.facts.get("mail")))
        if mail is None:
            yield Finding(findings.LOST, f"{where}: not to be had by GetMail")
        elif digest(mail.recipient) != intent.facts.get("recipient", digest(mail.recipient)):
            yield Finding(findings.CONTENT, where)


def check_texts(intents: Iterable[Intent], evidence: Evidence) -> Iterator[Finding]:
    """What people read: each acknowledged message at its version, no text twice, pages and raw store the same."""
    stored = {
        conversation: {
            version: digest(event.message.text)
            for version, raw in history.events()
            if (event := chat_pb2.ConversationEvent.FromString(raw)).WhichOneof("event") == "message"
        }
        for conversation, history in evidence.of_kind("chat", "conversation")
    }
    for conversation, pages in evidence.messages.items():
        read = dict(pages)
        if len(read) != len(pages) or read != stored.get(conversation, {}):
            yield Finding(findings.CONTENT, f"{conversation}: pages and store differ")
        for text, count in Counter(text for _, text in pages).items():
            if count > 1:
                yield Finding(findings.DOUBLED, f"{conversation}: text {text} {count} times")
    for intent in intents:
        if intent.kind.startswith("chat.") and intent.outcome == ACKNOWLEDGED and intent.target in evidence.messages:
            read = dict(evidence.messages[intent.target])
            if any(read.get(version) != intent.digest for version in intent.versions):
                yield Finding(findings.LOST, f"{intent.kind} {intent.request}: not on its page")
