"""What the push simulator's tokens make it do, over a real port."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tradewind.push.v1 import push_gateway_service_pb2 as pb
from tradewind.push.v1 import push_inbox_service_pb2 as inbox_pb
from tradewind.push.v1.push_gateway_service_pb2_grpc import PushGatewayServiceStub
from tradewind.push.v1.push_inbox_service_pb2_grpc import PushInboxServiceStub

from services.push_simulator.behaviour import Behaviour, behaviour_of
from services.runtime.tokens import Signer
from tests.integration.push_world import Simulator, simulator


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with simulator(tmp_path) as found:
        yield found


async def pushed(gateway: Simulator, folder: Path, *names: tuple[str, str]) -> list[int]:
    """Push one notification a name and token; what became of each, or nothing where the call failed."""
    header = (
        ("authorization", f"Bearer {Signer.from_file(folder / 'service.pem').mint('chat', 'acme', ['service'])}"),
    )
    notifications = [pb.Notification(notification_id=name, device_token=token) for name, token in names]
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        try:
            answer = await PushGatewayServiceStub(channel).Push(
                pb.PushRequest(notifications=notifications), metadata=header
            )
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return []
    assert [result.notification_id for result in answer.results] == [name for name, _ in names]
    return [result.outcome for result in answer.results]


async def test_each_is_taken_once(gateway: Simulator, tmp_path: Path) -> None:
    delivered = pb.PUSH_OUTCOME_DELIVERED
    assert await pushed(gateway, tmp_path, ("1", "phone"), ("2", "phone"), ("1", "phone")) == [delivered] * 3
    assert await pushed(gateway, tmp_path, ("2", "phone")) == [delivered]
    assert await gateway.times("phone") == [2, 2]
    assert [each.notification_id for each in await gateway.came("phone")] == ["1", "2"]
    assert await gateway.came("phone", tenant="other") == []


async def test_tokens_that_fail(gateway: Simulator, tmp_path: Path) -> None:
    delivered, invalid, later = pb.PUSH_OUTCOME_DELIVERED, pb.PUSH_OUTCOME_TOKEN_INVALID, pb.PUSH_OUTCOME_RETRY_LATER
    assert await pushed(gateway, tmp_path, ("1", "invalid")) == [invalid]
    assert await pushed(gateway, tmp_path, ("2", "gone-after:1:a"), ("3", "gone-after:1:a")) == [delivered, invalid]
    for expected in ([later], [later], [delivered], [delivered]):
        assert await pushed(gateway, tmp_path, ("4", "later:2:a")) == expected
    for expected in ([], [delivered]):
        assert await pushed(gateway, tmp_path, ("5", "unavailable:1:a")) == expected
    assert await gateway.times("unavailable:1:a") == [1]
    for expected in ([], [delivered]):
        assert await pushed(gateway, tmp_path, ("6", "lost:1:a")) == expected
    assert await gateway.times("lost:1:a") == [2]
    assert await pushed(gateway, tmp_path, ("7", "slow:10:a")) == [delivered]


async def test_what_came_is_listed(gateway: Simulator, tmp_path: Path) -> None:
    await pushed(gateway, tmp_path, *((f"{number}", f"phone-{number % 2}") for number in range(5)))
    signer = Signer.from_file(tmp_path / "service.pem")
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        stub = PushInboxServiceStub(channel)

        async def listed(**fields: object) -> list[str]:
            header = (("authorization", f"Bearer {signer.mint('root', 'acme', ['admin'])}"),)
            answer = await stub.ListPushed(inbox_pb.ListPushedRequest(**fields), metadata=header)  # type: ignore[arg-type]
            return [each.notification.notification_id for each in answer.pushed]

        assert await listed() == ["0", "1", "2", "3", "4"]
        assert await listed(device_token="phone-1") == ["1", "3"]
        assert await listed(limit=2, after=1) == ["1", "2"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            header = (("authorization", f"Bearer {signer.mint('ann', 'acme', ['customer'])}"),)
            await stub.ListPushed(inbox_pb.ListPushedRequest(), metadata=header)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_words_that_say_nothing() -> None:
    assert behaviour_of("phone") == behaviour_of("x:1") == Behaviour()
    assert behaviour_of("later:many:a") == Behaviour(later=1)
