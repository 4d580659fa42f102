"""What a process holds of one slot: its users, whose leases end when, and what is still to be told."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Final

from services.chat.presence import domain
from services.chat.presence.domain import Person, State
from services.chat.presence.slots import Key
from services.chat.presence.words import Report, Seen

MOST_REMEMBERED: Final = 2048
"""Users of a slot whose last seen is remembered after they went."""


class Shelf:
    """One slot."""

    def __init__(self) -> None:
        """Hold nobody."""
        self.number = 0
        """Of the last change that was told."""
        self.settled = False
        """Whether it has all that other processes hold."""
        self.filled = False
        """Whether it was filled once, so that what it says is worth something."""
        self._people: dict[Key, Person] = {}
        self._gone: OrderedDict[Key, None] = OrderedDict()
        self._changed: dict[Key, None] = {}
        self._dues: list[tuple[float, Key]] = []
        self._signed_off: set[tuple[Key, str]] = set()

    @property
    def there(self) -> int:
        """How many users are not offline."""
        return len(self._people) - len(self._gone)

    def seen(self, key: Key) -> Seen:
        """Give how a user is."""
        person = self._people.get(key)
        if person is None:
            return Seen(State.OFFLINE)
        state = domain.state_of(person)
        return Seen(state, person.seen_us if state is State.OFFLINE else 0)

    def answer(self, key: Key) -> Seen:
        """Give how a user is to one who may watch it; what it learns before it was told is told nevertheless, whatever it is by then."""
        if key in self._changed:
            self._people[key].told = State.UNKNOWN
        return self.seen(key)

    def holds(self, key: Key) -> bool:
        """Tell whether a user is there, and needs no room that is not taken already."""
        return key in self._people and key not in self._gone

    def report(self, report: Report, now: float, now_us: int) -> None:
        """Take a device's report."""
        if report.state is State.OFFLINE and not self.settled:
            self._signed_off.add((report.key, report.device_id))
        if report.device_id == domain.ALL_DEVICES and not self.holds(report.key):
            return  # this is no sign of having been there
        person = self._people.get(report.key)
        if person is None:
            person = self._people[report.key] = Person(credited=now)
        domain.report(person, report.device_id, report.state, report.lease, now, now_us)
        self._placed(report.key, person)

    def fill(self, people: Mapping[Key, Person]) -> None:
        """Take over what another process holds; devices that signed off meanwhile stay so."""
        for key, other in people.items():
            if (key, domain.ALL_DEVICES) in self._signed_off:
                other.devices.clear()
            for device_id in [each for each in other.devices if (key, each) in self._signed_off]:
                del other.devices[device_id]
            person = self._people.get(key)
            if person is None:
                # Not told of yet: whoever asked here before heard that nobody is there.
                person = self._people[key] = other
            else:
                domain.merge(person, other)
            self._placed(key, person)

    def settle(self) -> None:
        """Note that it was filled."""
        self.settled = self.filled = True
        self._signed_off.clear()

    @property
    def stirs(self) -> bool:
        """False: no lease ends here, and nothing is to be told; most shelves of most processes, most of the time."""
        return bool(self._dues or self._changed)

    def lapse(self, now: float) -> None:
        """Forget the devices whose lease has ended."""
        while self._dues and self._dues[0][0] <= now:
            due, key = heapq.heappop(self._dues)
            person = self._people.get(key)
            if person is not None and person.due == due:
                person.due = math.inf
                domain.lapse(person, now)
                self._placed(key, person)

    def hush(self) -> None:
        """Take all changes as told: another process tells them. Who takes this one for the home sees by the number that it missed some."""
        for key in self._changed:
            person = self._people.get(key)
            if person is not None:
                person.told = domain.state_of(person)
        self.number += bool(self._changed)
        self._changed.clear()

    def changes(self, now: float, limit: int) -> dict[Key, Seen]:
        """Take what is to be told now; who changes too often waits, and is told as it then is."""
        found: dict[Key, Seen] = {}
        for key in list(islice(self._changed, 4 * limit)):
            person = self._people.get(key)
            state = State.OFFLINE if person is None else domain.state_of(person)
            if person is not None and state is not person.told:
                if not domain.may_tell(person, now):
                    self._changed[key] = self._changed.pop(key)  # to the end, so that others get their turn
                    continue
                person.told = state
                found[key] = self.seen(key)
            del self._changed[key]
            if len(found) == limit:
                break
        return found

    def page(self, offset: int, limit: int) -> dict[Key, Person]:
        """Give some of the users held."""
        return dict(islice(self._people.items(), offset, offset + limit))

    def _placed(self, key: Key, person: Person) -> None:
        """Keep everything in line with a user that was touched."""
        due = domain.due(person)
        if due < person.due:
            # A later end needs no entry of its own: it is looked at when the earlier one comes up.
            person.due = due
            heapq.heappush(self._dues, (due, key))
        if domain.state_of(person) is not person.told:
            self._changed[key] = None
        if person.devices:
            self._gone.pop(key, None)
            return
        self._gone[key] = None
        self._gone.move_to_end(key)
        while len(self._gone) > MOST_REMEMBERED:
            oldest, _ = self._gone.popitem(last=False)
            del self._people[oldest]
