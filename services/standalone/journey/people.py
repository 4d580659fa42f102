"""The people of the journey: each speaks to the public API with a token of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tradewind.sdk import Client, Endpoints, RetryPolicy

from services.standalone.journey.expect import STEP_SECONDS

# Whatever dies meanwhile is back within seconds; a journey waits for it.
_PATIENT = RetryPolicy(attempts=200, longest_wait=0.5, stream_patience=STEP_SECONDS)


@dataclass(frozen=True)
class Credentials:
    """Endpoints and tokens, as standalone wrote them."""

    endpoints: Endpoints
    tokens: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Credentials:
        """Read them. Raises OSError, ValueError."""
        facts = json.loads(path.read_bytes())
        where = facts["endpoints"]
        return cls(Endpoints(chat=where["chat"], order=where["order"], mail=where["mail"]), facts["tokens"])

    def client(self, name: str, *, chat: str | None = None) -> Client:
        """Make a client that speaks as ``name``; to Chat at another place where one is given."""
        endpoints = replace(self.endpoints, chat=chat) if chat else self.endpoints
        return Client(endpoints, self.tokens[name], timeout=STEP_SECONDS, retry=_PATIENT)
