"""Who may post what can be pressed, and what of it is carried on."""

from __future__ import annotations

from tradewind.chat.v1 import chat_pb2

from services.chat import domain
from services.chat.access import Actor


def require_postable(content: chat_pb2.MessageContent, actor: Actor) -> None:
    """Raise domain.Refused (FORBIDDEN) where one who is no service, nor spoken for by one, posts what is pressed."""
    if not content.parts or actor.is_service or actor.acting_service:
        return
    if any(not action.url for part in content.parts for action in part.card.actions):
        raise domain.Refused(
            "FORBIDDEN", "only services post actions that are pressed; others open a url", field="content.parts"
        )


def without_presses(content: chat_pb2.MessageContent) -> None:
    """Leave out what is pressed: who forwards a card is not who answers for it."""
    for part in content.parts:
        if part.HasField("card"):
            kept = [action for action in part.card.actions if action.url]
            if len(kept) < len(part.card.actions):
                del part.card.actions[:]
                part.card.actions.extend(kept)


def action_of(content: chat_pb2.MessageContent, action_id: str) -> chat_pb2.CardAction | None:
    """Give the first action of an id that is pressed."""
    actions = (action for part in content.parts for action in part.card.actions)
    return next((action for action in actions if action.id == action_id and not action.url), None)
