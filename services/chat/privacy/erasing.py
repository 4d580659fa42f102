"""Erasing a person: the keys first, in one entry of the log, and then whatever else is kept of it, part by part.

Each step is done again where the request comes again, and changes nothing where it was done; so a process that dies in between leaves
nothing that a repetition does not finish.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from tradewind.chat.v1 import privacy_service_pb2 as pb

from services.chat import commands, domain, wire
from services.chat.access import Actor
from services.chat.contents import Contents
from services.chat.privacy import kinds
from services.chat.privacy.domain import ErasePerson
from services.chat.privacy.upkeep import tell
from services.chat.whispers import Whispers
from services.ledger.decider import Receipt, Request
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger
from services.runtime.call import Call


@dataclass(frozen=True, slots=True)
class Part:
    """Something that keeps data of persons beside conversations.

    Attributes:
        name: as ErasedPart tells it.
        erase: erases all of a person of a tenant, and gives how much that was; again erases what is left. None where all that it keeps
            is sealed with the person's keys.
        export: gives all of a person of a tenant; None where there is nothing that is not in the conversations.
    """

    name: str
    erase: Callable[[str, str], Awaitable[int]] | None
    export: Callable[[str, str], AsyncIterator[pb.ExportedItem]] | None = None


class Eraser:
    """Erases persons.

    Args:
        parts: what else keeps something of them, in the order in which they are erased.
    """

    def __init__(self, ledger: Ledger, contents: Contents, whispers: Whispers, parts: Sequence[Part]) -> None:
        """Erase what ``ledger`` holds."""
        self._ledger = ledger
        self._contents = contents
        self._whispers = whispers
        self._parts = parts

    async def erase(self, request: pb.ErasePersonRequest, actor: Actor, call: Call) -> pb.ErasePersonResponse:
        """Erase a person. Raises domain.Refused (CONTENTS_NOT_SEALED), and what its parts raise; then the rest is left for the next try."""
        keys = self._contents.keys
        if keys is None:
            raise domain.Refused("CONTENTS_NOT_SEALED", "this deployment does not seal contents")
        person = (actor.tenant, request.user_id)
        name = Request(request.request_id, fingerprint("ErasePerson", request.user_id, actor.user_id), call.traceparent)
        listed = await keys.listed(person)
        receipt = await self._destroy(actor, request.user_id, [key_id for key_id, _ in listed], name, call)
        event = kinds.decode(receipt.payloads[0])
        # Keys that were made while this happened go too; of a request that comes again, only those from before it came first.
        late = [
            key_id for key_id, made_us in await keys.listed(person) if not receipt.replayed or made_us <= event.at_us
        ]
        if late:
            cause = derive_request_id(commands.now_us(), *person, *late)
            await self._destroy(actor, request.user_id, late, Request(cause, fingerprint(*late)), call)
        self._contents.erased(*person)
        await tell(self._whispers, *person)
        response = pb.ErasePersonResponse(keys_destroyed=len({*event.key_ids, *late}))
        response.erase_time.CopyFrom(wire.timestamp(event.at_us))
        for part in self._parts:
            if part.erase is not None:
                response.parts.add(name=part.name, count=await part.erase(*person))
        await self._ledger.engine.archive.scrub()
        return response

    async def _destroy(self, actor: Actor, user_id: str, key_ids: Sequence[str], name: Request, call: Call) -> Receipt:
        command = ErasePerson(commands.now_us(), actor.user_id, tuple(key_ids), actor.acting_service)
        aggregate = AggregateId(actor.tenant, kinds.PERSON, user_id)
        return await self._ledger.execute(aggregate, command, name, timeout=call.remaining())
