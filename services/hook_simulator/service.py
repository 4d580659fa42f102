"""``MessageHookService`` by two lists of words."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from typing import Any, Final

import grpc
from tradewind.chat.v1 import message_hook_service_pb2 as pb
from tradewind.chat.v1 import message_hook_service_pb2_grpc

_NOTHING: Final = re.compile(r"(?!)")


class WordHook(message_hook_service_pb2_grpc.MessageHookServiceServicer):
    """Refuses messages with a word of one list, and puts asterisks in place of the words of another.

    Args:
        refused: words; a message with one of them is not said.
        masked: words; each is said as asterisks.
        token: what Chat must show as bearer token; empty: nothing.
    """

    def __init__(self, refused: Iterable[str] = (), masked: Iterable[str] = (), token: str = "") -> None:
        """Look for whole words, whatever their case."""
        self._refused = _pattern(refused)
        self._masked = _pattern(masked)
        self._token = token
        self.asked: list[pb.ReviewMessageRequest] = []

    async def ReviewMessage(self, request: pb.ReviewMessageRequest, context: Any) -> pb.ReviewMessageResponse:
        """Look at a message. UNAUTHENTICATED without the token."""
        if not self._knows(context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who asks is not known")
        self._note(request)
        text = request.content.text
        if self._refused.search(text):
            return pb.ReviewMessageResponse(refuse=pb.RefuseMessage(reason="This word is not welcome here."))
        masked = self._masked.sub(lambda found: "*" * len(found.group()), text)
        if masked == text:
            return pb.ReviewMessageResponse(accept=pb.AcceptMessage())
        return pb.ReviewMessageResponse(change=pb.ChangeMessage(text=masked, attributes=request.content.attributes))

    def _knows(self, context: Any) -> bool:
        shown = dict(context.invocation_metadata() or ()).get("authorization", "")
        return not self._token or hmac.compare_digest(shown.encode(), f"Bearer {self._token}".encode())

    def _note(self, request: pb.ReviewMessageRequest) -> None:
        self.asked.append(request)
        del self.asked[:-1000]


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    known = "|".join(re.escape(word) for word in words if word)
    return re.compile(rf"\b(?:{known})\b", re.IGNORECASE) if known else _NOTHING


async def serve(
    hook: message_hook_service_pb2_grpc.MessageHookServiceServicer, listen: str
) -> tuple[grpc.aio.Server, int]:
    """Serve a hook; gives the server and its port."""
    server = grpc.aio.server()
    message_hook_service_pb2_grpc.add_MessageHookServiceServicer_to_server(hook, server)
    port = server.add_insecure_port(listen)
    await server.start()
    return server, port
