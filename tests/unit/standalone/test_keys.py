"""Keys are made once, kept, and readable by their owner only."""

import json
import stat
import sys
from pathlib import Path

import pytest

from services.runtime.tokens import Authenticator
from services.standalone.home import HomeUnusable
from services.standalone.keys import TENANT, Keys, write_credentials
from services.standalone.ports import Ports


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    made = Keys(tmp_path / "keys")
    made.folder.mkdir()
    made.ensure()
    return made


def test_keys_stay_what_they_are(keys: Keys) -> None:
    before = {path.name: path.read_bytes() for path in keys.folder.iterdir()}
    keys.ensure()
    assert {path.name: path.read_bytes() for path in keys.folder.iterdir()} == before


def test_what_is_missing_is_made_without_touching_the_rest(keys: Keys) -> None:
    signing, tracking = keys.signing.read_bytes(), keys.tracking.read_bytes()
    keys.tracking.unlink()
    keys.verifying.unlink()
    keys.ensure()
    assert keys.signing.read_bytes() == signing
    assert keys.tracking.read_bytes() != tracking
    assert keys.verifying.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")
def test_nobody_else_reads_them(keys: Keys) -> None:
    for path in keys.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_credentials_hold_tokens_that_the_services_accept(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    write_credentials(path, keys, Ports(7400))
    written = json.loads(path.read_bytes())
    authenticator = Authenticator.from_files([keys.verifying])
    callers = {name: authenticator.verify(token) for name, token in written["tokens"].items()}
    assert {name: caller.subject for name, caller in callers.items()} == {name: name for name in callers}
    assert {caller.tenant for caller in callers.values()} == {TENANT}
    assert callers["admin"].roles == {"admin", "operator"}
    assert written["default"] in callers
    assert written["endpoints"]["chat"] == "127.0.0.1:7401"


def test_a_key_that_is_none_is_named(keys: Keys) -> None:
    keys.dkim.write_text("no key")
    with pytest.raises(HomeUnusable, match=r"dkim\.pem holds no private key"):
        keys.ensure()
