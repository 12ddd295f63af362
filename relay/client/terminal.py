"""The terminal: lines of the conversation, notes about it, and the line that is being typed."""

import io
import os
import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout

from relay.client.screen import folded, printable

_COLUMNS: Final = 80  # where a terminal does not say

# In this context what is shown stands above the line that is being typed.
above_the_prompt = patch_stdout


def is_interactive() -> bool:
    """Whether somebody types and reads here."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def never_fail_to_encode() -> None:
    """Have a terminal that knows no ticks show question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def show(lines: list[str]) -> None:
    """Write lines of the conversation; each stays one line, or is folded to fit a terminal."""
    for line in lines:
        _write(sys.stdout, line)
    sys.stdout.flush()


def note(line: str) -> None:
    """Write a line about the chat itself."""
    sys.stdout.flush()
    _write(sys.stderr, f"-- {line}")
    sys.stderr.flush()


def give_up_output() -> None:
    """Whoever read our output left: keep the interpreter from flushing into the pipe again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def prompt(toolbar: Callable[[], str]) -> PromptSession[str]:
    """Return an input line with `toolbar` below it."""
    return PromptSession(
        "> ",
        erase_when_done=True,  # the transcript shows the line, with its tick
        bottom_toolbar=toolbar,
    )


def clock(t: int) -> str:
    """Return hours and minutes here; the time may be the sender's, and any number."""
    try:
        return time.strftime("%H:%M", time.localtime(t))
    except (OverflowError, ValueError, OSError):
        return "??:??"


def _write(stream: TextIO, line: str) -> None:
    for part in folded(printable(line), _width(stream), east_asian=_is_east_asian()):
        stream.write(part + "\n")


def _width(stream: TextIO) -> int | None:
    """Return the columns of the terminal behind the stream; None where none is."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def _is_east_asian() -> bool:
    """Return whether letters that are wide in East Asian fonts may be wide here."""
    names = (os.environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return next(filter(None, names), "").startswith(("zh", "ja", "ko"))
