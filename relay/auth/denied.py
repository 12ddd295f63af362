"""The operator's own list of those who are let in no more: users, and single tokens."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from relay import log
from relay.auth.contract import Denied, Granted
from relay.auth.secretfile import SecretFile
from relay.errors import JidError, SettingsError
from relay.protocol.jid import parse_user

# Lines that are told of.
MOST_WRONG: Final = 100
# One that was cut short must not let everybody in, so that nobody is denied has to be said.
NOBODY: Final = "where nobody is to be denied, a line `# nobody` says so"
_COMMENT: Final = re.compile(r"(?:^|\s)#")


class Denials(NamedTuple):
    """Local parts of users, and the `jti` of tokens."""

    users: frozenset[str]
    token_ids: frozenset[str]


def read_deny_list(file: SecretFile) -> Denials:
    """Return what a file says: a line each, `user JID` or `token JTI`.

    `#` begins a comment, at the beginning or behind a blank: it may be part of a token's name.

    Raises:
        SettingsError: it is unusable; it tells which lines are wrong.
    """
    try:
        lines = file.read().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise SettingsError(f"{file.setting}: {file.path} is not UTF-8") from None
    users: set[str] = set()
    token_ids: set[str] = set()
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        words = _COMMENT.split(line, maxsplit=1)[0].split()
        if len(wrong) == MOST_WRONG:
            wrong.append(f"{file.setting}: {file.path}: there may be more")
            break
        match words:
            case []:
                pass
            case ["user", who]:
                try:
                    users.add(parse_user(who))
                except JidError as error:
                    wrong.append(f"{file.setting}: {file.path} line {number}: {error}")
            case ["token", token_id]:
                token_ids.add(token_id)
            case _:
                wrong.append(
                    f"{file.setting}: {file.path} line {number}: `user JID` or `token JTI` is"
                    " expected"
                )
    if wrong:
        raise SettingsError(*wrong)
    return Denials(frozenset(users), frozenset(token_ids))


class DenyFile:
    """What such a file says.

    Raises:
        SettingsError: from the start, where it is unusable.
    """

    def __init__(self, file: SecretFile) -> None:
        self._file = file
        self._list = read_deny_list(file)

    def denial(self, user: str, granted: Granted) -> Denied | None:
        """See `DenyList.denial` of `relay.auth.listed`."""
        denied = self._list
        if user in denied.users:
            return Denied(403, "this user may not log in")
        if granted.token_id in denied.token_ids:
            return Denied(401, "token: it was revoked")
        return None

    def refresh(self) -> bool:
        """Read the file again if it has changed; tell whether it was."""
        if not self._file.has_changed():
            return False
        try:
            self._list = found = read_deny_list(self._file)
        except SettingsError as error:
            log.get_logger().error("auth.deny_list_unusable", reason=str(error))
            return False
        users, tokens = len(found.users), len(found.token_ids)
        log.get_logger().info("auth.deny_list_read", users=users, tokens=tokens)
        return True
