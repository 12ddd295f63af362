"""The program that the supervisor is: how to start it again, as whoever started it named it.

Names, not what they stood for: where `current` is a link to a release, a program that was started
as `current/supervisor.py` is another one once the link leads elsewhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

# Where both packages are, so that a child runs the code that its supervisor runs, and never a
# module that happens to lie in the directory the supervisor was called from.
CODE: Final = Path(__file__).resolve().parents[2]


class Program(NamedTuple):
    """A Python and what it is to run, in a directory by the name that a shell has for it."""

    arguments: tuple[str, ...]  # without those that `again` adds
    directory: str
    script: str | None  # the absolute name of the file that is run; None for `python -m`

    @classmethod
    def own(cls) -> Program:
        """Return the program that this process runs."""
        return cls.of(sys.orig_argv, sys.argv, _directory())

    @classmethod
    def of(cls, original: list[str], argv: list[str], directory: str) -> Program:
        """Return the program of a `sys.orig_argv` and `sys.argv`, called in `directory`."""
        arguments = [sys.executable, *original[1:]]
        script = None
        place = len(original) - len(argv)  # of the script, or of the module behind -m
        if 0 < place < len(arguments) and arguments[place - 1] != "-m":
            script = arguments[place] = os.path.join(directory, arguments[place])
        while len(arguments) > 2 and arguments[-2] in _ADDED:
            del arguments[-2:]
        return cls(tuple(arguments), directory, script)

    def again(self, option: str, fd: int) -> list[str]:
        """Return the command line that runs it again, with an option of ours."""
        return [*self.arguments, option, str(fd)]

    def code(self) -> Path:
        """Return where the packages are now: where they were, or where the name leads today.

        The former as long as it is there: what dies is replaced by its like.
        """
        if CODE.is_dir():
            return CODE
        return Path(self.script).parent if self.script else Path(self.directory)


TAKE_OVER: Final = "--take-over"
REHEARSE: Final = "--rehearse"
_ADDED: Final = (TAKE_OVER, REHEARSE)


def _directory() -> str:
    """Return the working directory, by the name that the shell has for it if that is right."""
    named = os.environ.get("PWD", "")
    try:
        actual = os.getcwd()
    except FileNotFoundError:  # it was removed
        return named or "/"
    return named if os.path.isabs(named) and os.path.realpath(named) == actual else actual


OWN: Final = Program.own()
