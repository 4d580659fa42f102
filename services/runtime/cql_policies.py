"""How statements are sent: to which nodes, how often again, and how soon to a second one.

Every statement of this system is idempotent (writes carry their own timestamps), so trying again is always safe; what is bounded is how
often and for how long.
"""

from __future__ import annotations

from typing import Any, Final

from cassandra import ConsistencyLevel
from cassandra.cluster import ExecutionProfile
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import tuple_factory

READ: Final = "read"
WRITE: Final = "write"

_TRIES: Final = 2
AGAIN_S: Final = {READ: 0.25, WRITE: 1.0}
"""A second node is asked when the first is silent for so long: a read soon, a write only where the node looks frozen."""


class BoundedRetry(RetryPolicy):  # type: ignore[misc]
    """Tries an idempotent statement again on the next node, twice at most; anything else never.

    The driver's default repeats what it does not know to be idempotent, and asks every node there is after an error.
    """

    def on_read_timeout(self, query: Any, *_args: Any, retry_num: int, **_info: Any) -> tuple[int, None]:
        """Replicas were silent: another coordinator knows others."""
        return self._again(query, retry_num)

    def on_write_timeout(self, query: Any, *_args: Any, retry_num: int, **_info: Any) -> tuple[int, None]:
        """It may be written or not; the same timestamp makes it one write."""
        return self._again(query, retry_num)

    def on_unavailable(self, query: Any, *_args: Any, retry_num: int, **_info: Any) -> tuple[int, None]:
        """Too few replicas in this coordinator's eyes; the next one may see more."""
        return self._again(query, retry_num)

    def on_request_error(
        self, query: Any, _consistency: int, error: Exception, retry_num: int
    ) -> tuple[int, None]:  # fmt: skip
        """The node is overloaded, bootstrapping or gone."""
        return self._again(query, retry_num)

    def _again(self, query: Any, retry_num: int) -> tuple[int, None]:
        if query is not None and query.is_idempotent and retry_num < _TRIES:
            return self.RETRY_NEXT_HOST, None
        return self.RETHROW, None


def profiles(local_dc: str) -> dict[str, ExecutionProfile]:
    """The two ways of asking: `READ` and `WRITE`, both LOCAL_QUORUM, to a replica of the row in the own data centre first.

    Where the server says which shard holds a row (ScyllaDB), the driver asks on that shard's connection. Neither has a timeout nor asks a
    second node by itself: the bridge does both for all statements at once, which spares a timer for each.

    Args:
        local_dc: the data centre that is asked; no other ever is.
    """

    def profile() -> ExecutionProfile:
        return ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc, used_hosts_per_remote_dc=0)),
            retry_policy=BoundedRetry(),
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            request_timeout=None,
            row_factory=tuple_factory,
        )

    return {READ: profile(), WRITE: profile()}
