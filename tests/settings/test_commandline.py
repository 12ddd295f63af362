"""The command line: options over the file over the defaults."""

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from relay import __version__, compiled
from relay.errors import SettingsError
from relay.invocation import invoke
from relay.settings.commandline import Sources, parse_arguments, serve_command
from relay.settings.tables import SETTINGS, Settings


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


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--wrokers", "3"], "--wrokers"),
        (["--work", "3"], "--work"),  # no abbreviations: a later option would change their meaning
        (["extra"], "extra"),
        (["--", "extra"], "extra"),
        (["-x"], "-x"),
        (["--insecure-open", "1"], "1"),
        (["--insecure-open=1"], "--insecure-open: it takes no value"),
        (["--help=1"], "--help: it takes no value"),
        (["--a\nb"], r'"unrecognized arguments: --a\\nb"'),
        (["--port"], "--port: expected one argument"),
        # A value that was forgotten is not the next option.
        (["--data", "--port", "0"], "--data: expected one argument"),
        (["--config", "--check-config"], "--config: expected one argument"),
        (["--data", "--", "x"], "--data: expected one argument"),
        (["--port", "-1"], '--port = "-1" is not allowed'),
        (["--port", ""], '--port = "" is not allowed'),
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
    assert capsys.readouterr().out == f"relay {__version__} ({compiled.kind()})\n"


def test_a_value_may_look_like_an_option_where_it_is_joined_to_its_own() -> None:
    assert parse_arguments(["--data=--port"]).options == {"server.data": "--port"}
    assert parse_arguments(["--data", "-"]).options == {"server.data": "-"}


def test_of_an_option_that_is_given_twice_the_last_holds() -> None:
    assert parse_arguments(["--port", "1", "--port", "2"]).options == {"server.port": "2"}


def test_only_what_is_given_beats_the_file() -> None:
    assert parse_arguments([]) == Sources(None, {}, check_only=False)
    assert parse_arguments(["--check-config"]) == Sources(None, {}, check_only=True)
    assert parse_arguments(["--insecure-open"]).options == {"server.insecure_open": True}


def test_help_has_every_flag_of_a_setting_with_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["-h"])

    words = " ".join(capsys.readouterr().out.split())
    for setting in SETTINGS.values():
        if setting.row.flag:
            assert f"{setting.row.flag.name} {setting.row.flag.metavar}".strip() in words
            default = setting.row.default_words or setting.default
            assert not default or f"(default: {default})" in words


# As a command among others


def grouped(run: Callable[[Sources], int]) -> click.Group:
    return click.Group("relay", commands={"serve": serve_command(run)})


def test_the_command_runs_with_its_sources_and_exits_as_they_do() -> None:
    seen: list[Sources] = []

    def run(sources: Sources) -> int:
        seen.append(sources)
        return 7

    with pytest.raises(SystemExit) as left:
        grouped(run).main(["serve", "--port", "0", "--config", "f.toml"], prog_name="relay")

    assert left.value.code == 7
    assert seen == [Sources(Path("f.toml"), {"server.port": "0"})]


def test_the_help_of_the_command_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        grouped(lambda sources: 0).main(["serve", "--help"], prog_name="relay")

    text = capsys.readouterr().out
    assert left.value.code == 0
    assert text.startswith("usage: relay serve [options]\n")
    assert "\n  relay serve --workers 8\n" in text


def test_bad_usage_of_the_command_is_told_by_its_whole_name_and_runs_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(sources: Sources) -> int:
        raise AssertionError(sources)

    assert invoke(grouped(run), ["serve", "--prot", "0"], name="relay") == 2
    assert capsys.readouterr().err == (
        "relay serve: unrecognized arguments: --prot (--help shows all options)\n"
    )
