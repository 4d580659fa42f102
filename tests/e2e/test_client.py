"""The client library on a whole standalone: bulk mails, and a session that outlives the server it speaks to."""

import asyncio
import json

import pytest
from tradewind.chat.v1 import chat_pb2
from tradewind.mail.v1 import mail_pb2, mail_service_pb2
from tradewind.sdk import Client, Endpoints, NotFound, PermissionDenied, Refused, new_request_id

from tests.e2e.standalone_world import Standalone
from tests.e2e.test_cli import own


def client(standalone: Standalone, name: str) -> Client:
    """A client as one of standalone's people."""
    found = json.loads(standalone.home.credentials.read_text())
    endpoints = Endpoints(**{service: found["endpoints"][service] for service in ("chat", "order", "mail")})
    return Client(endpoints, found["tokens"][name])


def mail(to: str, template: str = "") -> mail_service_pb2.SendMailRequest:
    """A mail, or one of a template that may not exist."""
    request = mail_service_pb2.SendMailRequest(request_id=new_request_id(), to=mail_pb2.Mailbox(address=to))
    if template:
        request.template.template = template
        request.template.variables_json = "{}"
    else:
        request.content.subject = "Hello"
        request.content.text = "Good day"
    return request


async def test_many_mails_have_an_outcome_each(standalone: Standalone) -> None:
    domain = f"{own('bulk')}.example"
    good = [mail(f"ann{number}@{domain}") for number in range(40)]
    bad = [mail(f"bob@{domain}", template="no-such-template"), mail("nowhere")]
    async with client(standalone, "service") as service:
        outcomes = {o.request.request_id: o async for o in service.mail.send_mails([*good, *bad])}
        again = [o async for o in service.mail.send_mails(good[:5])]
        assert all(outcomes[each.request_id].result is not None for each in good)
        assert all(isinstance(outcomes[each.request_id].error, Refused) for each in bad)
        assert all(o.result is not None and o.result.replayed for o in again)
        first = outcomes[good[0].request_id].result
        assert first is not None
        async with asyncio.timeout(60):
            while (await service.mail.get_mail(first.mail_id)).state != mail_pb2.MAIL_STATE_DELIVERED:
                await asyncio.sleep(0.05)


async def test_others_see_nothing(standalone: Standalone) -> None:
    async with client(standalone, "shop") as shop, client(standalone, "customer") as customer:
        conversation = await shop.chat.create_group(["courier"])
        with pytest.raises(NotFound):
            await customer.chat.get_conversation(conversation.conversation_id)
        with pytest.raises(PermissionDenied):
            [letter async for letter in customer.admin("chat").list_dead_letters()]


async def test_a_session_goes_on_when_its_server_is_killed(own_standalone: Standalone) -> None:
    own_standalone.start()
    own_standalone.serves()
    async with client(own_standalone, "shop") as shop, client(own_standalone, "customer") as customer:
        name = (await shop.chat.create_group(["customer"])).conversation_id
        heard: list[chat_pb2.ConversationEvent] = []

        async def listen() -> None:
            async with customer.chat.converse() as session:
                session.subscribe(name)
                async for _, event in session:
                    heard.append(event)
                    if event.version == 601:
                        return

        async def watch() -> list[int]:
            versions = []
            async for event in customer.chat.watch(name):
                versions.append(event.version)
                if event.version == 601:
                    break
            return versions

        listening, watching = asyncio.create_task(listen()), asyncio.create_task(watch())
        async with shop.chat.converse() as session:
            for number in range(600):
                assert await session.send(name, f"{number}") == number + 2
                if number in (100, 400):
                    own_standalone.kill("chat")
        await asyncio.gather(listening, watching)
    assert [event.version for event in heard] == list(range(1, 602))
    assert [event.message.text for event in heard[1:]] == [f"{number}" for number in range(600)]
    assert await watching == list(range(1, 602))
