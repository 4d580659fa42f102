"""What the deployment shows after a run, gathered from its raw stores, its public API, the gateway and the receiving mail server."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tradewind.ledger.v1 import entry_pb2


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored entry, decoded."""

    seq: int
    first_version: int
    base_version: int
    base_seq: int
    events: tuple[bytes, ...]
    commands: tuple[tuple[str, int], ...]

    @classmethod
    def decode(cls, seq: int, data: bytes) -> "Entry":
        """Out of the bytes in the store."""
        raw = entry_pb2.Entry.FromString(data)
        commands = tuple((command.request_id.hex(), int(command.events)) for command in raw.commands)
        return cls(
            seq, int(raw.first_version), int(raw.base_version), int(raw.base_seq), tuple(map(bytes, raw.events)), commands
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class History:
    """One aggregate as the raw store holds it: its head, and its entries at or below it by first version."""

    version: int
    seq: int
    entries: Sequence[Entry]

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Every event with the version its place gives it."""
        for entry in self.entries:
            yield from enumerate(entry.events, entry.first_version)

    def requests(self) -> Iterator[tuple[str, int, Sequence[bytes]]]:
        """Every command: its request id (hex), its first version, its events."""
        for entry in self.entries:
            place = 0
            for request, count in entry.commands:
                yield request, entry.first_version + place, entry.events[place : place + count]
                place += count


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as the gateway knows it: state as `tradewind.payment.v1.PaymentState` numbers it, minor units."""

    state: int
    amount: int
    refunded: int


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as the public API shows it; the outcome of each attempt, empty while one is under way."""

    recipient: str
    state: int
    outcomes: Sequence[str]


@dataclass
class Evidence:
    """All of it.

    Attributes:
        logs: of each service, of each aggregate's key ("tenant/kind/id"), what the raw store holds.
        messages: of each conversation, (version, digest of the text) as ListMessages pages give them.
        orders: of each order, its state (`OrderState`) and whether it is settled, by GetOrder.
        stocks: of each item (available, reserved, sold), by GetStock.
        payments: of each payment key.
        inbox: how many mails the receiving server took for each address.
        dead_letters: of each service, how many its consumers gave up.
    """

    logs: dict[str, Mapping[str, History]] = field(default_factory=dict)
    messages: dict[str, Sequence[tuple[int, str]]] = field(default_factory=dict)
    orders: dict[str, tuple[int, bool]] = field(default_factory=dict)
    stocks: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    payments: dict[str, Payment] = field(default_factory=dict)
    mails: dict[str, Mail] = field(default_factory=dict)
    inbox: Counter[str] = field(default_factory=Counter)
    dead_letters: dict[str, int] = field(default_factory=dict)

    def of_kind(self, service: str, kind: str) -> Iterator[tuple[str, History]]:
        """The aggregates of one kind: their ids and histories."""
        for key, history in self.logs.get(service, {}).items():
            _, found, ident = key.split("/", 2)
            if found == kind:
                yield ident, history
