"""What Mail can be told, and what it will not take."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.mail.config import MailSettings
from services.mail.smtp.connection import Endpoint, Tls


def told(**facts: Any) -> MailSettings:
    return MailSettings(**facts)


def test_routes_and_a_smart_host_make_a_table() -> None:
    settings = told(routes=("Example.org=127.0.0.1:2525",), smarthost="smart.example:25", smtp_tls="never")
    table = settings.route_table
    assert table.domains == {"example.org": Endpoint("127.0.0.1", 2525, Tls.NEVER)}
    assert table.default == Endpoint("smart.example", 25, Tls.NEVER)


def test_without_a_smart_host_the_dns_is_asked() -> None:
    assert told().route_table.default is None


def test_the_senders_own_domain_may_be_written_from() -> None:
    settings = told(sender="shop@Shop.example", sender_domains=("Other.example",))
    assert settings.allowed_domains == {"shop.example", "other.example"}


@pytest.mark.parametrize(
    "bad",
    [
        {"routes": ("example.org",)},
        {"routes": ("=a:1",)},
        {"sender": "nobody"},
        {"smarthost": "smart.example"},
        {"hello": "a\r\nb"},
        {"tracking_url": 'http://a"><script>'},
        {"retry_first": 0},
    ],
)
def test_bad_values_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        told(**bad)
