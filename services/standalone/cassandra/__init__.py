"""Apache Cassandra on this machine: a CQL server where ScyllaDB's own cannot be had by a package.

It speaks the same protocol and runs the same CQL, as long as that keeps to what both have. The jars come from Maven, once, and
are checked against a lock; a node needs Java 17. ``Cluster`` is what others use.
"""

from services.standalone.cassandra.cluster import Cluster
from services.standalone.cassandra.distribution import Distribution, NoCassandra
from services.standalone.cassandra.node import Node

__all__ = ["Cluster", "Distribution", "NoCassandra", "Node"]
