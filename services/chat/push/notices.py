"""What a notification says, and its name: the same for the same news, however often it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from tradewind.chat.v1 import chat_pb2, push_pb2
from tradewind.push.v1 import push_gateway_service_pb2 as gateway

from services.chat.push.news import News

MOST_PREVIEW: Final = 256
_MOST_TITLE: Final = 200
DIGEST_KEY: Final = "digest"


def message(
    user_id: str, device: push_pb2.StoredDevice, news: News, previews: bool, badge: int | None
) -> gateway.Notification:
    """Tell of one conversation. ``badge``: all that the user has not read; None: not counted."""
    last, count = news.last, news.count
    sender = last.sender_id if last is not None else ""
    title = _cut(news.title or sender or "Chat", _MOST_TITLE)
    body = f"{count} new messages" if count != 1 else "1 new message"
    if previews and last is not None:
        text = preview(last)
        if text:
            body = text if news.direct or not news.title else _cut(f"{sender}: {text}", MOST_PREVIEW)
            title = title if count == 1 else f"{title} ({count})"
    conversation = news.conversation
    data = {
        "kind": "message" if count == 1 else "messages",
        "conversation_id": conversation.id,
        "version": str(last.version if last is not None else news.upto),
        "count": str(count),
    }
    key = _digest(conversation.tenant, conversation.id)
    name = _digest(conversation.tenant, user_id, device.device.device_id, conversation.id, str(news.upto))
    return _notification(name, device, key, title, body, data, badge)


def digest(
    tenant: str, user_id: str, device: push_pb2.StoredDevice, found: Sequence[News], ended_us: int, badge: int | None
) -> gateway.Notification:
    """Tell of several conversations at once, when quiet hours ended."""
    total = sum(news.count for news in found)
    body = f"{total} new messages in {len(found)} conversations"
    data = {"kind": "digest", "count": str(total), "conversations": str(len(found))}
    name = _digest(tenant, user_id, device.device.device_id, DIGEST_KEY, str(ended_us))
    return _notification(name, device, DIGEST_KEY, "While it was quiet", body, data, badge)


def preview(said: chat_pb2.Message) -> str:
    """Give the beginning of what a message says, in one line; empty where it has no words."""
    text = said.content.text or next((part.card.title for part in said.content.parts if part.HasField("card")), "")
    return _cut(" ".join(text.split()), MOST_PREVIEW)


def _notification(
    name: str,
    device: push_pb2.StoredDevice,
    collapse_key: str,
    title: str,
    body: str,
    data: dict[str, str],
    badge: int | None,
) -> gateway.Notification:
    return gateway.Notification(
        notification_id=name,
        device_token=device.token,
        platform=device.device.platform,
        collapse_key=collapse_key,
        title=title,
        body=body,
        badge=badge,
        data=data,
        locale=device.device.locale,
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:40]
