"""The list of those who are let in no more, whatever they show: users, and single tokens."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple

from relay import log
from relay.auth.contract import Authenticator, Credentials, Denied, Granted, Peer, Verdict
from relay.auth.secretfile import SecretFile
from relay.errors import JidError, SettingsError
from relay.protocol.jid import parse_user

# Lines that are told of.
MOST_WRONG: Final = 100
# One that was cut short must not let everybody in, so that nobody is denied has to be said.
NOBODY: Final = "where nobody is to be denied, a line `# nobody` says so"
_COMMENT: Final = re.compile(r"(?:^|\s)#")


class DenyList(NamedTuple):
    """Local parts of users, and the `jti` of tokens."""

    users: frozenset[str]
    token_ids: frozenset[str]


def read_deny_list(file: SecretFile) -> DenyList:
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
    return DenyList(frozenset(users), frozenset(token_ids))


class Denying:
    """A mode, and the list that is held against whatever it grants.

    Raises:
        SettingsError: from the start, where the list is unusable.
    """

    def __init__(self, mode: Authenticator, file: SecretFile) -> None:
        self._mode = mode
        self._file = file
        self._list = read_deny_list(file)

    def check(
        self, credentials: Credentials, peer: Peer, *, now_s: float
    ) -> Verdict | Coroutine[Any, Any, Verdict]:
        """See `Authenticator.check`; of one who shows nothing good nobody learns what is listed."""
        verdict = self._mode.check(credentials, peer, now_s=now_s)
        if isinstance(verdict, Granted | Denied):
            return self._judged(credentials.user, verdict)
        return self._judged_later(credentials.user, verdict)

    async def _judged_later(self, user: str, verdict: Coroutine[Any, Any, Verdict]) -> Verdict:
        return self._judged(user, await verdict)

    def _judged(self, user: str, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Granted):
            if user in self._list.users:
                return Denied(403, "this user may not log in")
            if verdict.token_id in self._list.token_ids:
                return Denied(401, "token: it was revoked")
        return verdict

    def holds(self, user: str, granted: Granted) -> bool:
        """See `Authenticator.holds`."""
        denied = self._list
        if user in denied.users or granted.token_id in denied.token_ids:
            return False
        return self._mode.holds(user, granted)

    def refresh(self) -> bool:
        """See `Authenticator.refresh`."""
        changed = self._mode.refresh()
        if self._file.has_changed():
            try:
                self._list = found = read_deny_list(self._file)
            except SettingsError as error:
                log.get_logger().error("auth.deny_list_unusable", reason=str(error))
                return changed
            users, tokens = len(found.users), len(found.token_ids)
            log.get_logger().info("auth.deny_list_read", users=users, tokens=tokens)
            return True
        return changed

    def take_keys(self, content: bytes) -> None:
        """See `Authenticator.take_keys`."""
        self._mode.take_keys(content)

    async def close(self) -> None:
        """See `Authenticator.close`."""
        await self._mode.close()
