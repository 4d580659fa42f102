"""``python -m services.standalone.cassandra``: pins the jars that pom.xml asks for; see ``make lock-cql``."""

from __future__ import annotations

import sys

from services.standalone.cassandra.distribution import NoCassandra, write_lock


def main() -> int:
    """Write the lock anew; returns the exit code."""
    try:
        write_lock()
    except NoCassandra as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
