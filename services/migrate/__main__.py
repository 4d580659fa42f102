"""``python -m services.migrate [KEYSPACE …]``: makes keyspaces ready for the services of this version.

Without arguments: the keyspace of ``TRADEWIND_CQL_KEYSPACE``, else those of all services. Safe to run at any time, by any number at once;
exit code 0 when everything is applied, 1 with one line on standard error when it is not.
"""

from __future__ import annotations

import sys
from typing import Final

from services.migrate.apply import apply
from services.migrate.files import BadMigrations, read
from services.runtime.config import Unstartable, load
from services.runtime.cql import CqlFailed
from services.runtime.cql_config import CqlConfig

KEYSPACES: Final = ("tradewind_chat", "tradewind_order", "tradewind_mail")
"""One for each service."""


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main(names: list[str]) -> int:
    """Applies what is missing; answers the exit code."""
    settings = load(CqlConfig)
    keyspaces = names or ([settings.cql_keyspace] if settings.cql_keyspace else list(KEYSPACES))
    try:
        migrations = read()
        for keyspace in keyspaces:
            where = settings.model_copy(update={"cql_keyspace": keyspace}).cql(keyspace)
            done = apply(where, migrations, settings.cql_replication, tell=_tell)
            if not done:
                sys.stdout.write(f"{keyspace}: up to date\n")
    except (BadMigrations, CqlFailed, Unstartable) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
