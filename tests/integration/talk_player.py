"""Plays a schedule on a real Chat and on the model beside it, and looks whether both agree."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as pb

from tests.integration.chat_world import ChatWorld, User, facts_in, facts_of, request_id
from tests.integration.talk_devices import Device
from tests.integration.talk_model import CHIEF, Denied, Model, Said

PEOPLE = ("ada", "bob", "cy", "dee", "eve")
EMOJIS = ("👍", "🎉", "🦀")
ROLES = ("member", "moderator", "admin", "reader", "owner")
KINDS = {
    "group": chat_pb2.CONVERSATION_KIND_GROUP,
    "channel": chat_pb2.CONVERSATION_KIND_CHANNEL,
    "direct": chat_pb2.CONVERSATION_KIND_DIRECT,
}
OPERATIONS = {
    "EditMessage": "edit", "DeleteMessage": "delete", "ForwardMessage": "forward", "PinMessage": "pin", "UnpinMessage": "unpin",
    "AddReaction": "add_reaction", "RemoveReaction": "remove_reaction", "MarkMessages": "mark",
}  # fmt: skip
DEVICES = 2


class Step(NamedTuple):
    """One thing that somebody does; the numbers choose whom and what about."""

    what: str
    who: int
    a: int
    b: int
    way: int


class Player:
    """One conversation of a tenant of its own, asked over any of some servers."""

    def __init__(self, worlds: list[ChatWorld], channels: dict[tuple[int, str], grpc.aio.Channel], tenant: str) -> None:
        self._users = {
            (place, name): User(channel, worlds[place].signer.mint(name, tenant, _roles(name)), name)
            for (place, name), channel in channels.items()
        }
        self._places = len(worlds)
        self._numbers = itertools.count(1)
        self._sent: list[tuple[str, pb.SendMessageRequest, int]] = []

    def user(self, name: str, way: int) -> User:
        return self._users[way % self._places, name]

    async def begin(self, kind: str, others: int, is_open: bool) -> None:
        """Make the conversation."""
        members = PEOPLE[1:2] if kind == "direct" else PEOPLE[1 : 1 + others]
        is_open = is_open and kind != "direct"
        create = pb.CreateConversationRequest(
            request_id=request_id(), kind=KINDS[kind], member_ids=members, open=is_open
        )
        made = (await self.user("ada", 0).call("CreateConversation", create)).conversation
        self.id: str = made.conversation_id
        self.model = Model(kind, "ada", members, is_open=is_open)
        self.devices = {(name, n): Device(name, self.id) for name in (*PEOPLE, CHIEF) for n in range(DEVICES)}
        for place, name in enumerate(self.model.roles):
            await self.devices[name, 0].connect(self.user(name, place), 0, 1, talks=(place + others) % 2 == 0)

    async def end(self) -> None:
        """Let go of all streams."""
        for device in self.devices.values():
            await device.cut()

    async def play(self, step: Step) -> None:
        """Do one step."""
        name = (*PEOPLE, CHIEF)[step.who]
        await getattr(self, f"_{step.what}")(name, step)
        if step.way % 3 == 0:  # else whoever was cut off finds out later
            for (user, number), device in self.devices.items():
                if device.open and not self.model.sees(user):
                    await self._follow(user, Step("follow", 0, 1, number, step.way))

    # --- asking -------------------------------------------------------------------------------

    async def ask(self, name: str, rpc: str, way: int, request: Message | None = None, **fields: Any) -> Any:
        """Ask one thing, over a stream of a device where one is open and the way says so; answers the response or result."""
        if request is None:
            kind = getattr(pb, f"{rpc}Request")
            if "request_id" in kind.DESCRIPTOR.fields_by_name:
                fields["request_id"] = request_id()
            request = kind(conversation_id=self.id, **fields)
            assert request is not None
        device = self.devices[name, way // 4 % DEVICES]
        if device.talks and way % 2 and rpc in ("SendMessage", *OPERATIONS):
            return await self._over_stream(device, rpc, request)
        try:
            return await self.user(name, way).call(rpc, request)
        except grpc.aio.AioRpcError as error:
            reason, metadata = facts_of(error)
            raise Denied(reason, metadata.get("permission", "")) from None

    async def everywhere(self, name: str, rpc: str, way: int) -> Any:
        """Ask what is listed over all of a user's conversations."""
        return await self.user(name, way).call(rpc, getattr(pb, f"{rpc}Request")())

    async def _over_stream(self, device: Device, rpc: str, request: Message) -> Any:
        if isinstance(request, pb.SendMessageRequest):
            answer = await device.ask(pb.ConverseRequest(sends=[request]), request.request_id)
        else:
            number = next(self._numbers)
            operation = pb.Operation(operation_id=number, **{OPERATIONS[rpc]: request})  # type: ignore[arg-type]
            answer = await device.ask(pb.ConverseRequest(operations=[operation]), number)
        if answer.HasField("error"):
            reason, metadata = facts_in(answer.error)
            raise Denied(reason, metadata.get("permission", ""))
        return answer

    async def same(self, asked: Awaitable[Any], expected: Callable[[], Any]) -> tuple[Any, Any]:
        """Do it in both; both must allow it, or refuse it for the same reason and the same missing permission."""
        refused: tuple[str, str] | None = None
        wanted = answer = None
        try:
            wanted = expected()
        except Denied as denied:
            refused = denied.why
        try:
            answer = await asked
        except Denied as denied:
            assert denied.why == refused, f"refused with {denied.why}, not {refused}"
        else:
            assert refused is None, f"allowed, not refused with {refused}"
        return answer, wanted

    def version(self, number: int) -> int:
        """A message's version, or now and then that of something else."""
        said = sorted(self.model.said)
        return said[-1 - number % len(said)] if said and number % 16 != 15 else 1 + number

    # --- steps --------------------------------------------------------------------------------

    async def _rest(self, name: str, step: Step) -> None:
        """Nothing happens: what a schedule shrinks to."""

    def _message(self, name: str, step: Step) -> tuple[pb.SendMessageRequest, Said]:
        said = Said(name, [f"words {next(self._numbers)}"])
        if step.a % 3 == 1:
            said.root = self.version(step.b)
        if step.b % 4 == 1:
            said.to = (self.version(step.a),)
        if step.b % 3 == 1:
            said.names, said.to_all = tuple(PEOPLE[: step.a % 3]), step.a % 5 == 0
        content = chat_pb2.MessageContent(text=said.wordings[0], thread_root=said.root, reply_to=said.to)
        if said.names or said.to_all:
            content.mentions.CopyFrom(chat_pb2.Mentions(user_ids=said.names, all=said.to_all))
        return pb.SendMessageRequest(request_id=request_id(), conversation_id=self.id, content=content), said

    async def _send(self, name: str, step: Step) -> None:
        request, said = self._message(name, step)

        def expected() -> int:
            self.model.may_send(name, said)
            return self.model.send(said)

        answer, version = await self.same(self.ask(name, "SendMessage", step.way, request), expected)
        if version:
            assert answer.version == version
            self._sent.append((name, request, version))

    async def _burst(self, _name: str, step: Step) -> None:
        """Some speak at once, over whatever is open; the server says in which order."""
        asked = []
        for number in range(2 + step.a % 5):
            name = PEOPLE[(step.who + number) % len(PEOPLE)]
            request, said = self._message(name, step._replace(a=0, b=0))
            try:
                self.model.may_send(name, said)
            except Denied:
                continue
            # Streams are read by one at a time: only the first of a user's sends goes over its stream.
            asked.append(
                (said, request, self.ask(name, "SendMessage", step.way if number < len(PEOPLE) else 0, request))
            )
        answers = await asyncio.gather(*(call for _, _, call in asked))
        order = sorted(zip(answers, asked, strict=True), key=lambda both: both[0].version)
        for answer, (said, request, _) in order:
            assert answer.version == self.model.send(said)
            self._sent.append((said.sender, request, answer.version))

    async def _again(self, _name: str, step: Step) -> None:
        """Something is sent again, as it was or otherwise."""
        if not self._sent:
            return
        name, request, version = self._sent[step.a % len(self._sent)]
        if step.b % 3:
            assert (await self.ask(name, "SendMessage", step.way, request)).version == version
            return
        other = pb.SendMessageRequest()
        other.CopyFrom(request)
        other.content.text += "!"
        try:
            await self.ask(name, "SendMessage", step.way, other)
        except Denied as denied:
            assert denied.why == ("REQUEST_ID_REUSED", "")
        else:
            raise AssertionError("other content was taken under a request id that is used")

    async def _edit(self, name: str, step: Step) -> None:
        version, text = self.version(step.a), f"wording {next(self._numbers)}"
        content = chat_pb2.MessageContent(text=text)
        if step.b % 4:  # mostly one's own
            name = self.model.said[version].sender if version in self.model.said else name
        asked = self.ask(name, "EditMessage", step.way, message_version=version, content=content)
        answer, at = await self.same(asked, lambda: self.model.edit(name, version, text))
        assert answer is None or answer.version == at

    async def _delete(self, name: str, step: Step) -> None:
        version = self.version(step.a)
        asked = self.ask(name, "DeleteMessage", step.way, message_version=version)
        await self.same(asked, lambda: self.model.delete(name, version))

    async def _hide(self, name: str, step: Step) -> None:
        version = self.version(step.a)
        asked = self.ask(name, "DeleteMessage", step.way, message_version=version, for_me=True)
        await self.same(asked, lambda: self.model.hide(name, version))

    async def _forward(self, name: str, step: Step) -> None:
        version = self.version(step.a)
        asked = self.ask(name, "ForwardMessage", step.way, from_conversation_id=self.id, message_version=version)
        answer, at = await self.same(asked, lambda: self.model.forward(name, version))
        assert answer is None or answer.version == at

    async def _react(self, name: str, step: Step) -> None:
        version, emoji, remove = self.version(step.a), EMOJIS[step.b % 3], step.b % 4 == 0
        rpc = "RemoveReaction" if remove else "AddReaction"
        asked = self.ask(name, rpc, step.way, message_version=version, emoji=emoji)
        await self.same(asked, lambda: self.model.react(name, version, emoji, remove=remove))

    async def _pin(self, name: str, step: Step) -> None:
        version = self.version(step.a)
        rpc, change = ("UnpinMessage", self.model.unpin) if step.b % 3 == 0 else ("PinMessage", self.model.pin)
        await self.same(self.ask(name, rpc, step.way, message_version=version), lambda: change(name, version))

    async def _add(self, name: str, step: Step) -> None:
        users = sorted({PEOPLE[step.a % 5], PEOPLE[step.b % 5]})
        asked = self.ask(name, "AddMembers", step.way, user_ids=users)
        await self.same(asked, lambda: self.model.add(name, users))

    async def _remove(self, name: str, step: Step) -> None:
        user = PEOPLE[step.a % 5]
        if user != name:  # who leaves, leaves
            asked = self.ask(name, "RemoveMembers", step.way, user_ids=[user])
            await self.same(asked, lambda: self.model.remove(name, user))

    async def _leave(self, name: str, step: Step) -> None:
        if name != CHIEF:
            await self.same(self.ask(name, "LeaveConversation", step.way), lambda: self.model.leave(name))

    async def _join(self, name: str, step: Step) -> None:
        if name != CHIEF:
            await self.same(self.ask(name, "JoinConversation", step.way), lambda: self.model.join(name))

    async def _role(self, name: str, step: Step) -> None:
        user, role = PEOPLE[step.a % 5], ROLES[step.b % 5]
        number = chat_pb2.MemberRole.Value(f"MEMBER_ROLE_{role.upper()}")
        asked = self.ask(name, "SetMemberRole", step.way, user_id=user, role=number)
        await self.same(asked, lambda: self.model.set_role(name, user, role))

    async def _sanction(self, name: str, step: Step) -> None:
        user, ever = PEOPLE[step.a % 5], step.b % 2 == 0
        rpc, change = ("BanMember", self.model.ban) if step.b % 3 == 0 else ("MuteMember", self.model.mute)
        lasts = {} if ever else {"duration": Duration(seconds=3600)}
        asked = self.ask(name, rpc, step.way, user_id=user, **lasts)
        await self.same(asked, lambda: change(name, user, ever=ever))

    async def _pardon(self, name: str, step: Step) -> None:
        user = PEOPLE[step.a % 5]
        rpc, change = ("UnbanMember", self.model.unban) if step.b % 2 else ("UnmuteMember", self.model.unmute)
        await self.same(self.ask(name, rpc, step.way, user_id=user), lambda: change(name, user))

    async def _change(self, name: str, step: Step) -> None:
        title = f"title {step.a % 3}" if step.b % 2 else None
        is_open = step.a % 2 == 0 if step.b % 3 == 0 else None
        if title is None and is_open is None:
            return
        asked = self.ask(name, "UpdateConversation", step.way, title=title, open=is_open)
        await self.same(asked, lambda: self.model.change(name, title, is_open))

    async def _mark(self, name: str, step: Step) -> None:
        newest = len(self.model.log)
        read, delivered = (newest - step.a % 16, newest - step.b % 16) if step.a % 7 else (10**6, step.b % 2)
        read, delivered = max(0, read), max(0, delivered)
        asked = self.ask(name, "MarkMessages", step.way, read_version=read, delivered_version=delivered)
        answer, wanted = await self.same(asked, lambda: self.model.mark(name, read, delivered))
        if answer is not None:
            assert counted(answer.unread) == wanted

    # --- devices ------------------------------------------------------------------------------

    async def _connect(self, name: str, step: Step) -> None:
        """A device begins to listen, again from anywhere."""
        device = self.devices[name, step.b % DEVICES]
        after = len(device.held) if step.a % 4 else step.a * 7 % (len(device.held) + 1)
        await device.connect(self.user(name, step.way), after, len(self.model.log), talks=step.way % 2 == 1)
        if not self.model.sees(name):
            await device.until_ended(len(device.held))
            assert device.ended == "NOT_FOUND", device.ended
            await device.cut()

    async def _cut(self, name: str, step: Step) -> None:
        await self.devices[name, step.b % DEVICES].cut()

    async def _follow(self, name: str, step: Step) -> None:
        """A device reads all there is; one that may not is cut off, and has nothing of what came after."""
        device, model = self.devices[name, step.b % DEVICES], self.model
        if not device.open:
            if model.sees(name):
                await self._connect(name, step)
            return
        cuts = [version for version in model.cuts.get(name, ()) if version > device.since]
        if model.sees(name):
            await device.catch_up(len(model.log))
            if device.ended:  # it was looked at while the user was out
                assert cuts
                assert device.ended == "NOT_A_MEMBER", device.ended
                await device.connect(self.user(name, step.way), len(device.held), len(model.log), talks=device.talks)
                await device.catch_up(len(model.log))
        elif cuts:
            await device.until_ended(cuts[-1])
            assert device.ended in ("NOT_A_MEMBER", "NOT_FOUND"), device.ended
            await device.cut()
        else:  # a reader that left by itself, with an open stream
            await device.cut()


def counted(unread: pb.Unread) -> tuple[int, int, int, int]:
    """An unread count as the model has it."""
    return unread.count, unread.mention_count, unread.read_version, unread.delivered_version


def _roles(name: str) -> tuple[str, ...]:
    return ("admin",) if name == CHIEF else ("customer",)
