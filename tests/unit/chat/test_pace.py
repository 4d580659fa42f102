"""What is charged to whom, and counted where it is refused."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.chat import domain
from services.chat.pace import Pace
from services.ledger.errors import StoreUnavailable
from services.runtime.call import Caller
from services.runtime.errors import Refused
from services.runtime.limits import Rate

ANN = Caller("acme", "ann", frozenset({"customer"}))
BOB = Caller("acme", "bob", frozenset({"customer"}))
EVE = Caller("acme", "eve", frozenset({"customer"}))
BOT = Caller("acme", "bot", frozenset({"service"}))


async def is_member(caller: Caller, _conversation_id: str) -> bool:
    return caller is not EVE


def test_what_one_conversation_refuses_is_charged_to_nobody() -> None:
    pace = Pace(Rate(0.001, 10), Rate(0.001, 4))
    assert pace.take(ANN, {"one": 4}).seconds == 0.0
    assert pace.take(ANN, {"two": 3, "one": 1}).seconds > 0
    assert pace.take(BOB, {"two": 4}).seconds == 0.0  # all of the conversation that the refused frame was for as well
    assert pace.take(ANN, {"three": 4}).seconds == 0.0
    assert pace.take(ANN, {"four": 2}).seconds == 0.0  # ten of its own in all
    assert pace.take(ANN, {"four": 1}).seconds > 0


def test_services_and_other_tenants_have_their_own() -> None:
    pace = Pace(Rate(0.001, 1), Rate(0.001, 1))
    assert pace.take(ANN, {"one": 1}).seconds == 0.0
    assert pace.take(Caller("other", "ann", frozenset({"customer"})), {"one": 1}).seconds == 0.0
    assert [pace.take(BOT, {"one": 100}).seconds for _ in range(3)] == [0.0] * 3


def test_no_rate_is_no_limit() -> None:
    assert Pace().take(ANN, {"one": 1_000_000}).seconds == 0.0


def test_refusals_are_counted_by_limit() -> None:
    reader = InMemoryMetricReader()
    pace = Pace(Rate(0.001, 3), Rate(0.001, 2))
    pace.metered(MeterProvider([reader]).get_meter("test"))
    for counts in ({"one": 2}, {"one": 1}, {"two": 1}, {"two": 1}, {"two": 1}):
        wait = pace.take(ANN, counts)
        if wait.seconds:
            pace.count(wait)
    found = {}
    data = reader.get_metrics_data()
    assert data is not None
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                assert metric.name == "tradewind.limits.refused"
                for point in metric.data.data_points:
                    found[(point.attributes or {})["limit"]] = point.value  # type: ignore[union-attr]
    assert found == {"conversation_messages": 1, "user_messages": 2}


async def test_what_a_conversation_s_rules_refuse_is_charged_to_the_user_alone() -> None:
    pace = Pace(Rate(0.001, 3), Rate(0.001, 1))
    assert await pace.admit(ANN, "one", is_member)
    pace.refused(ANN, "one", domain.not_found())
    assert await pace.admit(ANN, "one", is_member)
    pace.refused(ANN, "one", StoreUnavailable("it may have been said"))
    assert pace.take(BOB, {"one": 1}).seconds > 0
    assert pace.take(ANN, {"two": 1}).seconds == 0.0
    assert pace.take(ANN, {"three": 1}).seconds > 0


async def test_whoever_may_not_know_of_a_conversation_is_not_told_that_it_is_full() -> None:
    pace = Pace(Rate(0.001, 2), Rate(0.001, 1))
    assert await pace.admit(ANN, "one", is_member)
    with pytest.raises(Refused):
        await pace.admit(BOB, "one", is_member)
    for _ in range(2):
        assert not await pace.admit(EVE, "one", is_member)
    with pytest.raises(Refused):  # its own limit it is told
        await pace.admit(EVE, "one", is_member)
