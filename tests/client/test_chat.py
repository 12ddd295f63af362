"""The command line of the chat."""

import re

import click
import pytest
from click.testing import CliRunner

from relay.client.chat import command
from relay.errors import JidError
from relay.protocol.jid import parse_user

ASHA, BEN, CARL = "917069852821", "919428284313", "919354513536"
GROUP = "917069852821-1566557065@g.us"
PROGRAM = "python -m relay.chat"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "Missing argument 'ME'"),
        ([ASHA], "--to"),
        ([GROUP, "--to", BEN], "no user jid"),
        ([ASHA, "--to", BEN, "--subject", "Hike"], "--subject goes with a group"),
        ([ASHA, "--to", BEN, "--members", "3"], "--members goes with a group"),
        ([ASHA, "--to", GROUP, "--members", "1"], "--members"),
        ([ASHA, "--to", "x@example.org"], "no user jid"),
        ([ASHA, "--to", BEN, "--url", "http://127.0.0.1/"], "scheme isn't ws or wss"),
        ([ASHA, "--to", BEN, "--ca-file", "/dev/null"], "is not wss://"),
        ([ASHA, "--to", BEN, "--url", "wss://h/", "--ca-file", "/dev/null"], "in PEM"),
        ([ASHA, "--to", BEN, "--url", "wss://h/", "--client-cert", "/no"], "/no: No such file"),
        ([ASHA, "--to", BEN, "--url", "wss://h/", "--client-key", "/dev/null"], "without its cert"),
        ([ASHA, "--to", BEN, "--wait", "soon"], "--wait"),
        ([ASHA, "--to", BEN, "--wait", "-1"], "between 0 and 3600"),
        ([ASHA, "--to", BEN, "--wait", "nan"], "between 0 and 3600"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_2(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(command, arguments, prog_name=PROGRAM)

    assert result.exit_code == 2
    assert reason in result.output.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["a b", "--to", BEN], [ASHA, "--to", "-x"]])
def test_a_bad_name_is_answered_with_the_rule_and_an_example(arguments: list[str]) -> None:
    last = CliRunner().invoke(command, arguments).output.splitlines()[-1]

    assert "no user jid" in last
    assert "1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit, as asha.k" in last


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("asha.k", True),
        ("Az09._-", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        (".a", False),
        ("a b", False),
        ("é", False),
    ],
)
def test_the_rule_that_is_told_is_the_rule_of_jids(name: str, is_one: bool) -> None:
    try:
        told = parse_user(name) == name
    except JidError:
        told = False

    assert told == is_one


def test_help_tells_the_rule_of_names_and_shows_examples_that_parse() -> None:
    result = CliRunner().invoke(command, ["--help"], prog_name=PROGRAM)

    assert result.exit_code == 0
    assert "a user is 1 to 64 of A-Z a-z 0-9 . _ -" in result.output
    examples = re.findall(r"python -m relay\.chat (\d.*)", result.output)
    assert len(examples) >= 4
    for example in examples:
        assert command.make_context("chat", example.split())


def test_mounted_under_another_command_the_examples_name_it_so() -> None:
    relay = click.Group("relay", commands=[command])

    help_text = CliRunner().invoke(relay, ["chat", "--help"], prog_name="relay").output

    assert f"relay chat {ASHA} --to {BEN}" in help_text
    assert "python -m" not in help_text
