"""The list of those who are let in no more, whatever they show: users, and single tokens."""

from __future__ import annotations

from typing import NamedTuple

from relay.auth.secretfile import SecretFile
from relay.errors import JidError, SettingsError
from relay.protocol.jid import parse_user


class DenyList(NamedTuple):
    """Local parts of users, and the `jti` of tokens."""

    users: frozenset[str]
    token_ids: frozenset[str]


NOBODY = DenyList(frozenset(), frozenset())


def read_deny_list(file: SecretFile) -> DenyList:
    """Return what a file says: a line each, `user JID` or `token JTI`; `#` begins a comment.

    Raises:
        SettingsError: it is unusable; it tells every line that is wrong.
    """
    try:
        lines = file.read().decode().splitlines()
    except UnicodeDecodeError:
        raise SettingsError(f"{file.setting}: {file.path} is not UTF-8") from None
    users, token_ids, wrong = set(), set(), []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
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
