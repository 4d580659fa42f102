"""nats-server understands the configuration that is written for it, wherever the folder is."""

import subprocess
from pathlib import Path

import pytest

from services.standalone.broker import program, write_configuration
from services.standalone.home import Home
from services.standalone.keys import Keys
from services.standalone.ports import Ports


@pytest.mark.parametrize("name", ["home", "hömé ☃ 家", "a folder's $NAME, # and {more}"])
def test_the_log_server_takes_its_configuration(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    home.run.mkdir(parents=True)
    home.keys.mkdir()
    keys = Keys(home.keys)
    keys.ensure()
    path = write_configuration(home, keys, Ports(7400))
    checked = subprocess.run(
        [program(), "-t", "-c", str(path)], check=False, capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 0, checked.stderr
