"""How a tenant's own look at messages is reached."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FilePath

from services.runtime.config import Seconds


class MessageHook(BaseModel):
    """Where one tenant serves ``MessageHookService``, and what is done while it does not answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = Field(min_length=1)
    """Its address, as gRPC names it: ``host:port``."""
    ca_file: FilePath | None = None
    """PEM certificates that it is signed by; turns TLS on."""
    token_file: FilePath | None = None
    """A secret that it knows Chat by, sent as bearer token."""
    timeout: Seconds = Field(default=0.3, ge=0.005, le=10.0)
    """An answer later than this is none."""
    when_down: Literal["accept", "refuse"] = "refuse"
    """What is done with messages for which there is no answer: take them as they are, or refuse them for now (UNAVAILABLE)."""
    in_flight: int = Field(default=64, ge=1, le=1024)
    """Messages that one process asks about at a time; further ones wait, within the timeout, and are refused for now after it."""
    failures: int = Field(default=5, ge=1)
    """After so many in a row without an answer it is not asked for a while."""
    pause: Seconds = Field(default=10.0, ge=0.05)
    """For so long."""
