"""The sending engine against real SMTP servers."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtpd.smtp
import pytest

from services.mail.domain import Reply
from services.mail.smtp.connection import Endpoint, OutcomeLost, Rejected, Session, Timeouts, Tls, stuffed
from services.mail.smtp.pool import Limits, Pool
from services.mail.smtp.replies import ConnectionLost
from services.mail.smtp.routes import NoRoute, Routes, RouteTable, order
from tests.smtp_sink import Sink, certificate

QUICK = Timeouts(connect=30.0, command=30.0, data=30.0)
TEXT = b"Subject: Hello\r\n\r\nHello\r\n.\r\n..\r\n.dots\r\n"


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as server:
        yield server


async def opened(server: Sink, tls: Tls = Tls.OPPORTUNISTIC, context: ssl.SSLContext | None = None) -> Session:
    return await Session.open(Endpoint("localhost", server.port, tls), "client.example", QUICK, context)


async def send(session: Session, to: str, text: bytes = TEXT) -> Reply:
    return await session.send("orders@tradewind.example", to, text)


@pytest.mark.parametrize("pipelining", [True, False])
async def test_many_mails_go_over_one_session(pipelining: bool) -> None:
    async with Sink(pipelining=pipelining) as server:
        session = await opened(server)
        for number in range(20):
            assert await send(session, f"to{number}@example.org") == Reply(250, "2.0.0")
        await session.close()
        assert server.connections == 1
        assert [mail.data for mail in server.mails] == [TEXT] * 20
        assert server.commands[-1] == b"QUIT"


@pytest.mark.parametrize("pipelining", [True, False])
async def test_refusals_leave_the_session_usable(pipelining: bool) -> None:
    async with Sink(pipelining=pipelining) as server:
        session = await opened(server)
        for to, reply in {
            "bounce@example.org": Reply(550, "5.1.1"),
            "defer@example.org": Reply(451, "4.3.0"),
            "refuse-data@example.org": Reply(554, "5.7.1"),
        }.items():
            with pytest.raises(Rejected) as rejected:
                await send(session, to)
            assert rejected.value.reply == reply
            assert session.usable
        assert await send(session, "ann@example.org") == Reply(250, "2.0.0")
        assert server.count == 1


async def test_a_connection_lost_before_the_text_is_known_to_have_taken_nothing(sink: Sink) -> None:
    session = await opened(sink)
    with pytest.raises(ConnectionLost):
        await send(session, "drop-before-data@example.org")
    assert sink.count == 0
    assert not session.usable


async def test_a_connection_lost_after_the_text_is_not_known(sink: Sink) -> None:
    session = await opened(sink)
    with pytest.raises(OutcomeLost):
        await send(session, "drop-after-data@example.org")
    assert sink.count == 1


async def test_a_server_that_never_answers_the_text_is_given_up_as_not_known() -> None:
    async with Sink(slow_seconds=60) as server:
        endpoint = Endpoint("127.0.0.1", server.port)
        session = await Session.open(endpoint, "client.example", Timeouts(30.0, 30.0, 0.2))
        with pytest.raises(OutcomeLost):
            await send(session, "slow@example.org")
        assert not session.usable


async def test_nobody_there() -> None:
    async with Sink() as server:
        port = server.port
    with pytest.raises(ConnectionLost):
        await Session.open(Endpoint("127.0.0.1", port), "client.example", QUICK)


@pytest.mark.parametrize("greeting", [b"554 5.3.2 closed", b"HTTP/1.1 400 Bad Request", b"421 4.3.2 later"])
async def test_who_does_not_greet_is_left(greeting: bytes) -> None:
    async with Sink(greeting=greeting) as server:
        with pytest.raises(ConnectionLost):
            await opened(server)


async def test_a_server_that_says_nothing_is_left_in_time() -> None:
    server = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(30), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(ConnectionLost):
            await Session.open(Endpoint("127.0.0.1", port), "client.example", Timeouts(30.0, 0.1, 0.1))


async def test_too_large_a_text_is_not_even_sent() -> None:
    async with Sink(size=1000) as server:
        session = await opened(server)
        with pytest.raises(Rejected) as rejected:
            await send(session, "ann@example.org", b"x" * 2000)
        assert rejected.value.reply == Reply(552, "5.3.4")
        assert b"MAIL" not in server.commands


async def test_opportunistic_tls_takes_any_certificate(tmp_path: Path) -> None:
    async with Sink(tls=server_context(tmp_path, "somebody.example")) as server:
        session = await opened(server)
        assert session.encrypted
        assert await send(session, "ann@example.org", b"x" * 300_000) == Reply(250, "2.0.0")
        await session.close()


async def test_required_tls_verifies(tmp_path: Path) -> None:
    async with Sink(tls=server_context(tmp_path, "localhost")) as server:
        with pytest.raises(ConnectionLost):
            await opened(server, Tls.REQUIRED)
        trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        session = await opened(server, Tls.REQUIRED, trusting)
        assert session.encrypted
        await session.close()


async def test_required_tls_does_without_no_mail(sink: Sink) -> None:
    with pytest.raises(ConnectionLost):
        await opened(sink, Tls.REQUIRED)


async def test_another_implementation_understands_us(tmp_path: Path) -> None:
    texts: list[bytes] = []

    class Keeper:
        async def handle_DATA(self, _server: object, _session: object, envelope: aiosmtpd.smtp.Envelope) -> str:
            assert isinstance(envelope.content, bytes)
            texts.append(envelope.content)
            return "250 2.0.0 taken"

    loop = asyncio.get_running_loop()
    context = server_context(tmp_path, "localhost")
    server = await loop.create_server(
        lambda: aiosmtpd.smtp.SMTP(Keeper(), tls_context=context, loop=loop), "127.0.0.1", 0
    )
    async with server:
        session = await Session.open(Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]), "client.example", QUICK)
        assert session.encrypted
        await send(session, "ann@example.org")
        await send(session, "bob@example.org")
        await session.close()
    assert texts == [TEXT, TEXT]


def server_context(folder: Path, host: str) -> ssl.SSLContext:
    cert, key = certificate(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def test_dots_are_doubled_and_the_last_line_ends() -> None:
    assert stuffed(b".a\r\nb\r\n.\r\n..c") == b"..a\r\nb\r\n..\r\n...c\r\n"


async def test_sessions_are_kept_and_bounded(sink: Sink) -> None:
    pool = Pool("client.example", Limits(per_server=3), QUICK)
    endpoint = Endpoint("127.0.0.1", sink.port)

    async def one(number: int) -> None:
        async with pool.session(endpoint) as session:
            await send(session, f"to{number}@example.org")

    await asyncio.gather(*(one(number) for number in range(100)))
    assert sink.count == 100
    assert sink.connections <= 3
    await pool.close()


async def test_a_slow_server_holds_up_no_other() -> None:
    async with Sink(slow_seconds=300) as slow, Sink() as quick:
        pool = Pool("client.example", Limits(per_server=2), Timeouts(30.0, 30.0, 300.0))

        async def one(server: Sink, to: str) -> None:
            async with pool.session(Endpoint("127.0.0.1", server.port)) as session:
                await send(session, to)

        stuck = [asyncio.create_task(one(slow, "slow@example.org")) for _ in range(20)]
        await slow.until(2)
        async with asyncio.timeout(60):
            await asyncio.gather(*(one(quick, "ann@example.org") for _ in range(50)))
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await pool.close()
        assert (slow.count, quick.count) == (2, 50)


async def test_a_session_the_server_has_left_is_not_used_again(sink: Sink) -> None:
    pool = Pool("client.example", Limits(), QUICK)
    endpoint = Endpoint("127.0.0.1", sink.port)
    async with pool.session(endpoint) as session:
        await send(session, "ann@example.org")
    for transport in list(sink.open):
        transport.write(b"421 4.3.2 bye\r\n")
        transport.close()
    while session.usable:
        await asyncio.sleep(0)
    async with pool.session(endpoint) as other:
        assert other is not session
        await send(other, "ann@example.org")
    await pool.close()
    assert sink.connections == 2


async def test_idle_sessions_say_goodbye(sink: Sink) -> None:
    pool = Pool("client.example", Limits(idle=0.1), QUICK)
    async with pool.session(Endpoint("127.0.0.1", sink.port)) as session:
        await send(session, "ann@example.org")
    async with asyncio.timeout(60):
        while sink.open:
            await asyncio.sleep(0.01)
    assert sink.commands[-1] == b"QUIT"
    await pool.close()


async def test_a_session_is_left_after_so_many_mails(sink: Sink) -> None:
    pool = Pool("client.example", Limits(mails_per_session=5), QUICK)
    for _ in range(10):
        async with pool.session(Endpoint("127.0.0.1", sink.port)) as session:
            await send(session, "ann@example.org")
    await pool.close()
    assert sink.connections == 2


async def test_routes_come_before_the_smart_host() -> None:
    host, own = Endpoint("smart.example", 25), Endpoint("127.0.0.1", 2525)
    routes = Routes(RouteTable({"example.org": own}, default=host))
    assert await routes.of("example.org") == (own,)
    assert await routes.of("example.net") == (host,)


def test_servers_stand_in_order_of_preference() -> None:
    endpoints = order([(20, "c.example"), (10, "a.example"), (10, "b.example")], Tls.NEVER)
    assert {each.host for each in endpoints[:2]} == {"a.example", "b.example"}
    assert endpoints[2].host == "c.example"


def test_a_null_mx_takes_no_mail() -> None:
    with pytest.raises(NoRoute) as none:
        order([(0, "")], Tls.NEVER)
    assert none.value.reply == Reply(556, "5.1.10")
