"""Makes the secrets that ``infra/compose`` reads: ``python -m services.standalone.cluster.handout infra/compose``.

Made once and kept; only the tokens for people are fresh each time. All of it is readable by its owner only, and the containers run
as that owner (``.env`` tells Docker who it is). The key that people's tokens are signed with goes into no container: services sign their
own calls with another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from services.standalone import broker
from services.standalone.cluster.ports import NODES
from services.standalone.keys import Keys, write_credentials, write_secret
from services.standalone.ports import Ports

PORT = 7400
"""From here on Envoy listens, as on one machine without Docker."""
_CLIENT, _ROUTE = 4222, 6222
_ROUTES_USER = "route"


def main(folder: Path) -> None:
    """Write what is missing below ``folder``. Raises OSError."""
    home = folder / "secrets"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = Keys(home)
    keys.ensure()
    keys.ensure_service()
    token = keys.nats_token()
    for name, text in configuration(token).items():
        write_secret(home / name, text.encode())
    write_credentials(home / "credentials.json", keys, Ports(PORT))
    write_secret(folder / ".env", f"TRADEWIND_UID={os.getuid()}\nTRADEWIND_GID={os.getgid()}\n".encode())


def configuration(token: str) -> dict[str, str]:
    """Give the files that hold the log servers' token, by their names: two for them, one for their clients."""
    nodes = [f"nats-{node}" for node in range(1, NODES + 1)]
    routes = [broker.quoted(f"nats-route://{_ROUTES_USER}:{token}@{node}:{_ROUTE}") for node in nodes]
    urls = ",".join(f"nats://{token}@{node}:{_CLIENT}" for node in nodes)
    user = f"user: {_ROUTES_USER}, password: {broker.quoted(token)}, timeout: 2"
    return {
        "authorization.conf": f"authorization {{ token: {broker.quoted(token)} }}\n",
        "routes.conf": f"authorization {{ {user} }}\nroutes: [{', '.join(routes)}]\n",
        "tradewind.toml": f'nats_urls = "{urls}"\n',
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
