"""What standalone runs, and what it tells each program by its environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.standalone import broker, cassandra, keys, ready
from services.standalone.child import Program, python
from services.standalone.config import StandaloneSettings
from services.standalone.home import Home
from services.standalone.keys import Keys
from services.standalone.ports import HOST, CqlPorts, Ports

LOG, PARTNERS, SERVICES = 0, 1, 2
"""Stages: what is ended later stands below."""
LEDGERS = ("chat", "order", "mail")
"""The services that remember."""
_DRAIN_SECONDS = "5"


def programs(
    settings: StandaloneSettings, home: Home, secrets: Keys, ports: Ports, tell: Callable[[str], None]
) -> list[Program]:
    """Give all programs, the log server first; ``tell`` hears what takes its time. Raises NoBroker, NoCassandra, OSError."""
    configuration = broker.write_configuration(home, secrets, ports)
    shared = {**shared_by_all(settings, home, secrets, broker.url(secrets, ports)), "TRADEWIND_LOG_EXCLUSIVE": "true"}
    stores: list[Program] = []
    if isinstance(ports, CqlPorts):
        cluster = cassandra.Cluster.at(home.cassandra, 1, ports.cql, ports.cql_storage)
        stores = cluster.programs(LEDGERS, stage=LOG, tell=tell)
        shared.update(cluster.settings())
    chat = {**chat_settings(home), **push_settings(ports), **download_settings(secrets, ports, ports.downloads)}
    return [
        Program(
            "nats",
            (broker.program(), "--config", str(configuration)),
            ready.greeting(ports.nats, b"INFO "),
            LOG,
            log_suffix=".log",
        ),
        *stores,
        payments("payments", ports.payments, shared, home),
        inbox("inbox", ports.inbox, shared, home),
        push("push", ports.push, shared, home),
        service("chat", "services.chat", ports.chat, shared, chat),
        service("order", "services.order", ports.order, shared, order_settings(home, ports)),
        service("mail", "services.mail", ports.mail, shared, mail_settings(home, secrets, ports, ports.tracking)),
    ]


def service(
    name: str, module: str, port: int, shared: Mapping[str, str], own: Mapping[str, str], stage: int = SERVICES
) -> Program:
    """Give a program that serves gRPC; ``own`` are its settings, without the prefix of the variables."""
    environment = {f"TRADEWIND_{key}": value for key, value in own.items()}
    return Program(
        name,
        python(module),
        ready.serving(port),
        stage,
        {**shared, "TRADEWIND_LISTEN": f"{HOST}:{port}", **environment},
        ports={"grpc": port},
    )


def payments(name: str, port: int, shared: Mapping[str, str], home: Home) -> Program:
    """Give the payment simulator."""
    own = {"STORE_FILE": str(home.archive / "payments.db")}
    return service(name, "services.payments_simulator", port, shared, own, PARTNERS)


def push(name: str, port: int, shared: Mapping[str, str], home: Home) -> Program:
    """Give the push simulator."""
    own = {"STORE_FILE": str(home.archive / "push.db")}
    return service(name, "services.push_simulator", port, shared, own, PARTNERS)


def inbox(name: str, port: int, shared: Mapping[str, str], home: Home) -> Program:
    """Give the SMTP inbox."""
    environment = {"TRADEWIND_LISTEN": f"{HOST}:{port}", "TRADEWIND_INBOX_DIR": str(home.inbox)}
    return Program(
        name,
        python("services.standalone.inbox"),
        ready.greeting(port, b"220"),
        PARTNERS,
        {**shared, **environment},
        ports={"smtp": port},
    )


def shared_by_all(settings: StandaloneSettings, home: Home, secrets: Keys, nats_urls: str) -> dict[str, str]:
    """What every service is told."""
    return {
        "TRADEWIND_NATS_URLS": nats_urls,
        "TRADEWIND_AUTH_PUBLIC_KEY_FILES": str(secrets.verifying),
        "TRADEWIND_SERVICE_KEY_FILE": str(secrets.signing),
        "TRADEWIND_TRACE_DIR": str(home.traces),
        "TRADEWIND_TRACE_RATIO": str(settings.trace_ratio),
        "TRADEWIND_DRAIN_GRACE": _DRAIN_SECONDS,
        "PYTHONUNBUFFERED": "1",
    }


def chat_settings(home: Home) -> dict[str, str]:
    """What Chat is told."""
    return {"STORE_FILE": str(home.archive / "chat.db"), "PERSON_KEY_FILE": str(Keys(home.keys).persons)}


def download_settings(secrets: Keys, ports: Ports, downloads_port: int) -> dict[str, str]:
    """What Chat is told of attachments; it serves them on ``downloads_port``, and people reach them at that of ``ports``."""
    return {
        "ATTACHMENT_KEY_FILE": str(secrets.attachments),
        "ATTACHMENT_LISTEN": f"{HOST}:{downloads_port}",
        "ATTACHMENT_URL": keys.endpoints(ports)["downloads"],
    }


def push_settings(ports: Ports) -> dict[str, str]:
    """What Chat is told where there is a push simulator."""
    return {"PUSH_GATEWAY": f"{HOST}:{ports.push}"}


def order_settings(home: Home, ports: Ports) -> dict[str, str]:
    """What Order is told."""
    return {
        "STORE_FILE": str(home.archive / "order.db"),
        "PAYMENT_GATEWAY": f"{HOST}:{ports.payments}",
    }


def mail_settings(home: Home, secrets: Keys, ports: Ports, tracking_port: int) -> dict[str, str]:
    """What Mail is told; it serves pictures on ``tracking_port``, and people reach them at the tracking port of ``ports``."""
    return {
        "STORE_FILE": str(home.archive / "mail.db"),
        "DKIM_KEY_FILE": str(secrets.dkim),
        "TRACKING_KEY_FILE": str(secrets.tracking),
        "TRACKING_LISTEN": f"{HOST}:{tracking_port}",
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
