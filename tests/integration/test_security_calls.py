"""Every rpc, called by everybody who should not: nobody gets in, nobody learns what others have, nothing hostile is a defect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message
from tradewind.admin.v1 import admin_service_pb2 as admin
from tradewind.chat.v1 import chat_pb2
from tradewind.chat.v1 import chat_service_pb2 as chat
from tradewind.mail.v1 import mail_pb2
from tradewind.mail.v1 import mail_service_pb2 as mail
from tradewind.order.v1 import order_pb2
from tradewind.order.v1 import order_service_pb2 as order

from services.chat.policy import POLICY as CHAT
from services.ledger.admin import POLICY as ADMIN
from services.mail.policy import POLICY as MAIL
from services.order.policy import POLICY as ORDER
from services.runtime.policy import ROLES
from services.runtime.tokens import Signer
from tests.integration.chat_world import chat_world, reason_in
from tests.integration.mail_world import mail_world
from tests.integration.order_world import gateway_world, gbp, new_channel, order_world, request_id
from tests.integration.security_table import Answer, ask, bad_tokens, hostile, methods
from tests.servers import NatsServer

TENANT = "acme"
CODE = grpc.StatusCode
HARMLESS = {
    CODE.OK, CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.PERMISSION_DENIED, CODE.FAILED_PRECONDITION, CODE.ALREADY_EXISTS,
    CODE.RESOURCE_EXHAUSTED,
}  # fmt: skip
ABSENT = "01900000-0000-7000-8000-000000000000"


@dataclass
class Target:
    """A service that is attacked: ``known`` is what exists in it, ``requests`` a good request for each rpc, made of an id."""

    channel: Any
    signer: Signer
    key: Ed25519PrivateKey
    services: tuple[Any, ...]
    policy: Mapping[str, frozenset[str]]
    known: str
    requests: Callable[[str], Mapping[str, Message]]
    found_by_id: frozenset[str]

    async def ask(self, name: str, request: Message | bytes, *roles: str, tenant: str = TENANT) -> Answer:
        (method,) = (each for each in methods(self.services) if each.name == name)
        return await ask(self.channel, method, request, self.signer.mint("ann", tenant, roles))


ADMIN_REQUESTS: Mapping[str, Message] = {
    "ListDeadLetters": admin.ListDeadLettersRequest(page_size=1),
    "ReplayDeadLetter": admin.ReplayDeadLetterRequest(letter_id=1),
}
ADMIN_SERVICE = admin.DESCRIPTOR.services_by_name["AdminService"]


def chat_member_requests(name: str) -> Mapping[str, Message]:
    """Those that are about one member."""

    def about(kind: Any, **more: Any) -> Any:
        return kind(request_id=request_id(), conversation_id=name, user_id="bob", **more)

    return {
        "SetMemberRole": about(chat.SetMemberRoleRequest, role=chat_pb2.MEMBER_ROLE_MODERATOR),
        "BanMember": about(chat.BanMemberRequest),
        "UnbanMember": about(chat.UnbanMemberRequest),
        "ListBans": chat.ListBansRequest(conversation_id=name),
        "MuteMember": about(chat.MuteMemberRequest),
        "UnmuteMember": about(chat.UnmuteMemberRequest),
    }


def chat_requests(name: str) -> Mapping[str, Message]:
    content = chat_pb2.MessageContent(text="hello")
    send = chat.SendMessageRequest(request_id=request_id(), conversation_id=name, content=content)
    return {
        "CreateConversation": chat.CreateConversationRequest(
            request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP, member_ids=["bob"]
        ),
        "GetConversation": chat.GetConversationRequest(conversation_id=name),
        "ListConversations": chat.ListConversationsRequest(),
        "UpdateConversation": chat.UpdateConversationRequest(
            request_id=request_id(), conversation_id=name, title="New"
        ),
        "JoinConversation": chat.JoinConversationRequest(request_id=request_id(), conversation_id=name),
        "LeaveConversation": chat.LeaveConversationRequest(request_id=request_id(), conversation_id=name),
        **chat_member_requests(name),
        "AddMembers": chat.AddMembersRequest(request_id=request_id(), conversation_id=name, user_ids=["eve"]),
        "RemoveMembers": chat.RemoveMembersRequest(request_id=request_id(), conversation_id=name, user_ids=["eve"]),
        "SendMessage": send,
        "EditMessage": chat.EditMessageRequest(
            request_id=request_id(), conversation_id=name, message_version=2, content=content
        ),
        "ListMessageEdits": chat.ListMessageEditsRequest(conversation_id=name, message_version=2),
        "DeleteMessage": chat.DeleteMessageRequest(request_id=request_id(), conversation_id=name, message_version=2),
        "ForwardMessage": chat.ForwardMessageRequest(
            request_id=request_id(), conversation_id=name, from_conversation_id=name, message_version=2
        ),
        "AddReaction": chat.AddReactionRequest(
            request_id=request_id(), conversation_id=name, message_version=2, emoji="👍"
        ),
        "RemoveReaction": chat.RemoveReactionRequest(
            request_id=request_id(), conversation_id=name, message_version=2, emoji="👍"
        ),
        "ListReactions": chat.ListReactionsRequest(conversation_id=name, message_version=2),
        "PinMessage": chat.PinMessageRequest(request_id=request_id(), conversation_id=name, message_version=2),
        "UnpinMessage": chat.UnpinMessageRequest(request_id=request_id(), conversation_id=name, message_version=2),
        "ListMessages": chat.ListMessagesRequest(conversation_id=name),
        "MarkMessages": chat.MarkMessagesRequest(conversation_id=name, read_version=1),
        "GetUnread": chat.GetUnreadRequest(conversation_id=name),
        "ListUnread": chat.ListUnreadRequest(),
        "ListReceipts": chat.ListReceiptsRequest(conversation_id=name),
        "Watch": chat.WatchRequest(conversation_id=name),
        "Converse": chat.ConverseRequest(sends=[send], unsubscribe=[chat.Unsubscribe(conversation_id=name)]),
    }


def order_requests(name: str) -> Mapping[str, Message]:
    line = order_pb2.OrderLine(sku="tea", quantity=1, unit_price=gbp(100), title="Tea")
    place = order.PlaceOrderRequest(
        request_id=request_id(),
        shop_id="shop-1",
        lines=[line],
        payment_method="pm_ok",
        contact=order_pb2.Contact(name="Ann", email="ann@example.org"),
    )
    return {
        "PutItem": order.PutItemRequest(
            request_id=request_id(), shop_id="shop-1", sku="tea", title="Tea", unit_price=gbp(100)
        ),
        "GetItem": order.GetItemRequest(shop_id="shop-1", sku="tea"),
        "AdjustStock": order.AdjustStockRequest(request_id=request_id(), shop_id="shop-1", sku="tea", delta=1),
        "GetStock": order.GetStockRequest(shop_id="shop-1", sku="tea"),
        "PlaceOrder": place,
        "PlaceOrders": order.PlaceOrdersRequest(orders=[place]),
        "GetOrder": order.GetOrderRequest(order_id=name),
        "ListOrders": order.ListOrdersRequest(),
        "CancelOrder": order.CancelOrderRequest(request_id=request_id(), order_id=name),
        "AcceptOrder": order.AcceptOrderRequest(request_id=request_id(), order_id=name),
        "DispatchOrder": order.DispatchOrderRequest(request_id=request_id(), order_id=name),
        "DeliverOrder": order.DeliverOrderRequest(request_id=request_id(), order_id=name),
        "WatchOrder": order.WatchOrderRequest(order_id=name),
        **ADMIN_REQUESTS,
    }


def mail_requests(name: str) -> Mapping[str, Message]:
    one = mail.SendMailRequest(
        request_id=request_id(),
        to=mail_pb2.Mailbox(address="ann@example.org", name="Ann"),
        content=mail_pb2.MailContent(subject="Hello", text="Hello", html="<p>Hello</p>"),
        track_opens=True,
    )
    return {
        "SendMail": one,
        "SendMails": mail.SendMailsRequest(mails=[one]),
        "GetMail": mail.GetMailRequest(mail_id=name),
        "GetMailStats": mail.GetMailStatsRequest(),
        "WatchMailStats": mail.WatchMailStatsRequest(),
        **ADMIN_REQUESTS,
    }


@pytest.fixture(params=["chat", "order", "mail"])
async def target(request: pytest.FixtureRequest, own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Target]:
    url = own_nats_server.url
    services: tuple[Any, ...]
    if request.param == "chat":
        services = (chat.DESCRIPTOR.services_by_name["ChatService"],)
        by_id = set(chat_requests("")) - {"CreateConversation", "ListConversations", "ListUnread", "Converse"}
        async with chat_world(url, tmp_path) as world:
            channel = new_channel(world.server.port)
            key = world.signer._key
            made = Target(channel, world.signer, key, services, CHAT, "", chat_requests, frozenset(by_id))
            made.known = (
                await made.ask("CreateConversation", chat_requests("")["CreateConversation"], "customer")
            ).message.conversation.conversation_id
            yield made
            await channel.close()
    elif request.param == "order":
        services = (order.DESCRIPTOR.services_by_name["OrderService"], ADMIN_SERVICE)
        steps = {"GetOrder", "CancelOrder", "AcceptOrder", "DispatchOrder", "DeliverOrder", "WatchOrder"}
        async with gateway_world(tmp_path) as gateway, order_world(url, tmp_path, gateway.address) as shop:
            channel = new_channel(shop.server.port)
            key = shop.signer._key
            made = Target(channel, shop.signer, key, services, {**ORDER, **ADMIN}, "", order_requests, frozenset(steps))
            placed = await made.ask("PlaceOrder", order_requests("")["PlaceOrder"], "service")
            made.known = placed.message.order.order_id
            yield made
            await channel.close()
    else:
        services = (mail.DESCRIPTOR.services_by_name["MailService"], ADMIN_SERVICE)
        async with mail_world(url, tmp_path, smarthost="127.0.0.1:1") as post:
            channel = new_channel(post.hosted.server.port)
            key = post.signer._key
            rows = {**MAIL, **ADMIN}
            made = Target(channel, post.signer, key, services, rows, "", mail_requests, frozenset({"GetMail"}))
            made.known = (await made.ask("SendMail", mail_requests("")["SendMail"], "admin")).message.mail_id
            yield made
            await channel.close()


def test_nothing_is_missing_in_the_tables() -> None:
    served = {chat: "ChatService", order: "OrderService", mail: "MailService"}
    for module, requests in ((chat, chat_requests), (order, order_requests), (mail, mail_requests)):
        names = {method.name for method in module.DESCRIPTOR.services_by_name[served[module]].methods}
        assert names == set(requests("")) - set(ADMIN_REQUESTS)
    assert {method.name for method in ADMIN_SERVICE.methods} == set(ADMIN_REQUESTS)


async def test_a_token_that_is_not_good_opens_nothing(target: Target) -> None:
    requests = target.requests(target.known)
    for wrong, token in bad_tokens(target.signer, target.key, TENANT).items():
        for method in methods(target.services):
            answer = await ask(target.channel, method, requests[method.name], token)
            assert (answer.code, answer.reason) == (CODE.UNAUTHENTICATED, "UNAUTHENTICATED"), (wrong, method.name)


async def test_each_role_opens_what_the_table_says(target: Target) -> None:
    for role in [*sorted(ROLES), "root", "Admin", ""]:
        requests = target.requests(ABSENT)
        for method in methods(target.services):
            allowed = role in target.policy[f"/{method.containing_service.full_name}/{method.name}"]
            answer = await target.ask(method.name, requests[method.name], role)
            turned_away = answer.status.message == "the caller's roles do not allow this call"
            assert turned_away is not allowed, (role, method.name, answer)
            assert (answer.code is CODE.PERMISSION_DENIED) or allowed
            assert answer.code in HARMLESS, (role, method.name, answer)


async def test_what_another_tenant_has_is_as_what_does_not_exist(target: Target) -> None:
    theirs, none = target.requests(target.known), target.requests(ABSENT)
    for role in sorted(ROLES - {"operator"}):
        for name in sorted(target.found_by_id):
            foreign = await target.ask(name, theirs[name], role, tenant="other")
            absent = await target.ask(name, none[name], role, tenant="other")
            if absent.code is not CODE.PERMISSION_DENIED:
                assert (absent.code, absent.reason) == (CODE.NOT_FOUND, "NOT_FOUND"), (role, name, absent)
            same = foreign.status.SerializeToString().replace(target.known.encode(), ABSENT.encode())
            assert same == absent.status.SerializeToString(), (role, name)


async def test_listings_hold_the_own_tenant_s_only(target: Target) -> None:
    for name, request in target.requests(target.known).items():
        if name.startswith(("List", "GetMailStats")) and name not in ADMIN_REQUESTS and name not in target.found_by_id:
            answer = await target.ask(name, request, "admin", tenant="other")
            assert answer.code is CODE.OK
            assert not answer.message.ListFields(), name


async def test_nothing_hostile_is_a_defect(target: Target, capfd: pytest.CaptureFixture[str]) -> None:
    for name in target.requests(""):
        roles = ("operator",) if name in ADMIN_REQUESTS else ("service",)
        for what, request in hostile(target.requests(target.known)[name]):
            answer = await target.ask(name, request, *roles)
            assert answer.code in HARMLESS, (name, what, answer)
    assert "unexpected_error" not in capfd.readouterr().err


async def test_bytes_that_are_no_message_are_no_defect(target: Target) -> None:
    # A string that is no UTF-8, a field that ends too early, a group that never ends, a hundred thousand levels.
    for data in (b"\x0a\x02\xff\xfe", b"\x0a\x7f", b"\x0b", b"\x0b" * 100_000, b"\xff" * 64):
        for method in methods(target.services):
            roles = ("operator",) if method.name in ADMIN_REQUESTS else ("service",)
            answer = await target.ask(method.name, data, *roles)
            assert answer.code in HARMLESS, (method.name, data[:8], answer)


def test_the_public_key_is_what_the_confused_token_is_made_with() -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert pem.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert bad_tokens(Signer(key), key, TENANT)["confused"]


@pytest.mark.parametrize("target", ["order"], indirect=True)
async def test_a_page_token_of_letters_is_a_number_that_can_be(target: Target) -> None:
    for token in ("9" * 30, "-1", "\u0663", "1 ", "0x1", "x" * 64):
        answer = await target.ask("ListDeadLetters", admin.ListDeadLettersRequest(page_token=token), "operator")
        assert (answer.code, answer.reason) == (CODE.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"), token


@pytest.mark.parametrize("target", ["chat"], indirect=True)
async def test_a_request_id_is_one_however_it_is_written(target: Target) -> None:
    content = chat_pb2.MessageContent(text="hello")
    made = request_id()
    send = chat.SendMessageRequest(request_id=made, conversation_id=target.known, content=content)
    first = await target.ask("SendMessage", send, "customer")
    send.request_id = made.upper()
    assert (await target.ask("SendMessage", send, "customer")).message == first.message
    for other in (f"{{{made}}}", f"urn:uuid:{made}", made.replace("-", ""), f" {made}", f"{made}\n"):
        send.request_id = other
        assert (await target.ask("SendMessage", send, "customer")).reason == "INVALID_FIELD", other
        for sends in ([send], [send, send]):
            answer = await target.ask("Converse", chat.ConverseRequest(sends=sends), "customer")
            assert {reason_in(result.error) for result in answer.message.results} == {"INVALID_FIELD"}, other


@pytest.mark.parametrize("target", ["chat"], indirect=True)
async def test_users_with_slashes_share_nothing(target: Target) -> None:
    (create,) = (each for each in methods(target.services) if each.name == "CreateConversation")
    (listing,) = (each for each in methods(target.services) if each.name == "ListConversations")
    for tenant, user in (("acme", "a/b"), ("acme", "acme/a/b"), ("a", "a/b"), ("acme", "b")):
        token = target.signer.mint(user, tenant, ["customer"])
        request = chat.CreateConversationRequest(
            request_id=request_id(), kind=chat_pb2.CONVERSATION_KIND_GROUP, title=f"{tenant} {user}"
        )
        assert (await ask(target.channel, create, request, token)).code is CODE.OK
    for tenant, user in (("acme", "a/b"), ("acme", "acme/a/b"), ("a", "a/b"), ("acme", "a"), ("a", "b")):
        token = target.signer.mint(user, tenant, ["customer"])
        found = await ask(target.channel, listing, chat.ListConversationsRequest(), token)
        titles = [each.title for each in found.message.conversations]
        assert titles == ([f"{tenant} {user}"] if user.endswith("/b") else []), (tenant, user)
