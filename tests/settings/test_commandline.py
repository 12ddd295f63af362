"""The command line: options over the file over the defaults."""

from pathlib import Path

import pytest

from relay import __version__
from relay.errors import SettingsError
from relay.settings.commandline import parse_arguments
from relay.settings.tables import Settings


def parse_settings(argv: list[str]) -> Settings:
    return parse_arguments(argv).load()


def test_no_option_is_the_defaults() -> None:
    settings = parse_settings([])

    assert settings.server.host == "127.0.0.1"
    assert settings.server.port == 9011
    assert settings.server.workers >= 1
    assert settings.server.fronts >= 1
    assert settings.server.data == str(Path("data").absolute())


def test_every_option_reaches_its_setting() -> None:
    settings = parse_settings(
        [
            *("--workers", "3", "--fronts", "2"),
            *("--host", "0.0.0.0", "--port", "0", "--insecure-open"),
            *("--data", "/d", "--groups", "/g.json", "--durability", "os"),
            *("--log-format", "json", "--log-level", "warning"),
        ]
    )

    server = settings.server
    assert (server.workers, server.fronts) == (3, 2)
    assert (server.host, server.insecure_open, server.port) == ("0.0.0.0", True, 0)
    assert (server.data, server.groups) == ("/d", "/g.json")
    assert settings.store.durability == "os"
    assert (settings.log.format, settings.log.level) == ("json", "warning")


def test_an_option_beats_the_file(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[server]\nport = 1234\nworkers = 5\n")

    settings = parse_settings(["--config", str(config), "--port", "4321"])

    assert settings.server.port == 4321
    assert settings.server.workers == 5


def test_the_sources_read_the_file_again_with_the_same_options_over_it(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[server]\nport = 1234\nworkers = 5\n")
    sources = parse_arguments(["--config", str(config), "--port", "4321"])
    assert sources.config == config
    before = sources.load()

    config.write_text("[server]\nport = 5678\nworkers = 6\n")
    after = sources.load()

    assert (before.server.port, before.server.workers) == (4321, 5)
    assert (after.server.port, after.server.workers) == (4321, 6)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--wrokers", "3"], "--wrokers"),
        (["--work", "3"], "--work"),  # no abbreviations: a later option would change their meaning
        (["extra"], "extra"),
        (["--port"], "--port: expected one argument"),
        (["--port", "http"], '--port = "http" .* integer from 0 to 65535'),
        (["--durability", "none"], '--durability = "none" .* "fsync" or "os"'),
        (["--config", "/nowhere.toml"], "/nowhere.toml: cannot read it"),
        (["--config", ""], "cannot read it"),
        (["--host", "0.0.0.0"], "--insecure-open"),
    ],
)
def test_bad_usage_is_one_line_that_names_the_option(argv: list[str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as refused:
        parse_settings(argv)

    assert "\n" not in str(refused.value)


def test_help_fits_a_terminal_and_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_settings(["--help"])

    text = capsys.readouterr().out
    assert left.value.code == 0
    assert max(map(len, text.splitlines())) <= 100
    for part in ("--workers", "9011", "SIGHUP", "exit codes", "examples"):
        assert part in text


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_settings(["--version"])

    assert left.value.code == 0
    assert capsys.readouterr().out == f"relay {__version__}\n"
