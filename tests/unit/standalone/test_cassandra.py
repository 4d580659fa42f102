"""Where Cassandra comes from, and what stands in its way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.standalone.cassandra import Cluster, Distribution, NoCassandra
from services.standalone.cassandra.distribution import _locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Apache Cassandra does not run on Windows")

ROOT = Path(__file__).parents[3]
MAVEN = """#!/bin/sh
echo called >> {calls}
for word in "$@"; do case "$word" in -DoutputDirectory=*) folder="${{word#*=}}";; esac; done
mkdir -p "$folder"
{does}
"""
JAVA = "#!/bin/sh\necho 'openjdk version \"{}\" 2025-04-15' >&2\n"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Java 17 and nothing fetched yet; programs lie in ``bin``."""
    program(tmp_path / "bin" / "java", JAVA.format("17.0.15"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path


def maven(machine: Path, does: str) -> None:
    program(machine / "bin" / "mvn", MAVEN.format(calls=machine / "calls", does=does))


def test_without_java_or_maven_one_line_says_so(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine / "bin"))
    with pytest.raises(NoCassandra, match=r"needs Java 17 and Maven; there is no mvn"):
        Distribution.fetch()
    monkeypatch.setenv("JAVA_HOME", str(machine / "nowhere"))
    with pytest.raises(NoCassandra, match=r"needs Java 17 and Maven; there is no java in JAVA_HOME"):
        Distribution.fetch()
    monkeypatch.delenv("JAVA_HOME")
    (machine / "bin" / "java").unlink()
    with pytest.raises(NoCassandra, match=r"needs Java 17 and Maven; there is no java here"):
        Distribution.fetch()


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.22", "21.0.4"])
def test_another_java_is_named(machine: Path, version: str) -> None:
    program(machine / "bin" / "java", JAVA.format(version))
    with pytest.raises(NoCassandra, match=rf"is Java {version.split('.')[0]}$"):
        Distribution.fetch()


def test_what_maven_says_is_handed_on_in_one_line(machine: Path) -> None:
    maven(machine, "echo '[INFO] looking'; echo '[ERROR] the network is unreachable'; echo '[ERROR] more'; exit 1")
    with pytest.raises(NoCassandra, match=r"^Maven cannot bring Apache Cassandra: the network is unreachable$"):
        Distribution.fetch()
    assert [path.name for path in (machine / "cache" / "tradewind").iterdir() if path.is_dir()] == []


def test_jars_that_the_lock_does_not_name_are_refused(machine: Path) -> None:
    maven(machine, 'for name in jamm-0.4.0.jar stranger.jar; do echo bad > "$folder/$name"; done')
    with pytest.raises(NoCassandra, match=r"is not what jars\.lock names"):
        Distribution.fetch()
    assert [path.name for path in (machine / "cache" / "tradewind").iterdir() if path.is_dir()] == []


def test_several_at_once_fetch_once(cassandra: None, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    jars = Distribution.fetch().jars
    machine: Path = request.getfixturevalue("machine")
    maven(machine, f'cp {jars}/*.jar "$folder/"')
    code = "from services.standalone.cassandra import Distribution; Distribution.fetch()"
    asking = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in asking] == [0, 0, 0]
    assert (machine / "calls").read_text().count("called") == 1

    fetched = Distribution.fetch().jars
    assert fetched.is_relative_to(machine)
    (fetched / "jamm-0.4.0.jar").write_bytes(b"cut off")
    Distribution.fetch()
    assert (machine / "calls").read_text().count("called") == 2
    shutil.rmtree(machine / "cache")


def test_the_lock_names_one_cassandra_and_no_place() -> None:
    names = sorted(_locked())
    assert [name for name in names if name.startswith("cassandra-all")] == ["cassandra-all-5.0.5.jar"]
    assert all(len(digest) == 64 and "/" not in name for name, digest in _locked().items())


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_ring_is_even_and_its_nodes_meet_on_one_port(tmp_path: Path, nodes: int) -> None:
    if nodes > 1 and sys.platform != "linux":
        pytest.skip("several nodes need several loopback addresses")
    cluster = Cluster.anywhere(tmp_path, nodes)
    settings = [node._settings() for node in cluster.nodes]
    tokens = [int(str(each["initial_token"])) for each in settings]
    assert tokens == [-(2**63) + number * (2**64 // nodes) for number in range(nodes)]
    assert len({each["storage_port"] for each in settings}) == 1
    assert len({each["listen_address"] for each in settings}) == nodes
    assert len(cluster.settings()["TRADEWIND_CQL_CONTACT_POINTS"].split(",")) == nodes
    assert cluster.settings()["TRADEWIND_CQL_REPLICATION"] == f"dc1:{nodes}"
