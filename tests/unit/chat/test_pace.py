"""What is charged to whom, and counted where it is refused."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from services.chat import domain
from services.chat.pace import Pace
from services.ledger.errors import StoreUnavailable
from services.runtime.call import Caller
from services.runtime.limits import Rate

ANN = Caller("acme", "ann", frozenset({"customer"}))
BOB = Caller("acme", "bob", frozenset({"customer"}))
BOT = Caller("acme", "bot", frozenset({"service"}))


def test_what_one_conversation_refuses_is_charged_to_nobody() -> None:
    pace = Pace(Rate(0.001, 10), Rate(0.001, 4))
    assert pace.wait(ANN, {"one": 4}) == 0.0
    assert pace.wait(ANN, {"two": 3, "one": 1}) > 0
    assert pace.wait(BOB, {"two": 4}) == 0.0  # all of the conversation that the refused frame was for as well
    assert pace.wait(ANN, {"three": 4}) == 0.0
    assert pace.wait(ANN, {"four": 2}) == 0.0  # ten of its own in all
    assert pace.wait(ANN, {"four": 1}) > 0


def test_services_and_other_tenants_have_their_own() -> None:
    pace = Pace(Rate(0.001, 1), Rate(0.001, 1))
    assert pace.wait(ANN, {"one": 1}) == 0.0
    assert pace.wait(Caller("other", "ann", frozenset({"customer"})), {"one": 1}) == 0.0
    assert [pace.wait(BOT, {"one": 100}) for _ in range(3)] == [0.0] * 3


def test_no_rate_is_no_limit() -> None:
    assert Pace().wait(ANN, {"one": 1_000_000}) == 0.0


def test_refusals_are_counted_by_limit() -> None:
    reader = InMemoryMetricReader()
    pace = Pace(Rate(0.001, 3), Rate(0.001, 2))
    pace.metered(MeterProvider([reader]).get_meter("test"))
    for counts in ({"one": 2}, {"one": 1}, {"two": 1}, {"two": 1}, {"two": 1}):
        pace.wait(ANN, counts)
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


def test_what_a_conversation_s_rules_refuse_is_charged_to_the_user_alone() -> None:
    pace = Pace(Rate(0.001, 3), Rate(0.001, 1))
    pace.admit(ANN, "one")
    pace.refused(ANN, "one", domain.not_found())
    pace.admit(ANN, "one")
    pace.refused(ANN, "one", StoreUnavailable("it may have been said"))
    assert pace.wait(BOB, {"one": 1}) > 0
    assert pace.wait(ANN, {"two": 1}) == 0.0
    assert pace.wait(ANN, {"three": 1}) > 0
