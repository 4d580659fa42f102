"""What standalone runs, and what it tells each program by its environment."""

from __future__ import annotations

from services.standalone import broker, keys, ready
from services.standalone.child import Program, python
from services.standalone.config import StandaloneSettings
from services.standalone.home import Home
from services.standalone.keys import Keys
from services.standalone.ports import HOST, Ports

_LOG, _PARTNERS, _SERVICES = 0, 1, 2
"""Stages: what is ended later stands below."""
_DRAIN_SECONDS = "5"


def programs(settings: StandaloneSettings, home: Home, secrets: Keys, ports: Ports) -> list[Program]:
    """Give all programs, the log server first. Raises NoBroker, OSError."""
    configuration = broker.write_configuration(home, secrets, ports)
    shared = _shared(settings, home, secrets, ports)
    return [
        Program(
            "nats",
            (broker.program(), "--config", str(configuration)),
            ready.greeting(ports.nats, b"INFO "),
            _LOG,
            log_suffix=".log",
        ),
        _service(
            "payments",
            "services.payments_simulator",
            ports.payments,
            _PARTNERS,
            shared,
            {"STORE_FILE": str(home.archive / "payments.db")},
        ),
        Program(
            "inbox",
            python("services.standalone.inbox"),
            ready.greeting(ports.inbox, b"220"),
            _PARTNERS,
            {**shared, "TRADEWIND_LISTEN": f"{HOST}:{ports.inbox}", "TRADEWIND_INBOX_DIR": str(home.inbox)},
        ),
        _service("chat", "services.chat", ports.chat, _SERVICES, shared, {"STORE_FILE": str(home.archive / "chat.db")}),
        _service("order", "services.order", ports.order, _SERVICES, shared, _order(home, ports)),
        _service("mail", "services.mail", ports.mail, _SERVICES, shared, _mail(home, secrets, ports)),
    ]


def _service(name: str, module: str, port: int, stage: int, shared: dict[str, str], own: dict[str, str]) -> Program:
    environment = {f"TRADEWIND_{key}": value for key, value in own.items()}
    return Program(
        name,
        python(module),
        ready.serving(port),
        stage,
        {**shared, "TRADEWIND_LISTEN": f"{HOST}:{port}", **environment},
    )


def _shared(settings: StandaloneSettings, home: Home, secrets: Keys, ports: Ports) -> dict[str, str]:
    """What every service is told."""
    return {
        "TRADEWIND_NATS_URLS": broker.url(secrets, ports),
        "TRADEWIND_AUTH_PUBLIC_KEY_FILES": str(secrets.verifying),
        "TRADEWIND_SERVICE_KEY_FILE": str(secrets.signing),
        "TRADEWIND_TRACE_DIR": str(home.traces),
        "TRADEWIND_TRACE_RATIO": str(settings.trace_ratio),
        "TRADEWIND_DRAIN_GRACE": _DRAIN_SECONDS,
        "TRADEWIND_LOG_EXCLUSIVE": "true",
        "PYTHONUNBUFFERED": "1",
    }


def _order(home: Home, ports: Ports) -> dict[str, str]:
    return {
        "STORE_FILE": str(home.archive / "order.db"),
        "PAYMENT_GATEWAY": f"{HOST}:{ports.payments}",
    }


def _mail(home: Home, secrets: Keys, ports: Ports) -> dict[str, str]:
    return {
        "STORE_FILE": str(home.archive / "mail.db"),
        "DKIM_KEY_FILE": str(secrets.dkim),
        "TRACKING_KEY_FILE": str(secrets.tracking),
        "TRACKING_LISTEN": f"{HOST}:{ports.tracking}",
        "TRACKING_URL": keys.endpoints(ports)["tracking"],
        "SMARTHOST": f"{HOST}:{ports.inbox}",
        # The inbox is on this machine and comes back within a second.
        "RETRY_FIRST": "1",
        "RETRY_MOST": "30",
        # And answers within moments, so that an attempt whose process died is soon given up.
        "SMTP_COMMAND_TIMEOUT": "4",
        "SMTP_DATA_TIMEOUT": "6",
        "SMTP_ATTEMPT_MARGIN": "5",
    }
