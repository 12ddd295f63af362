"""What a typed line means."""

import pytest

from relay.client.typed import COMMANDS, Leave, NoCommand, Say, ShowHelp, Typed, meaning_of


@pytest.mark.parametrize(
    ("line", "means"),
    [
        ("hello", Say("hello")),
        (" hello ", Say(" hello ")),
        ("and/or", Say("and/or")),
        ("", None),
        (" \t", None),
        ("/help", ShowHelp()),
        ("/help me", ShowHelp()),
        ("/quit", Leave()),
        ("/quit ", Leave()),
        ("/hlep", NoCommand("/hlep")),
        ("/etc/passwd is here", NoCommand("/etc/passwd")),
        ("/", NoCommand("/")),
        ("/ help", NoCommand("/")),
        ("/\x1b[2J", NoCommand("/\x1b[2J")),
        ("//etc/passwd is here", Say("/etc/passwd is here")),
        ("//help", Say("/help")),
        ("///", Say("//")),
        ("//", Say("/")),
    ],
)
def test_a_slash_makes_a_command_and_two_a_text_with_one(line: str, means: Typed | None) -> None:
    assert meaning_of(line) == means


def test_every_command_that_is_listed_is_one() -> None:
    for command in COMMANDS:
        assert not isinstance(meaning_of(command), NoCommand | Say | None)
