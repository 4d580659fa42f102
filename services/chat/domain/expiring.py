"""Messages that do not last: what is decided when the time of some is over.

When a message ends is written with it; from that moment nobody sees it. Here it is only told, and counted. Which messages end
when stands in rows beside; the state has no more than the time at which to look there next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.chat.domain.commands import ExpireMessages
from services.chat.domain.conversation import Conversation
from services.chat.domain.events import Event, Expired, MessagesExpired
from services.chat.domain.recent import deleted, fact, replies

SHORTEST_US: Final = 5_000_000
"""No message lasts shorter."""
MOST_AT_ONCE: Final = 100
"""So many end with one event."""


def expire(state: Conversation, command: ExpireMessages) -> Sequence[Event]:
    """Let messages be no more; those that were deleted before are passed over. Before it is time nothing happens."""
    next_us = state.expiring.next_us
    if state.profile is None or not next_us or command.at_us < next_us:
        return ()
    gone: list[Expired] = []
    left: dict[int, int] = {}
    for due in command.due[:MOST_AT_ONCE]:
        if fact(state.recent, deleted(due.version), command.known):
            continue
        root = due.thread_root
        if root:
            left[root] = left.get(root, fact(state.recent, replies(root), command.known)) - 1
        gone.append(Expired(due.version, due.sender, root, left[root] if root else 0, due.expires_us))
    after_us = _next(state, command)
    if not gone and after_us == next_us:
        return ()
    return (MessagesExpired(command.at_us, "", "", tuple(gone), after_us),)


def _next(state: Conversation, command: ExpireMessages) -> int:
    """Give when to look again. What was said since the look-up ends no sooner than messages can; looking in vain does no harm."""
    if state.expiring.last_version <= command.looked_at_version:
        return command.rest_us
    soonest_us = command.at_us + SHORTEST_US
    return min(command.rest_us or soonest_us, soonest_us)
