"""The command `relay`: what it offers, what it passes on, and that it imports only what it runs."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from relay import __version__, command, compiled
from relay.command import PROGRAMS, main, relay

ROOT = Path(__file__).parent.parent

# Whatever of these --help imported, everyone who asks for help or completes a word would wait for.
HEAVY = ("asyncio", "hdrh", "lmdb", "msgspec", "prompt_toolkit", "rich", "structlog", "websockets")

SHOW_HEAVY = f"""
import sys
from relay.command import main
code = main(sys.argv[1:])
print(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def completed(line: str) -> list[str]:
    words = line.split(" ")
    done = run(
        *("-m", "relay"),
        _RELAY_COMPLETE="bash_complete",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
    )
    assert done.stderr == ""
    return [each.partition(",")[2] for each in done.stdout.splitlines()]


def test_help_shows_every_program_and_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    said = capsys.readouterr().out
    for name, program in PROGRAMS.items():
        assert f"  {name} " in said
        assert program.summary in said
    assert "relay chat 917069852821 --to 919428284313" in said
    assert max(map(len, said.splitlines())) <= 100


def test_without_a_command_it_teaches_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert "relay serve --help" in said.err


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"relay {__version__} ({compiled.kind()})\n"


def test_what_is_no_command_is_answered_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["serv"]) == 2

    assert capsys.readouterr().err == (
        f"relay: there is no command 'serv'; there are {', '.join(PROGRAMS)}"
        " (relay --help shows more)\n"
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_is_there(name: str) -> None:
    found = relay.get_command(click.Context(relay), name)

    assert isinstance(found, click.Command)


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["config"], ["completion", "zsh"]])
def test_no_program_is_imported_before_it_is_asked_for(argv: list[str]) -> None:
    done = run("-c", SHOW_HEAVY, *argv)

    assert (done.returncode, done.stderr) == (0, "\n")


def test_a_program_with_a_command_line_of_its_own_gets_it_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = []

    def foreign(argv: list[str]) -> int:
        given.append(argv)
        return 7

    monkeypatch.setattr(command, "foreign", foreign, raising=False)
    program = PROGRAMS["serve"]._replace(target="relay.command:foreign")
    monkeypatch.setitem(PROGRAMS, "serve", program)
    argv = ["--help", "-x", "--", "a b", "--version", "-h", "", "--port=0"]

    assert main(["serve", *argv]) == 7
    assert given == [argv]


def test_the_load_generator_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)

    assert main(["load", "chat"]) == 2

    said = capsys.readouterr().err
    assert "pygal not installed" in said
    assert "[load]" in said
    assert said.count("\n") == 1


# --- check and backup, which have tests of their own by `python -m workers.store` ---


def test_the_tools_are_called_by_the_name_they_were_run_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(tmp_path)]) == 2
    assert main(["backup"]) == 2
    assert main(["backup", str(tmp_path)]) == 2

    refused, usage, directory = capsys.readouterr().err.splitlines()
    assert refused == f"relay check: {tmp_path} is no data directory: there is no meta.json in it"
    assert directory.startswith(f"relay backup: {tmp_path} is no name of a backup; to copy")
    assert usage == "relay backup: Missing argument 'DIR|NAME'. (relay backup --help shows more)"


# --- config ---


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ([], "relay.toml"),
        (["settings"], "relay.toml"),
        (["groups"], "groups.example.json"),
        (["service"], "relay.service"),
        (["socket"], "relay.socket"),
        (["nginx"], "nginx.conf"),
        (["nginx-users"], "nginx-users.conf"),
        (["haproxy"], "haproxy.cfg"),
        (["alerts"], "relay-alerts.yml"),
        (["dashboard"], "grafana-dashboard.json"),
    ],
)
def test_config_shows_a_file_to_start_from(
    argv: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", *argv]) == 0

    assert capsys.readouterr().out == (ROOT / "config" / name).read_text()


def test_config_writes_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--write", str(tmp_path / "mine.toml")]) == 0

    assert capsys.readouterr().out == ""
    assert (tmp_path / "mine.toml").read_text() == (ROOT / "config/relay.toml").read_text()


def test_config_writes_over_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("precious")

    assert main(["config", "--write", str(mine)]) == 1
    assert main(["config", "--write", str(tmp_path / "nowhere" / "mine.toml")]) == 1

    assert mine.read_text() == "precious"
    there, nowhere = capsys.readouterr().err.splitlines()
    assert there == f"relay: {mine} is there already, and is left as it is"
    assert nowhere.endswith("mine.toml cannot be written: No such file or directory")


# --- completion ---


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0

    assert f"_RELAY_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.slow
def test_bash_takes_the_script_and_completes_a_command(tmp_path: Path) -> None:
    relay = tmp_path / "relay"
    relay.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m relay "$@"\n')
    relay.chmod(relay.stat().st_mode | stat.S_IXUSR)
    script = (
        'eval "$(relay completion bash)"; COMP_WORDS=(relay bac) COMP_CWORD=1;'
        ' _relay_completion relay; echo "${COMPREPLY[@]}"'
    )

    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    # `complete -o nosort` is for an interactive bash; what it says otherwise is no matter.
    assert done.stdout == "backup\n", done.stderr


@pytest.mark.slow
def test_commands_and_their_options_are_completed() -> None:
    assert completed("relay ") == list(PROGRAMS)
    assert completed("relay c") == [
        *("config", "cluster", "chat", "console", "check", "completion"),
    ]
    assert completed("relay --v") == ["--version"]
    assert completed("relay check --j") == ["--json"]
    assert completed("relay config s") == ["settings", "service", "socket"]
