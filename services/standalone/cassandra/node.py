"""One Cassandra node: its configuration, and the command that runs it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from services.standalone.cassandra.distribution import Distribution

DATACENTER = "dc1"

_HEAP_MB = 384
_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.unsupported/sun.misc",
)
_OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.rmi/sun.rmi.transport.tcp",
    "jdk.management/com.sun.management.internal",
)
_LATER = {"commitlog_sync": "periodic", "commitlog_sync_period": "10s"}
_LOGBACK = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date{ISO8601} %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""


@dataclass(frozen=True)
class Node:
    """Where a node listens and what it owns. All nodes of a cluster have the same ports, each on an address of its own."""

    cluster: str
    number: int
    """1, 2, 3, …"""
    folder: Path
    """Its configuration, and below ``store`` everything it remembers."""
    address: str
    native_port: int
    """For clients."""
    storage_port: int
    """For the other nodes."""
    seeds: tuple[str, ...]
    """All nodes' addresses."""
    fleeting: bool = False
    """Nothing needs to outlive its process: changes of the schema cost a tenth, writes less."""

    @property
    def name(self) -> str:
        """How it is called here: cql, or cql-2 where there are several."""
        return f"cql-{self.number}" if len(self.seeds) > 1 else "cql"

    @property
    def store(self) -> Path:
        """What it remembers."""
        return self.folder / "store"

    @property
    def contact_point(self) -> str:
        """Where clients connect, ``host:port``."""
        return f"{self.address}:{self.native_port}"

    def write_configuration(self) -> None:
        """Write what the node reads at its start. Raises OSError."""
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = json.dumps(self._settings(), indent=1, ensure_ascii=False)
        # The format is YAML, of which JSON is a part.
        (self.folder / "cassandra.yaml").write_text(settings, encoding="utf-8")
        place = f"dc={DATACENTER}\nrack=rack{self.number}\n"
        (self.folder / "cassandra-rackdc.properties").write_text(place, encoding="ascii")
        (self.folder / "logback.xml").write_text(_LOGBACK, encoding="ascii")

    def command(self, distribution: Distribution) -> tuple[str, ...]:
        """The command that runs it in the foreground, with what it has to say on standard output."""
        properties = {
            "cassandra.config": (self.folder / "cassandra.yaml").as_uri(),
            "cassandra-rackdc.properties": (self.folder / "cassandra-rackdc.properties").as_uri(),
            "logback.configurationFile": (self.folder / "logback.xml").as_uri(),
            "cassandra.storagedir": str(self.store),
            "cassandra-foreground": "yes",
            "jdk.attach.allowAttachSelf": "true",
            "java.io.tmpdir": str(self.folder),
            # On one machine nobody is slow to hear of a node's coming and going.
            "cassandra.ring_delay_ms": "1000",
            "cassandra.shutdown_announce_in_ms": "0",
            "cassandra.skip_wait_for_gossip_to_settle": "0",
        }
        if self.fleeting:
            properties["cassandra.test.flush_local_schema_changes"] = "false"
            properties["cassandra.unsafesystem"] = "true"
        return (
            str(distribution.java),
            f"-javaagent:{distribution.jars / 'jamm-0.4.0.jar'}",
            "-XX:+UseSerialGC",
            # The second compiler takes a core for the first minute, and longer than that few nodes here live.
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            # A small youth is used over and over, and so less of the machine's memory is touched: 540 MB in all, not 660.
            f"-Xms{_HEAP_MB * 2 // 3}m",
            f"-Xmx{_HEAP_MB}m",
            f"-Xmn{_HEAP_MB // 3}m",
            *(f"-D{name}={value}" for name, value in properties.items()),
            *(f"--add-exports={module}=ALL-UNNAMED" for module in _EXPORTS),
            *(f"--add-opens={module}=ALL-UNNAMED" for module in _OPENS),
            "-cp",
            f"{distribution.jars}/*",
            "org.apache.cassandra.service.CassandraDaemon",
        )

    def environment(self) -> dict[str, str]:
        """What the command must find in its environment: Java 17 reads file names as the locale says."""
        return {"LC_ALL": "C.UTF-8"}

    def _settings(self) -> dict[str, object]:
        seeds = ",".join(f"{address}:{self.storage_port}" for address in self.seeds)
        provider = {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": [{"seeds": seeds}]}
        return {
            "cluster_name": self.cluster,
            "listen_address": self.address,
            "rpc_address": self.address,
            "native_transport_port": self.native_port,
            "storage_port": self.storage_port,
            "seed_provider": [provider],
            "endpoint_snitch": "GossipingPropertyFileSnitch",
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "num_tokens": 1,
            "initial_token": str(-(2**63) + (self.number - 1) * (2**64 // len(self.seeds))),
            # All nodes of a cluster are there from its first moment: nothing is to be streamed to a new one.
            "auto_bootstrap": False,
            "auto_snapshot": False,
            # An answered write is on the disk, as with SQLite: a kill or a power cut takes nothing of it.
            **(_LATER if self.fleeting else {"commitlog_sync": "batch"}),
            "commitlog_disk_access_mode": "legacy",
            "commitlog_segment_size": "8MiB",
            "commitlog_total_space": "128MiB",
            "memtable_heap_space": "64MiB",
            "memtable_offheap_space": "64MiB",
            "data_file_directories": [str(self.store / "data")],
            "commitlog_directory": str(self.store / "commitlog"),
            "hints_directory": str(self.store / "hints"),
            "saved_caches_directory": str(self.store / "saved_caches"),
            "cdc_raw_directory": str(self.store / "cdc"),
        }
