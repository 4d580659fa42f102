"""Nobody is told what is for another, and nobody goes untold for what is wrong with another's conversation."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tradewind.chat.v1 import device_service_pb2 as devices_pb
from tradewind.chat.v1 import push_pb2

from services.chat.push.devices import DEVICES
from services.ledger.archive import Row
from services.ledger.errors import HistoryGap
from services.ledger.ids import AggregateId
from services.ledger.ledger import Ledger
from tests.integration.chat_world import TENANT
from tests.integration.push_world import devices_of, push_world, register
from tests.servers import NatsServer
from tests.tally import eventually


def data_of(notification: Any) -> tuple[str, str, int | None]:
    badge = notification.badge if notification.HasField("badge") else None
    return notification.title, notification.body, badge


async def test_a_device_that_changed_hands_tells_nothing_to_who_has_it_now(
    own_nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its row may stay with who had it: two register it at once, or a process dies between the rows of a store that writes each alone."""
    async with push_world(own_nats_server.url, tmp_path) as (world, pushed):
        ann, bob, cy = world.user("ann"), world.user("bob"), world.user("cy")
        await register(bob, "phone", device_id="bought-from-ann")
        left = push_pb2.StoredDevice(device=devices_pb.Device(device_id="sold"), token="phone")
        row = Row(DEVICES, f"{TENANT}/ann", "d/sold", left.SerializeToString(), time.time_ns() // 1000)
        await world.ledger.put_rows([row])
        with_ann = (await cy.create_group("ann", title="For Ann")).conversation_id
        with_bob = (await cy.create_group("bob", title="For Bob")).conversation_id
        await cy.send(with_ann, "for Ann alone")
        await cy.send(with_bob, "for Bob")

        async def it_is_forgotten() -> bool:
            answer = await devices_of(ann).ListDevices(devices_pb.ListDevicesRequest(), metadata=ann.metadata)
            return not answer.devices

        await eventually(it_is_forgotten)
        assert [data_of(each)[0] for each in await pushed.until("phone", 1)] == ["For Bob"]
        await cy.send(with_bob, "again")  # and it is still bob's
        assert {data_of(each)[0] for each in await pushed.until("phone", 2)} == {"For Bob", "For Bob (2)"}


async def test_a_gap_in_one_conversation_keeps_nobody_of_another_untold(
    own_nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with push_world(own_nats_server.url, tmp_path) as (world, pushed):
        ann, bob = world.user("ann"), world.user("bob")
        broken = (await ann.create_group("bob", title="Broken")).conversation_id
        whole = (await ann.create_group("bob", title="Whole")).conversation_id
        await register(bob, "bob-phone")
        read = Ledger.read

        async def gap(ledger: Ledger, aggregate: AggregateId, **options: Any) -> Any:
            if aggregate.id == broken:
                raise HistoryGap("an entry is missing")
            return await read(ledger, aggregate, **options)

        monkeypatch.setattr(Ledger, "read", gap)
        await ann.send(whole, "Hello")
        (told,) = await pushed.until("bob-phone", 1, seconds=20)
        assert data_of(told) == ("Whole", "ann: Hello", None)  # not all that is unread can be counted
