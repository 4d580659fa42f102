"""Writes a conversation as JSON Lines in the format of `transcript`: a replayed one as it came, any other as near as it goes."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

from tradewind.chat.v1 import chat_pb2
from tradewind.cli.chat_line import KINDS, Form
from tradewind.cli.naming import user_id_of
from tradewind.cli.replaying import SOURCE
from tradewind.sdk import Client

_NUMBER = re.compile(r"[0-9]{1,15}")
_NUMBERS = re.compile(r"[0-9]{1,15}(,[0-9]{1,15})*")
_REORDER = 4_096
_PAGE = 500


async def export(client: Client, conversation_id: str) -> AsyncIterator[str]:
    """Yield a conversation's messages as lines, oldest first. Raises TradewindError.

    A replayed conversation gives the lines in the order of the file. Lines written there by hand since, and those of any other
    conversation, get the next number, the server's time in UTC, kind `message` (`system` where a service spoke) and `annotated` false.
    """
    conversation = await client.chat.get_conversation(conversation_id)
    attributes = conversation.attributes
    form = Form.named(attributes["form"] if attributes["source"] == SOURCE else "")
    lines = _Lines()
    # Lines stand in the file's order unless the server failed for a moment while they were sent; a window puts those right.
    window: list[tuple[int, str]] = []
    messages = client.chat.list_messages(conversation_id, oldest_first=True, page_size=_PAGE)
    async for message in messages:
        number, fields = lines.read(message)
        heapq.heappush(window, (number, form.write(fields)))
        if len(window) > _REORDER:
            yield heapq.heappop(window)[1]
    while window:
        yield heapq.heappop(window)[1]


class _Lines:
    """Makes lines of messages; remembers which line every version was."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._next = 0

    def read(self, message: chat_pb2.Message) -> tuple[int, dict[str, Any]]:
        """Give a message's number and object."""
        told = dict(message.content.attributes)
        replayed = _NUMBER.fullmatch(told.get("line", "")) and told.get("kind") in KINDS and "at" in told
        number = int(told["line"]) if replayed else self._next
        self._next = max(self._next, number + 1)
        self._numbers[message.version] = number
        links = [self._numbers[version] for version in message.content.reply_to if version in self._numbers]
        fields: dict[str, Any] = {
            "at": message.send_time.ToDatetime(UTC).strftime("%Y-%m-%dT%H:%M"),
            "line": number,
            "from": message.sender_id,
            "kind": "message" if message.sender_id else "system",
            "text": message.content.text,
            "reply_to": links,
            "annotated": False,
        }
        if replayed:
            fields.update(_told(told))
            if "from" in told and user_id_of(told["from"]) == message.sender_id:
                fields["from"] = told["from"]
        return number, fields


def _told(attributes: dict[str, str]) -> dict[str, Any]:
    """Read back what replaying wrote beside the text. Members may write attributes too, so nothing is taken on trust."""
    fields: dict[str, Any] = {
        "at": attributes["at"],
        "kind": attributes["kind"],
        "annotated": attributes.get("annotated") == "true",
    }
    if _NUMBERS.fullmatch(attributes.get("reply_to", "")):
        fields["reply_to"] = [int(each) for each in attributes["reply_to"].split(",")]
    try:
        extra = json.loads(attributes.get("extra", "{}"))
    except ValueError:
        extra = None
    return {**extra, **fields} if isinstance(extra, dict) else fields
