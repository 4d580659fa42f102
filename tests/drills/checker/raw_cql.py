"""The raw stores, read past all services: CQL by plain statements of the driver, asked of a quorum."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import DCAwareRoundRobinPolicy

from tests.drills.checker.evidence import Entry, History

_QUERY = "SELECT key, part, version, seq, data, head_version, head_seq FROM {keyspace}.history"
_PAGE = 1000
_SECONDS = 60.0


def cql_log(contact_points: Sequence[str], local_dc: str, keyspace: str) -> Mapping[str, History]:
    """Every aggregate in a service's keyspace: only what is at or below its head, as that alone is true. Blocks."""
    hosts = [point.rpartition(":")[0] for point in contact_points]
    port = int(contact_points[0].rpartition(":")[2])
    profile = ExecutionProfile(
        load_balancing_policy=DCAwareRoundRobinPolicy(local_dc), consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=_SECONDS,
    )  # fmt: skip
    cluster = Cluster(hosts, port=port, protocol_version=4, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    try:
        session = cluster.connect()
        session.default_fetch_size = _PAGE
        heads: dict[str, tuple[int, int]] = {}
        entries: dict[str, list[Entry]] = defaultdict(list)
        for key, part, _, seq, data, head_version, head_seq in session.execute(_QUERY.format(keyspace=keyspace)):
            if head_seq is not None and head_seq > heads.get(key, (0, 0))[1]:
                heads[key] = (head_version, head_seq)
            if part == 0 and data is not None:
                entries[key].append(Entry.decode(seq, data))
        return {key: _history(head, entries[key]) for key, head in heads.items()}
    finally:
        cluster.shutdown()


def _history(head: tuple[int, int], entries: Sequence[Entry]) -> History:
    version, seq = head
    stored = [entry for entry in entries if entry.seq <= seq]
    return History(version, seq, sorted(stored, key=lambda entry: (entry.first_version, entry.seq)))
