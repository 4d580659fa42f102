"""The AdminService of a process: an operator's view of the dead letters of this service's consumers."""

from __future__ import annotations

import re
from typing import Any

from tradewind.admin.v1 import admin_service_pb2 as pb

from services.ledger.errors import LedgerError
from services.ledger.ledger import Ledger

POLICY = {
    "/tradewind.admin.v1.AdminService/ListDeadLetters": frozenset({"operator"}),
    "/tradewind.admin.v1.AdminService/ReplayDeadLetter": frozenset({"operator"}),
}

_PAGE = 100
_TOKEN = re.compile(r"[0-9]{1,18}")  # the log counts to 2**64, and no letter's number is that long


class InvalidPageToken(LedgerError):
    """The page token is not of this listing."""

    reason = "INVALID_PAGE_TOKEN"
    field = "page_token"


class NoSuchLetter(LedgerError):
    """There is no dead letter of this id."""

    reason = "NOT_FOUND"


class AdminService:
    """Handlers of `tradewind.admin.v1.AdminService`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, _call: Any) -> pb.ListDeadLettersResponse:
        """Lists dead letters, oldest first; a page token is the last letter's id."""
        if request.page_token and _TOKEN.fullmatch(request.page_token) is None:
            raise InvalidPageToken("page_token is not of this listing")
        limit = request.page_size or _PAGE
        letters = await self._ledger.dead_letters(int(request.page_token or 0), limit)
        answer = pb.ListDeadLettersResponse()
        for letter_id, letter in letters:
            listed = answer.dead_letters.add(
                letter_id=letter_id, role=letter.role, source=letter.source, tenant=letter.tenant,
                aggregate=f"{letter.kind}/{letter.id}", seq=letter.seq, tries=letter.tries, reason=letter.reason,
            )  # fmt: skip
            listed.gave_up_at.FromMicroseconds(letter.at_us)
        if len(letters) == limit:
            answer.next_page_token = str(letters[-1][0])
        return answer

    async def ReplayDeadLetter(self, request: pb.ReplayDeadLetterRequest, _call: Any) -> pb.ReplayDeadLetterResponse:
        """Hands a letter to its consumer once more."""
        reason = await self._ledger.replay(request.letter_id)
        if reason is None:
            raise NoSuchLetter("no dead letter of this id")
        return pb.ReplayDeadLetterResponse(taken=not reason, reason=reason)
