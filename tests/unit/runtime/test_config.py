"""Settings come from the environment and a file; a bad one is said in a line that betrays nothing."""

from pathlib import Path

import pytest

from services.runtime.config import RuntimeSettings, load


class OrderSettings(RuntimeSettings):
    """A service's settings, as each service has them."""

    reservation: float = 900.0


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "LISTEN", "TRACE_RATIO", "TRACE_DIR", "NATS_URLS"):
        monkeypatch.delenv(f"TRADEWIND_{name}", raising=False)


def complaint(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        load(OrderSettings)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_defaults_do() -> None:
    settings = load(OrderSettings)
    assert (settings.listen, settings.trace_ratio, settings.reservation) == ("127.0.0.1:0", 0.01, 900.0)


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tradewind.toml"
    file.write_text('listen = "127.0.0.1:7000"\nreservation = 60\nnats_urls = ["nats://a:1", "nats://b:2"]\n')
    monkeypatch.setenv("TRADEWIND_CONFIG", str(file))
    monkeypatch.setenv("TRADEWIND_LISTEN", "127.0.0.1:8000")
    settings = load(OrderSettings)
    assert (settings.listen, settings.reservation) == ("127.0.0.1:8000", 60.0)
    assert [url.get_secret_value() for url in settings.nats_urls] == ["nats://a:1", "nats://b:2"]


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = [tmp_path / "a", tmp_path / "b"]
    for key in keys:
        key.touch()
    monkeypatch.setenv("TRADEWIND_AUTH_PUBLIC_KEY_FILES", ", ".join(map(str, keys)))
    assert load(OrderSettings).auth_public_key_files == tuple(keys)


@pytest.mark.parametrize("url", ["nats://ann:secret@host:xx", "http://secret@host:1", "nats://", "nats://secret@:4222"])
def test_a_bad_address_of_the_log_is_said_without_its_secret(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEWIND_NATS_URLS", f"nats://a:1,{url}")
    assert complaint(capsys) == [
        "TRADEWIND_NATS_URLS: value 2: must be nats://host:port, or tls, ws or wss in place of nats"
    ]


def test_every_bad_value_gets_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRADEWIND_LISTEN", "nowhere")
    monkeypatch.setenv("TRADEWIND_TRACE_RATIO", "7")
    monkeypatch.setenv("TRADEWIND_RESERVATION", "soon")
    monkeypatch.setenv("TRADEWIND_TLS_CERT_FILE", "/no/such/file")
    lines = complaint(capsys)
    assert sorted(line.partition(":")[0] for line in lines) == [
        "TRADEWIND_LISTEN",
        "TRADEWIND_RESERVATION",
        "TRADEWIND_TLS_CERT_FILE",
        "TRADEWIND_TRACE_RATIO",
    ]
    assert any("host:port" in line for line in lines)
    assert any("'7'" in line for line in lines)


def test_what_may_hold_a_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEWIND_AUTH_PUBLIC_KEY_FILES", "hunter2")
    monkeypatch.setenv("TRADEWIND_SERVICE_KEY_FILE", "hunter2")
    (first, second) = complaint(capsys)
    assert first.startswith("TRADEWIND_AUTH_PUBLIC_KEY_FILES: value 1: ")
    assert second.startswith("TRADEWIND_SERVICE_KEY_FILE: ")
    assert "hunter2" not in first + second


def test_urls_with_credentials_do_not_show_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_NATS_URLS", "nats://user:hunter2@host:4222")
    assert "hunter2" not in repr(load(OrderSettings))


def test_what_belongs_together_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "cert").touch()
    monkeypatch.setenv("TRADEWIND_TLS_CERT_FILE", str(tmp_path / "cert"))
    assert complaint(capsys) == ["TRADEWIND_TLS_CERT_FILE and TRADEWIND_TLS_KEY_FILE go together"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no file"), ("listen = ", "no TOML"), (b"\xff\xfe", "cannot be read")]
)
def test_a_bad_file_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: str | bytes | None,
    words: str,
) -> None:
    file = tmp_path / "tradewind.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("TRADEWIND_CONFIG", str(file))
    (line,) = complaint(capsys)
    assert line.startswith("TRADEWIND_CONFIG: ")
    assert words in line
