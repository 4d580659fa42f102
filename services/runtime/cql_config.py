"""Settings of a process that keeps or prepares its store in CQL."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, FilePath, NonNegativeInt
from pydantic.functional_validators import BeforeValidator
from pydantic_settings import NoDecode

from services.runtime.config import Address, RuntimeSettings, Unstartable
from services.runtime.cql import CqlSettings

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
_COPIES: Final = re.compile(r"([\w.-]+):([1-9][0-9]?)")


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _keyspace(value: str) -> str:
    if value and not _NAME.fullmatch(value):
        raise ValueError("must be lower case letters, digits and _, at most 48")
    return value


def _replication(value: str) -> str:
    if not value.isdecimal() and not all(_COPIES.fullmatch(part.strip()) for part in value.split(",")):
        raise ValueError("must be a number of copies, or data centre:copies for each data centre, separated by commas")
    return value


class CqlConfig(RuntimeSettings):
    """Where the CQL store is. Only read where the store is one."""

    cql_contact_points: Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)] = (
        "127.0.0.1:9042",
    )
    """Some of its nodes; the others are found through them, on the first one's port."""
    cql_local_dc: str = Field("datacenter1", min_length=1)
    """The data centre whose nodes are asked; a quorum counts there."""
    cql_keyspace: Annotated[str, AfterValidator(_keyspace)] = ""
    """This service's own; tradewind_ and its name where nothing is said."""
    cql_replication: Annotated[str, AfterValidator(_replication)] = "1"
    """Copies of everything, for the command that makes the keyspace: a number, or ``dc1:3,dc2:3`` where nodes know their place."""
    cql_user: str = ""
    """Who asks, where the store wants to know."""
    cql_password_file: FilePath | None = None
    """File with the password of ``cql_user``."""
    cql_ca_file: FilePath | None = None
    """PEM certificates that the nodes are signed by; turns TLS on."""
    cql_timeout: float = Field(4.0, gt=0, le=60)
    """Seconds for one statement with all its tries; below the five that an answer of the store counts for."""
    cql_in_flight: int = Field(1024, ge=1, le=16_384)
    """Statements under way at once; more wait."""
    cql_waiting: NonNegativeInt = 50_000
    """Statements that wait beside them; more are refused."""

    def cql(self, keyspace: str) -> CqlSettings:
        """The settings of a session; `keyspace` where the settings name none.

        Raises:
            Unstartable: the password cannot be read.
        """
        try:
            password = self.cql_password_file.read_text(encoding="utf-8").strip() if self.cql_password_file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise Unstartable(f"TRADEWIND_CQL_PASSWORD_FILE: cannot be read ({type(error).__name__})") from error
        return CqlSettings(
            self.cql_contact_points,
            self.cql_local_dc,
            self.cql_keyspace or keyspace,
            user=self.cql_user,
            password=password,
            ca_file=self.cql_ca_file,
            timeout=self.cql_timeout,
            in_flight=self.cql_in_flight,
            waiting=self.cql_waiting,
        )
