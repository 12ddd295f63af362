"""What a line typed into the chat means: a text to send, or a command."""

from typing import Final

import msgspec

COMMANDS: Final = {"/help": "shows this", "/quit": "leaves, as Ctrl-D does"}


class Say(msgspec.Struct, frozen=True, tag=True):
    """Send `text`."""

    text: str


class ShowHelp(msgspec.Struct, frozen=True, tag=True):
    """Say which commands there are, and what the ticks mean."""


class Leave(msgspec.Struct, frozen=True, tag=True):
    """End the chat."""


class NoCommand(msgspec.Struct, frozen=True, tag=True):
    """The line looks like a command and is none; nothing is sent."""

    word: str


Typed = Say | ShowHelp | Leave | NoCommand


def meaning_of(line: str) -> Typed | None:
    """Return what the line asks for; None where it is blank.

    A line that begins with a slash is a command and never reaches anybody. Two slashes send what
    follows the first.
    """
    if not line.strip():
        return None
    if line.startswith("//"):
        return Say(line[1:])
    if not line.startswith("/"):
        return Say(line)
    match word := line.split()[0]:
        case "/help":
            return ShowHelp()
        case "/quit":
            return Leave()
        case _:
            return NoCommand(word)
