"""How a command line ends: its exit code, and the one line that says what was wrong."""

import click
import pytest

from relay.errors import BootError, SettingsError
from relay.invocation import invoke


@click.group(no_args_is_help=False)
def animals() -> None:
    pass


@animals.command()
@click.argument("name", metavar="NAME")
@click.option("--legs", type=int, default=4)
def feed(name: str, legs: int) -> int:
    if name == "tiger":
        raise click.ClickException("the tiger\nis not hungry")
    if name == "unicorn":
        raise click.UsageError("there is none; zoo --help lists all", click.get_current_context())
    if name == "ghost":
        raise BootError("the cage is empty")
    if name == "dragon":
        raise SettingsError("zoo.toml: a dragon is not allowed")
    if name == "nobody":
        raise KeyboardInterrupt
    return legs


@animals.command()
def sleep() -> None:
    pass


def test_the_callback_says_the_exit_code() -> None:
    assert invoke(animals, ["feed", "cat"], name="zoo") == 4
    assert invoke(animals, ["feed", "bird", "--legs", "2"], name="zoo") == 2


def test_a_callback_that_says_nothing_did_well() -> None:
    assert invoke(animals, ["sleep"], name="zoo") == 0


def test_help_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(animals, ["feed", "--help"], name="zoo") == 0

    assert capsys.readouterr().out.startswith("Usage: zoo feed [OPTIONS] NAME")


@pytest.mark.parametrize(
    ("argv", "path", "what"),
    [
        ([], "zoo", "Missing command"),
        (["fed"], "zoo", "'fed'"),
        (["feed"], "zoo feed", "NAME"),
        (["feed", "cat", "--legs", "many"], "zoo feed", "'many'"),
        (["feed", "cat", "--lags", "4"], "zoo feed", "--lags"),
        (["feed", "cat", "dog"], "zoo feed", "dog"),
    ],
)
def test_bad_usage_is_one_line_that_says_where_and_what(
    argv: list[str], path: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = invoke(animals, argv, name="zoo")

    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.startswith(f"{path}: ")
    assert what in said.err
    assert said.err.endswith(f" ({path} --help shows more)\n")
    assert said.err.count("\n") == 1


def test_a_module_is_named_without_the_interpreter(capsys: pytest.CaptureFixture[str]) -> None:
    invoke(animals, ["feed"], name="python -m zoo")

    said = capsys.readouterr().err
    assert said.startswith("zoo feed: ")
    assert said.endswith(" (python -m zoo feed --help shows more)\n")


def test_a_line_that_names_the_help_itself_is_left_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke(animals, ["feed", "unicorn"], name="zoo") == 2

    assert capsys.readouterr().err == "zoo feed: there is none; zoo --help lists all\n"


def test_what_a_command_refuses_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code = invoke(animals, ["feed", "tiger"], name="zoo")

    assert code == 1
    assert capsys.readouterr().err == "zoo: the tiger is not hungry\n"


@pytest.mark.parametrize(
    ("animal", "code", "line"),
    [
        ("ghost", 1, "zoo: the cage is empty\n"),
        ("dragon", 2, "zoo: zoo.toml: a dragon is not allowed\n"),
    ],
)
def test_an_error_of_ours_is_its_line(
    animal: str, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(animals, ["feed", animal], name="zoo") == code

    assert capsys.readouterr().err == line


def test_an_interrupt_is_130_without_a_traceback() -> None:
    assert invoke(animals, ["feed", "nobody"], name="zoo") == 130
