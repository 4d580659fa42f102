"""Settings of a process: from the environment (``TRADEWIND_…``), then from the TOML file that ``TRADEWIND_CONFIG`` names, then defaults.

A service's settings extend ``RuntimeSettings`` with its own fields, all under the same prefix.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationError, model_validator
from pydantic.functional_validators import BeforeValidator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

PREFIX: Final = "TRADEWIND_"
CONFIG_FILE: Final = "TRADEWIND_CONFIG"
EXIT_CODE: Final = 2


def _split(value: object) -> object:
    """Read a list from text, separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError("must be host:port")
    return value


def _log_server(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        parts = urlsplit(text if "://" in text else f"nats://{text}")
        usable = parts.scheme in ("nats", "tls", "ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be nats://host:port, or tls, ws or wss in place of nats")
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A setting of several words, separated by commas."""
Files = Annotated[tuple[FilePath, ...], NoDecode, BeforeValidator(_split)]
"""A setting of several existing files, separated by commas."""
Address = Annotated[str, AfterValidator(_address)]
"""A setting ``host:port``; port 0 lets the system choose."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A duration in seconds."""


class Unstartable(Exception):
    """What the deployment must change before this process can start; ``run`` prints its one line and exits with code 2."""


class RuntimeSettings(BaseSettings):
    """What every service can be told. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    listen: Address = "127.0.0.1:0"
    """Where the gRPC server listens."""
    reflection: bool = True
    """Serve gRPC reflection, to anyone."""
    tls_cert_file: FilePath | None = None
    """PEM certificate chain of the server; with ``tls_key_file`` it turns TLS on."""
    tls_key_file: FilePath | None = None
    """PEM private key of the server."""
    tls_client_ca_file: FilePath | None = None
    """PEM certificates that clients must be signed by; turns mutual TLS on."""

    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """Largest message taken; four times as much is sent at most."""
    max_concurrent_streams: int = Field(default=1000, ge=1)
    """Calls under way on one connection; more wait in the client."""
    max_unary_calls: int = Field(default=2000, ge=1)
    """Unary calls under way in this process; more are refused as OVERLOADED."""
    max_streams: int = Field(default=20_000, ge=1)
    """Streams open in this process; more are refused as OVERLOADED."""
    max_caller_streams: int = Field(default=1000, ge=1)
    """Streams that one caller may have open in this process, unless it is a service; more are refused as OVERLOADED."""
    max_public_streams: int = Field(default=1000, ge=1)
    """Streams that need no token (health, reflection) open in this process, counted apart; more are refused as OVERLOADED."""
    keepalive: Seconds = 30.0
    """A connection silent for so long is asked for a sign of life, and dropped after 10 more."""
    max_connection_age: Seconds = 0.0
    """Connections are ended after about so long, so that clients spread over new servers; their streams resume. 0: never."""

    deadline_default: Seconds = Field(default=10.0, gt=0)
    """Given to a unary call whose client sets none."""
    deadline_max: Seconds = Field(default=60.0, gt=0)
    """No unary call gets longer."""
    rate_limit: Seconds = 2000.0
    """Calls and stream frames' messages a second that one caller may make; 0: no limit."""
    rate_burst: float = Field(default=4000.0, ge=1)
    """So many at once after a pause."""
    rate_callers: int = Field(default=100_000, ge=1)
    """Callers whose rate is remembered."""
    tenant_rate_limit: Seconds = 5000.0
    """Calls and stream frames' messages a second of all callers of one tenant; 0: no limit."""
    tenant_rate_burst: float = Field(default=10_000.0, ge=1)
    """So many at once after a pause."""
    tenant_share: float = Field(default=0.75, gt=0, le=1)
    """Part of the server's room for calls, and for streams, that one tenant may hold; where several hold that much together, each gets
    an equal part of the room."""
    drain_delay: Seconds = 0.0
    """After a signal, serve on for so long while load balancers notice."""
    drain_grace: Seconds = 10.0
    """Then wait at most so long for calls to end."""

    auth_public_key_files: Files = ()
    """PEM Ed25519 keys that bearer tokens are verified with."""
    auth_issuer: str = "tradewind"
    """Who must have issued a token."""
    auth_audience: str = "tradewind"
    """For whom a token must be."""
    auth_leeway: Seconds = 5.0
    """How far clocks may be apart."""
    service_key_file: FilePath | None = None
    """PEM Ed25519 private key that this service's own calls are signed with."""

    nats_urls: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(_log_server)], ...], NoDecode, BeforeValidator(_split)
    ] = (SecretStr("nats://127.0.0.1:4222"),)
    """Servers of the log; may hold credentials."""
    nats_creds_file: FilePath | None = None
    """NATS credentials (JWT and seed)."""
    nats_ca_file: FilePath | None = None
    """PEM certificates that the NATS servers are signed by; turns TLS on."""
    nats_cert_file: FilePath | None = None
    """PEM certificate of this client."""
    nats_key_file: FilePath | None = None
    """PEM private key of this client."""

    channel_ca_file: FilePath | None = None
    """PEM certificates that other services are signed by; turns TLS on for calls to them."""
    channel_cert_file: FilePath | None = None
    """PEM certificate shown to other services."""
    channel_key_file: FilePath | None = None
    """PEM private key of it."""

    otlp_endpoint: str | None = None
    """OTLP/gRPC collector for traces and metrics, as ``http://host:4317``."""
    metrics_interval: Seconds = Field(default=10.0, ge=1)
    """Between two exports of the metrics."""
    trace_dir: Path | None = None
    """Folder for spans as JSON Lines."""
    trace_file_bytes: int = Field(default=32 * 1024 * 1024, ge=64 * 1024)
    """Size at which a process begins a new file; it keeps two."""
    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    """Share of new traces that are sampled."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level logged."""

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        for kind in ("tls", "nats", "channel"):
            cert, key = f"{kind}_cert_file", f"{kind}_key_file"
            if (getattr(self, cert) is None) != (getattr(self, key) is None):
                raise ValueError(f"{PREFIX}{cert.upper()} and {PREFIX}{key.upper()} go together")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError(f"{PREFIX}TLS_CLIENT_CA_FILE needs {PREFIX}TLS_CERT_FILE")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the file."""
        path = os.environ.get(CONFIG_FILE)
        if not path:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(path))


_Settings = TypeVar("_Settings", bound=RuntimeSettings)


def load(cls: type[_Settings]) -> _Settings:
    """Read the settings, or say on standard error, one line for each bad value, what is wrong, and exit with code 2."""
    try:
        path = os.environ.get(CONFIG_FILE)
        if path and not Path(path).is_file():
            raise SettingsError("is no file")
        return cls()
    except ValidationError as error:
        lines = [_line(cls, detail) for detail in error.errors(include_url=False)]
    except SettingsError as error:
        lines = [f"{CONFIG_FILE}: {error}"]
    except (OSError, UnicodeDecodeError) as error:
        lines = [f"{CONFIG_FILE}: cannot be read ({type(error).__name__})"]
    except tomllib.TOMLDecodeError as error:
        lines = [f"{CONFIG_FILE}: is no TOML: {error}"]
    for line in lines:
        sys.stderr.write(f"{line}\n")
    sys.exit(EXIT_CODE)


def _line(cls: type[RuntimeSettings], detail: ErrorDetails) -> str:
    """Say what is wrong with one value; show the value only of settings that cannot hold a secret."""
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    name = str(detail["loc"][0])
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    shown = ""
    if _harmless(cls, name) and detail["type"] != "missing":
        shown = f", not {str(detail['input'])[:80]!r}"
    item = (
        f"value {int(detail['loc'][1]) + 1}: " if len(detail["loc"]) > 1 and isinstance(detail["loc"][1], int) else ""
    )
    return f"{PREFIX}{name.upper()}: {item}{message}{shown}"


def _harmless(cls: type[RuntimeSettings], name: str) -> bool:
    field = cls.model_fields.get(name)
    if field is None or field.annotation is None:
        return False
    kinds = {field.annotation, *get_args(field.annotation)}
    return (
        bool(kinds & {int, float, bool, Path})
        or name == "listen"
        or getattr(field.annotation, "__origin__", None) is Literal
    )
