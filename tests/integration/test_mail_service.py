"""Mail as a whole: taken, delivered, retried, bounced, lost sight of, opened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path

import aiohttp
import dkim
import grpc
import pytest
from google.rpc import error_details_pb2
from tradewind.mail.v1 import mail_pb2
from tradewind.mail.v1 import mail_service_pb2 as pb

from services.mail.domain import Phase
from services.mail.smtp.dkim import load_signer
from tests.integration.chat_world import reason_in, refused
from tests.integration.mail_world import MailWorld, mail_to, mail_world, request_id
from tests.servers import NatsServer
from tests.smtp_sink import Sink


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as server:
        yield server


@pytest.fixture
async def world(own_nats_server: NatsServer, tmp_path: Path, sink: Sink) -> AsyncIterator[MailWorld]:
    async with mail_world(own_nats_server.url, tmp_path, sink) as made:
        yield made


async def test_a_mail_is_taken_signed_and_delivered(world: MailWorld, sink: Sink, tmp_path: Path) -> None:
    mail_id = await world.send("ann@example.org", campaign="spring", attributes={"order_id": "7"})
    await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
    taken = sink.to("ann@example.org")
    assert len(taken) == 1
    signer = load_signer("tradewind.example", "tradewind", tmp_path / "keys" / "dkim.pem")
    assert dkim.verify(taken[0].data, dnsfunc=lambda *_args, **_named: signer.record().encode())
    message = message_from_bytes(taken[0].data)
    assert message["Message-ID"] == f"<{mail_id}@tradewind.example>"
    mail = await world.get(mail_id)
    assert mail.state == mail_pb2.MAIL_STATE_DELIVERED
    assert [(a.number, a.outcome, a.reply_code, a.enhanced_code) for a in mail.attempts] == [
        (1, "delivered", 250, "2.0.0")
    ]
    assert mail.version == 3
    assert mail.campaign == "spring"
    assert dict(mail.attributes) == {"order_id": "7"}
    assert getattr(mail, "from").address == "orders@tradewind.example"


async def test_the_same_request_is_the_same_mail(world: MailWorld, sink: Sink) -> None:
    request = mail_to("ann@example.org")
    answers = await asyncio.gather(*(world.call("SendMail", request) for _ in range(20)))
    assert len({answer.mail_id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    await world.until(answers[0].mail_id, lambda mail: mail.phase is Phase.DELIVERED)
    assert (await world.call("SendMail", request)).replayed
    request.campaign = "other"
    assert await refused(world.call("SendMail", request)) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert sink.count == 1


async def test_a_soft_failure_is_tried_again(world: MailWorld, sink: Sink) -> None:
    mail_id = await world.send("greylist@example.org")
    mail = await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
    assert [(a.outcome, a.reply.code) for a in mail.attempts] == [("deferred", 451), ("delivered", 250)]
    assert sink.count == 1


@pytest.mark.parametrize(("local", "code"), [("bounce", 550), ("refuse-data", 554)])
async def test_a_hard_failure_is_final(world: MailWorld, local: str, code: int) -> None:
    mail_id = await world.send(f"{local}@example.org")
    mail = await world.until(mail_id, lambda mail: mail.phase is Phase.BOUNCED)
    assert [(a.outcome, a.reply.code) for a in mail.attempts] == [("bounced", code)]


async def test_an_answer_lost_after_the_text_is_unknown_and_never_sent_twice(world: MailWorld, sink: Sink) -> None:
    mail_id = await world.send("drop-after-data@example.org")
    mail = await world.until(mail_id, lambda mail: mail.phase is Phase.OUTCOME_UNKNOWN)
    assert len(mail.attempts) == 1
    assert sink.count == 1


async def test_a_connection_lost_before_the_text_is_only_a_failure(
    own_nats_server: NatsServer, tmp_path: Path, sink: Sink
) -> None:
    async with mail_world(own_nats_server.url, tmp_path, sink, expire_after=1.5) as world:
        mail_id = await world.send("drop-before-data@example.org")
        mail = await world.until(mail_id, lambda mail: mail.phase is Phase.EXPIRED)
        assert len(mail.attempts) >= 2
        assert {a.outcome for a in mail.attempts} == {"deferred"}
        assert sink.count == 0


async def test_a_server_that_is_away_is_waited_for(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with Sink() as gone:
        pass
    async with mail_world(own_nats_server.url, tmp_path, gone) as world:
        mail_id = await world.send("ann@example.org")
        mail = await world.until(mail_id, lambda mail: len(mail.attempts) >= 2)
        assert mail.attempts[0].outcome == "deferred"
        async with gone:
            await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
        assert gone.count == 1


async def test_a_slow_domain_holds_up_no_other(own_nats_server: NatsServer, tmp_path: Path) -> None:
    async with Sink(slow_seconds=300) as slow, Sink() as quick:
        options = {"routes": (f"slow.example={slow.host}:{slow.port}",), "smtp_data_timeout": 300.0}
        async with mail_world(own_nats_server.url, tmp_path, quick, smtp_mails_per_domain=2, **options) as world:
            await asyncio.gather(*(world.send("slow@slow.example") for _ in range(30)))
            ids = await asyncio.gather(*(world.send("ann@example.org") for _ in range(30)))
            await quick.until(30)
            assert slow.count <= 2
            for mail_id in ids:
                await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)


async def test_what_waits_for_a_busy_domain_waits_in_the_log(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.mail.delivery.TURN_WAIT", 0.05)
    async with (
        Sink(slow_seconds=0.2) as slow,
        mail_world(
            own_nats_server.url,
            tmp_path,
            slow,
            smtp_mails_per_domain=2,
            smtp_waiting_per_domain=1,
            smtp_data_timeout=5.0,
        ) as world,
    ):
        ids = await asyncio.gather(*(world.send("slow@example.org") for _ in range(12)))
        mails = [await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED) for mail_id in ids]
        assert slow.count == 12
        assert {len(mail.attempts) for mail in mails} == {1}


async def test_bad_requests_are_refused_with_their_reason(world: MailWorld) -> None:
    def request(**fields: object) -> pb.SendMailRequest:
        made = mail_to("ann@example.org")
        made.MergeFrom(pb.SendMailRequest(**fields))  # type: ignore[arg-type]
        return made

    for bad, code, reason in [
        (request(template=mail_pb2.TemplateContent(template="no-such")), "FAILED_PRECONDITION", "UNKNOWN_TEMPLATE"),
        (
            request(template=mail_pb2.TemplateContent(template="order-receipt", variables_json='{"name": "Ann"}')),
            "INVALID_ARGUMENT",
            "TEMPLATE_FAILED",
        ),
        (
            request(template=mail_pb2.TemplateContent(template="order-receipt", variables_json="[1")),
            "INVALID_ARGUMENT",
            "TEMPLATE_FAILED",
        ),
        (
            request(**{"from": mail_pb2.Mailbox(address="eve@elsewhere.example")}),
            "PERMISSION_DENIED",
            "SENDER_NOT_ALLOWED",
        ),
        (request(to=mail_pb2.Mailbox(address="nobody")), "INVALID_ARGUMENT", "INVALID_FIELD"),
        (request(content=mail_pb2.MailContent(subject="a\nb")), "INVALID_ARGUMENT", "INVALID_FIELD"),
        (request(request_id="8b0f8c2e-8d6f-4c1a-9a55-0d7b7a5b6f10"), "INVALID_ARGUMENT", "INVALID_FIELD"),
    ]:
        assert await refused(world.call("SendMail", bad)) == (grpc.StatusCode[code], reason)
    assert await refused(world.call("GetMail", pb.GetMailRequest(mail_id="nothing"))) == (
        grpc.StatusCode.NOT_FOUND,
        "NOT_FOUND",
    )


async def test_tenants_and_roles_are_kept_apart(world: MailWorld) -> None:
    mail_id = await world.send("ann@example.org")
    query = pb.GetMailRequest(mail_id=mail_id)
    assert (await refused(world.call("GetMail", query, tenant="other")))[0] is grpc.StatusCode.NOT_FOUND
    for role in ("customer", "shop", "courier"):
        assert (await refused(world.call("GetMail", query, roles=(role,))))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert (await refused(world.call("SendMail", mail_to("a@example.org"), roles=(role,))))[1] == "FORBIDDEN"


async def test_many_mails_over_one_stream_and_a_bad_one_ends_nothing(world: MailWorld, sink: Sink) -> None:
    good = [mail_to(f"to{number}@example.org") for number in range(600)]
    bad = [mail_to("nobody"), mail_to("ann@example.org", **{"from": mail_pb2.Mailbox(address="eve@elsewhere.example")})]
    mails = [*good[:300], *bad, *good[300:], good[0]]

    async def frames() -> AsyncIterator[pb.SendMailsRequest]:
        for at in range(0, len(mails), 64):
            yield pb.SendMailsRequest(mails=mails[at : at + 64])

    results: list[pb.SendMailResult] = []
    async for frame in world.call("SendMails", frames()):
        results.extend(frame.results)
    assert len(results) == len(mails)
    errors = {result.request_id: reason_in(result.error) for result in results if result.HasField("error")}
    assert errors == {bad[0].request_id: "INVALID_FIELD", bad[1].request_id: "SENDER_NOT_ALLOWED"}
    assert [result.replayed for result in results].count(True) == 1
    await sink.until(600)
    assert len({mail.recipient for mail in sink.mails}) == 600


async def test_a_stream_ends_politely_when_the_server_drains(world: MailWorld, sink: Sink) -> None:
    call = world.call("SendMails")
    await call.write(pb.SendMailsRequest(mails=[mail_to("ann@example.org")]))
    assert [result.replayed for result in (await call.read()).results] == [False]
    drain = asyncio.create_task(world.hosted.server.drain())
    assert (await call.read()).reconnect_after_ms > 0
    assert await call.read() is grpc.aio.EOF
    await drain
    await sink.until(1)


async def test_a_frame_of_too_many_mails_ends_the_stream(world: MailWorld) -> None:
    call = world.call("SendMails")
    await call.write(pb.SendMailsRequest(mails=[mail_to("ann@example.org") for _ in range(65)]))
    code, reason = await refused(call.read())
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_templates_are_rendered_with_their_variables(world: MailWorld, sink: Sink) -> None:
    request = pb.SendMailRequest(
        request_id=request_id(),
        to=mail_pb2.Mailbox(address="ann@example.org", name="Ann"),
        template=mail_pb2.TemplateContent(
            template="order-confirmation",
            variables_json='{"name": "Änn <b>", "order_id": "7", "total": "1.00 GBP", "lines": [{"title": "Tea & Pot",'
            ' "quantity": 2, "amount": "1.00 GBP"}]}',
        ),
    )
    mail_id = (await world.call("SendMail", request)).mail_id
    await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
    parts = {
        part.get_content_type(): part.get_payload(decode=True)
        for part in message_from_bytes(sink.mails[0].data).walk()
        if not part.is_multipart()
    }
    text, html = (bytes(parts[kind]).decode() for kind in ("text/plain", "text/html"))
    assert "Änn <b>" in text
    assert "2 x Tea & Pot: 1.00 GBP" in text
    assert "Änn &lt;b&gt;" in html
    assert "Tea &amp; Pot" in html
    assert (await world.get(mail_id)).template == "order-confirmation"


async def test_an_opening_is_written_down_and_forged_ones_are_not(world: MailWorld, sink: Sink) -> None:
    mail_id = await world.send("ann@example.org", track_opens=True)
    await world.until(mail_id, lambda mail: mail.phase is Phase.DELIVERED)
    html = next(
        part.get_payload(decode=True)
        for part in message_from_bytes(sink.mails[0].data).walk()
        if part.get_content_type() == "text/html"
    )
    path = bytes(html).decode().partition('src="http://127.0.0.1:8080')[2].partition('"')[0]
    assert world.house.pictures is not None
    base = f"http://127.0.0.1:{world.house.pictures.port}"
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(base + path) as answer:
                assert (answer.status, answer.content_type) == (200, "image/gif")
                assert "no-store" in answer.headers["Cache-Control"]
        for forged in (path.replace("/o/", "/o/A"), "/o/AAAA.gif", "/o/.gif", "/", path[:-6] + ".gif"):
            async with session.get(base + forged) as answer:
                assert answer.status == 404
    mail = await world.get(mail_id)
    assert mail.opens == 1
    assert mail.HasField("first_open_time")


async def test_errors_name_no_address(world: MailWorld) -> None:
    try:
        await world.call("SendMail", mail_to("very-private-person@@example.org"))
    except grpc.aio.AioRpcError as error:
        assert "very-private-person" not in f"{error.details()}{error.trailing_metadata()}"
    else:
        raise AssertionError("it was taken")
    assert error_details_pb2.ErrorInfo
