"""What people say, sealed on its way in and made readable on its way out: the one way from an event's stored bytes to its words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import structlog
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from services.chat import frames
from services.chat.privacy import sealing
from services.chat.privacy.keys import Person, PersonKeys
from services.ledger.errors import StoreUnavailable
from services.ledger.ids import AggregateId
from services.ledger.ring import NotYet

_TRIES: Final = 8
_log = structlog.get_logger(__name__)


class Contents:
    """Seals and opens what is said.

    Args:
        keys: of persons; without them nothing is sealed, and what was sealed cannot be read.
    """

    def __init__(self, keys: PersonKeys | None = None) -> None:
        """Seal with ``keys``."""
        self._forgets: list[Callable[[str, str], None]] = []
        self.keys = keys

    def on_erased(self, forget: Callable[[str, str], None]) -> None:
        """Have ``forget(tenant, user_id)`` called when a person was erased: for whoever holds opened words in memory.

        It is called on the event loop, at once as a rule and within a minute while the store answers; it must neither wait nor raise.
        """
        self._forgets.append(forget)

    def erased(self, tenant: str, user_id: str) -> None:
        """Forget whatever this process holds of a person who was erased."""
        if self.keys is not None:
            self.keys.forget((tenant, user_id))
        for forget in self._forgets:
            forget(tenant, user_id)

    # --- in ---------------------------------------------------------------------------------------

    async def sealed(self, conversation: AggregateId, person: str, content: bytes) -> bytes:
        """Seal what a person is about to say in a conversation. Raises StoreUnavailable.

        ``content``: MessageContent's bytes. What comes back is one too, and all of it that the log may hold.
        """
        if self.keys is None:
            return content
        key = await self.keys.needed((conversation.tenant, person))
        return _sealed(conversation, key, content)

    def sealed_text(self, conversation: AggregateId, person: str, content: bytes) -> bytes | None:
        """Seal a content that is a text alone, without waiting; None where the person's key is not in memory."""
        if self.keys is None:
            return content
        held = self.keys.at_hand((conversation.tenant, person))
        if held is None or held.seals is None:
            return None
        return sealing.seal(conversation, held.seals, content)

    async def again(self, conversation: AggregateId, content: chat_pb2.MessageContent, sealed: bytes) -> bytes | None:
        """Seal words that are forwarded, for their new place; None where they were erased meanwhile. Raises StoreUnavailable.

        ``content``: readable; ``sealed``: as it was where it was said. The key stays the one of who said it, so the words go with it.
        """
        plain = content.SerializeToString(deterministic=True)
        if self.keys is None:
            return plain
        person, key_id = (conversation.tenant, content.forwarded.sender_id), sealing.key_id_of(sealed)
        if key_id is None:  # it was said before anything was sealed
            key: sealing.Key | None = await self.keys.needed(person)
        else:
            key = await self.keys.found(person, key_id)
        return None if key is None else _sealed(conversation, key, plain, sealing.FIRST_SENDERS)

    # --- out --------------------------------------------------------------------------------------

    async def events(
        self, tenant: str, payloads: Sequence[bytes], conversation: AggregateId | None = None
    ) -> list[chat_pb2.ConversationEvent]:
        """Read events of a tenant's conversations, in the order given, with what was said in them.

        ``conversation``: where all of them are of one; what was sealed for another then counts as broken.

        Raises:
            StoreUnavailable: what it takes to read them cannot be had now.
        """
        events = [chat_pb2.ConversationEvent.FromString(payload) for payload in payloads]
        await self._open(_said(events), tenant, conversation)
        return events

    async def open(self, conversation: AggregateId, said: Iterable[tuple[chat_pb2.MessageContent, str]]) -> None:
        """Make contents of a conversation readable where they are, each given with who sent it. Raises StoreUnavailable."""
        await self._open(said, conversation.tenant, conversation)

    def open_at_hand(self, place: AggregateId, said: Iterable[tuple[chat_pb2.MessageContent, str]]) -> None:
        """Make contents readable where they are, without waiting. Raises NotYet where keys must be read first, StoreUnavailable."""
        missing = self._open_now(said, place.tenant, place)
        if missing:
            raise NotYet(partial(self._fetch, missing))

    def run(self, conversation: AggregateId, events: bytes) -> bytes:
        """Make a run of events (field 2, repeated) readable for all watchers of a conversation. Raises NotYet, StoreUnavailable."""
        if _MAYBE_SEALED not in events:
            return events
        response = pb.WatchResponse.FromString(events)
        said = _said(response.events)
        if not said:
            return events
        missing = self._open_now(said, conversation.tenant, conversation)
        if missing:
            raise NotYet(partial(self._fetch, missing))
        return response.SerializeToString()

    def delivery(self, conversation: AggregateId, events: bytes) -> bytes:
        """Make a run of events readable, as a delivery of Converse. Raises NotYet, StoreUnavailable."""
        return frames.delivery(conversation.id, self.run(conversation, events))

    async def _open(
        self, said: Iterable[tuple[chat_pb2.MessageContent, str]], tenant: str, conversation: AggregateId | None
    ) -> None:
        waiting = list(said)
        for _ in range(_TRIES):
            missing = self._open_now(waiting, tenant, conversation)
            if not missing:
                return
            await self._fetch(missing)
        raise StoreUnavailable("the keys of persons change too fast to be read")

    def _open_now(
        self, said: Iterable[tuple[chat_pb2.MessageContent, str]], tenant: str, conversation: AggregateId | None
    ) -> set[tuple[Person, bytes]]:
        """Open what can be opened; gives the keys that the store must be asked for."""
        keys, missing = self.keys, set()
        place = sealing.place_of(conversation) if conversation is not None else None
        for content, sender in said:
            sealed = content.sealed
            if not sealed:
                continue
            if keys is None:
                raise StoreUnavailable("contents are sealed, and this deployment was not told with what")
            key_id = sealing.key_id_of(sealed)
            if key_id is None:
                _hide(content, tenant, is_broken=True)
                continue
            person = (tenant, sender if sealed[0] == sealing.SENDERS else content.forwarded.sender_id)
            held = keys.at_hand(person)
            key = held.keys.get(key_id) if held is not None else None
            if key is None:
                if held is not None and key_id in held.gone:
                    _hide(content, tenant, is_broken=False)
                else:
                    missing.add((person, key_id))
                continue
            words = sealing.opened(sealed, key, place)
            if words is None:
                _hide(content, tenant, is_broken=True)
                continue
            content.sealed = b""
            content.MergeFromString(words)
        return missing

    async def _fetch(self, missing: Iterable[tuple[Person, bytes]]) -> None:
        assert self.keys is not None
        await self.keys.read(missing)


_MAYBE_SEALED: Final = bytes((chat_pb2.MessageContent.SEALED_FIELD_NUMBER << 3 | 2,))
"""The tag of a sealed content: a run without this byte holds none."""


def _sealed(conversation: AggregateId, key: sealing.Key, plain: bytes, whose: int = sealing.SENDERS) -> bytes:
    private, structure = sealing.split(chat_pb2.MessageContent.FromString(plain))
    return structure + sealing.seal(conversation, key, private, whose)


def _hide(content: chat_pb2.MessageContent, tenant: str, *, is_broken: bool) -> None:
    """Show that what was sealed cannot be read: it was erased, or never sealed so, and the log says which."""
    content.ClearField("sealed")
    content.erased = True
    if is_broken:
        _log.error("seal_broken", tenant=tenant)


def _said(events: Iterable[chat_pb2.ConversationEvent]) -> list[tuple[chat_pb2.MessageContent, str]]:
    """Give the contents of events that are sealed, and who sent each."""
    said = []
    for event in events:
        content = event.message  # of an event that is none, an empty one
        if not content.sealed:
            content = event.edited.content
            if not content.sealed:
                continue
        said.append((content, event.actor_id))
    return said
