"""What keeps something of persons beside their words in conversations: each erased, and given out, by whose affair it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2, moderation_pb2
from tradewind.chat.v1 import privacy_service_pb2 as pb

from services.chat import commands, domain
from services.chat.attachments import removing, rows
from services.chat.attachments.names import Names
from services.chat.attachments.vault import Vault
from services.chat.contents import Contents
from services.chat.moderation import projections
from services.chat.privacy.erasing import Part
from services.chat.push import devices
from services.chat.scheduling import domain as scheduling
from services.chat.scheduling import wire as scheduling_wire
from services.chat.scheduling.sending import KIND as SCHEDULE
from services.chat.search.service import SearchService
from services.ledger.decider import Request
from services.ledger.ids import AggregateId, derive_request_id, fingerprint
from services.ledger.ledger import Ledger

_PAGE: Final = 100


def all_parts(ledger: Ledger, contents: Contents, vault: Vault, search: SearchService | None) -> Sequence[Part]:
    """Give all that this process knows of."""
    found = [
        Scheduled(ledger, contents).part,
        Attachments(ledger, vault, Names(ledger, contents.keys)).part,
        Devices(ledger).part,
        Reports(ledger, contents).part,
    ]
    return [Part("search", search.forget), *found] if search is not None else found


def item(kind: str, value: Message, **more: Any) -> pb.ExportedItem:
    """Give something kept as a line of an export says it."""
    line = pb.ExportedItem(kind=kind)
    line.value.update({**MessageToDict(value, preserving_proto_field_name=True), **more})
    return line


class Devices:
    """Devices that a person is told on, and how it wants to be told."""

    def __init__(self, ledger: Ledger) -> None:
        """Look into ``ledger``."""
        self._ledger = ledger
        self.part = Part("devices", self._erase, self._export)

    async def _erase(self, tenant: str, user_id: str) -> int:
        count = len((await devices.reach(self._ledger, tenant, user_id)).devices)
        await devices.forget_user(self._ledger, tenant, user_id)
        return count

    async def _export(self, tenant: str, user_id: str) -> AsyncIterator[pb.ExportedItem]:
        found = await devices.reach(self._ledger, tenant, user_id)
        for stored in found.devices:
            yield item("device", stored.device)  # without its token, which is a key to the device
        if found.preferences.ByteSize():
            yield item("push_preferences", found.preferences)


class Scheduled:
    """Messages that a person wants to have sent later."""

    def __init__(self, ledger: Ledger, contents: Contents) -> None:
        """Look into ``ledger``."""
        self._ledger = ledger
        self._contents = contents
        self.part = Part("scheduled", self._erase, self._export)

    async def _erase(self, tenant: str, user_id: str) -> int:
        aggregate = AggregateId(tenant, SCHEDULE, user_id)
        state: scheduling.Schedules = (await self._ledger.read(aggregate)).state
        count = 0
        for each in state.items.values():
            name = derive_request_id(each.created_us, aggregate.key, each.id, "erase")
            cancel = scheduling.Cancel(commands.now_us(), each.id)
            try:
                await self._ledger.execute(aggregate, cancel, Request(name, fingerprint("erase", each.id)))
            except domain.Refused:
                continue  # it is being sent at this moment, and fails, as what it says is erased
            count += 1
        return count

    async def _export(self, tenant: str, user_id: str) -> AsyncIterator[pb.ExportedItem]:
        aggregate = AggregateId(tenant, SCHEDULE, user_id)
        state: scheduling.Schedules = (await self._ledger.read(aggregate)).state
        for each in state.items.values():
            page = await self._ledger.history(aggregate, after=each.content_version - 1, limit=1)
            content = chat_pb2.MessageContent.FromString(scheduling_wire.content_of(page[0].payload) if page else b"")
            where = AggregateId(tenant, commands.KIND, each.conversation_id)
            await self._contents.open(where, [(content, user_id)])
            said = MessageToDict(content, preserving_proto_field_name=True)
            yield item(
                "scheduled_message",
                pb.ExportedItem(),
                scheduled_id=each.id,
                conversation_id=each.conversation_id,
                send_time_us=str(each.send_us),
                content=said,
            )


class Reports:
    """Messages that a person reported. What it said of them is sealed with its keys, and nothing of it is left to erase."""

    def __init__(self, ledger: Ledger, contents: Contents) -> None:
        """Look into ``ledger``."""
        self._ledger = ledger
        self._contents = contents
        self.part = Part("reports", None, self._export)

    async def _export(self, tenant: str, user_id: str) -> AsyncIterator[pb.ExportedItem]:
        where, after = f"{tenant}/{user_id}", None
        while page := await self._ledger.rows(projections.REPORTED, where, after=after, limit=_PAGE):
            for row in page:
                aggregate = AggregateId(tenant, projections.REPORT, row.key)
                for recorded in await self._ledger.history(aggregate, after=int(row.value or b"1") - 1, limit=1):
                    event = moderation_pb2.ReportEvent.FromString(recorded.payload)
                    await self._contents.open(aggregate, [(event.reported.content, user_id)])
                    conversation_id, _, version = row.key.rpartition("/")
                    yield item("report", event, conversation_id=conversation_id, message_version=version)
            after = page[-1].key


class Attachments:
    """Files that a person uploaded."""

    def __init__(self, ledger: Ledger, vault: Vault, names: Names) -> None:
        """Look into ``ledger``; their bytes are in ``vault``."""
        self._ledger = ledger
        self._names = names
        self._vault = vault
        self.part = Part("attachments", self._erase, self._export)

    async def _erase(self, tenant: str, user_id: str) -> int:
        return await removing.erase_person(self._ledger, self._vault, tenant, user_id)

    async def _export(self, tenant: str, user_id: str) -> AsyncIterator[pb.ExportedItem]:
        where, after = rows.owner_partition(tenant, user_id), None
        while page := await self._ledger.rows(rows.OWNED, where, after=after, limit=_PAGE):
            for row in page:
                attachment_id = row.key[17:]
                state, _, size = (row.value or b"").decode().partition(" ")
                told = await self._names.of(tenant, user_id, attachment_id)
                yield item(
                    "attachment",
                    pb.ExportedItem(),
                    attachment_id=attachment_id,
                    state=state,
                    size_bytes=size,
                    name=told,
                )
            after = page[-1].key
