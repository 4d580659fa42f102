"""What a conversation's events tell an index, and what a message has in it to be found by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tradewind.chat.v1 import chat_pb2

from services.chat import wire
from services.chat.search.asked import Feature
from services.chat.search.index import Change, Name, Reacted, Removed, Reworded, Said
from services.chat.search.matching import Sought, has_link

_PARTS = {"attachment": Feature.ATTACHMENT, "card": Feature.CARD, "order": Feature.ORDER}


def changes(tenant: str, conversation_id: str, events: Iterable[chat_pb2.ConversationEvent]) -> Iterator[Change]:
    """Give what events change in an index. Those of other kinds, also of kinds unknown here, change nothing."""
    for event in events:
        which = event.WhichOneof("event")
        version = int(event.version)
        if which in ("message", "system_message"):
            name = Name(tenant, conversation_id, version)
            if which == "message":
                said, has = texts(event.message), features(event.message)
            else:
                said, has = [event.system_message.text], _features_of(event.system_message.text)
            author_id = event.message.forwarded.sender_id if which == "message" else ""
            yield Said(name, event.actor_id, wire.microseconds(event.event_time), said, has, author_id)
        elif which == "edited":
            content = event.edited.content
            name = Name(tenant, conversation_id, event.edited.message_version)
            yield Reworded(name, version, texts(content), features(content))
        elif which == "deleted":
            yield Removed(Name(tenant, conversation_id, event.deleted.message_version))
        elif which == "messages_expired":
            for each in event.messages_expired.messages:
                yield Removed(Name(tenant, conversation_id, each.message_version))
        elif which == "reaction_added":
            yield Reacted(Name(tenant, conversation_id, event.reaction_added.message_version), version, any=True)
        elif which == "reaction_removed":
            name = Name(tenant, conversation_id, event.reaction_removed.message_version)
            yield Reacted(name, version, any=event.reaction_removed.emojis > 0)


def texts(content: chat_pb2.MessageContent) -> list[str]:
    """Give all that is said in a message: its text, the names of its files, what stands on its cards."""
    found = [content.text]
    for part in content.parts:
        if part.HasField("attachment"):
            found.append(part.attachment.name)
        elif part.HasField("card"):
            found += [part.card.title, part.card.text]
            found += [text for field in part.card.fields for text in (field.name, field.value)]
    return found


def features(content: chat_pb2.MessageContent) -> frozenset[Feature]:
    """Give what a message has in it."""
    parts = (part.WhichOneof("part") for part in content.parts)
    return frozenset(_PARTS[which] for which in parts if which in _PARTS) | _features_of(content.text)


def sought(conversation_id: str, message: chat_pb2.Message) -> Sought:
    """Give a message, shown as it is now, as far as it is searched."""
    has = features(message.content)
    if message.reactions:
        has |= {Feature.REACTION}
    at_us = wire.microseconds(message.send_time)
    return Sought(conversation_id, message.sender_id, at_us, texts(message.content), has)


def _features_of(text: str) -> frozenset[Feature]:
    return frozenset((Feature.LINK,)) if has_link(text) else frozenset()
