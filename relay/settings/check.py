"""`--check-config`: reads the settings and the groups, tells every mistake, and starts nothing."""

import sys
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Final, Protocol

from relay.errors import SettingsError
from relay.settings.catalogue import TablesOf, no_tables
from relay.settings.sources import Sources
from relay.settings.tables import Settings

# In place of limits.group_members where that is wrong: of one mistake no second is made.
_ANY_NUMBER: Final = sys.maxsize
# The settings that say which certificates, and which keys, are to be read.
_CERTIFICATES: Final = ("tls.", "admin.tls_")
_LOGINS: Final = ("auth.", "auth_token.", "auth_http.", "auth_proxy.")


class GroupsReader(Protocol):
    """Reads the file of groups, or raises SettingsError with what is wrong in it."""

    def __call__(self, path: Path, *, max_members: int) -> Sized:
        """Return the groups at `path`."""
        ...


def check_config(
    sources: Sources,
    read_groups: GroupsReader,
    read_keys: Callable[[Settings], object],
    read_certificates: Callable[[Settings], Sequence[str]],
    find_user: Callable[[str], object] = str,
    *,
    tables_of: TablesOf = no_tables,
    program: str = "supervisor.py",
) -> int:
    """Read what `sources` name, and all files that they name; return the exit code.

    0: one line on stdout says what was read, after warnings of certificates on stderr. 2: every
    mistake is a line on stderr.
    """
    draft = sources.draft(tables_of)
    mistakes = list(draft.mistakes)
    path = draft.settings.server.groups
    groups: Sized = ()
    if path:
        wrong = "limits.group_members" in draft.refused
        max_members = _ANY_NUMBER if wrong else draft.settings.limits.group_members
        try:
            groups = read_groups(Path(path), max_members=max_members)
        except SettingsError as error:
            mistakes += error.problems
    if not any(key.startswith(_LOGINS) for key in draft.refused):
        try:
            read_keys(draft.settings)
        except SettingsError as error:
            mistakes += error.problems
    if draft.settings.server.user:
        try:
            find_user(draft.settings.server.user)
        except SettingsError as error:
            mistakes += error.problems
    warnings: Sequence[str] = ()
    if not any(key.startswith(_CERTIFICATES) for key in draft.refused):
        try:
            warnings = read_certificates(draft.settings)
        except SettingsError as error:
            mistakes += error.problems
    report([f"warning: {warning}" for warning in warnings], program)
    if mistakes:
        report(mistakes, program)
        return 2
    read = [f"settings of {sources.config}" if sources.config else "the default settings"]
    if sources.options:
        read.append(f"{_counted(len(sources.options), 'option')} of the command line")
    if path:
        read.append(f"{_counted(len(groups), 'group')} of {path}")
    sys.stdout.write(f"ok {', '.join(read)}\n")
    return 0


def report(problems: tuple[str, ...] | list[str], program: str) -> None:
    """Write each of `problems` to stderr, a line that begins with the name of the program."""
    sys.stderr.write("".join(f"{program}: {problem}\n" for problem in problems))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
