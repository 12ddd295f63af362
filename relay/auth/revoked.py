"""The list of tokens that operators have revoked, which holds in mode "token".

data/revoked.json    {"revocations": [{"kind": "token", "id": "3f2a", "expires_s": ..., ...}]}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, NamedTuple, assert_never

import msgspec

from relay import log
from relay.auth.contract import Denied, Granted
from relay.auth.kept import KeptFile
from relay.disk.layout import revocations_path
from relay.errors import SettingsError

_DENIED: Final = Denied(401, "token: it was revoked")


class TokenRevoked(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="token"):
    """The token that calls itself `id` (its `jti`), whoever it is of."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    expires_s: int = 0  # its `exp`, since 1970; 0: nobody has said
    since_ms: int
    by: str  # who did it, as the admin's log has it
    reason: str = ""


class UserRevoked(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="user"):
    """The tokens of `user`, its local part, but for those issued (`iat`) at `before_s` or later.

    One that does not say when it was issued is revoked as well.
    """

    user: str
    before_s: int
    expires_s: int = 0  # when all of them have expired; 0: nobody has said
    since_ms: int
    by: str
    reason: str = ""


Revocation = TokenRevoked | UserRevoked


class RevocationBook(msgspec.Struct, frozen=True):
    """All of them, in the order in which they came."""

    revocations: list[Revocation]


def revocations_file(data: Path) -> KeptFile[RevocationBook]:
    """Return where a data directory has them."""
    return KeptFile(revocations_path(data), "revocations", RevocationBook([]))


class _Revoked(NamedTuple):
    token_ids: frozenset[str]
    before_s: Mapping[str, int]  # by user


class RevokedList:
    """What that file says.

    Those that have expired are there for a while yet: they deny nothing that is not denied anyway.

    Raises:
        SettingsError: from the start, where the file is unusable.
    """

    def __init__(self, data: Path) -> None:
        self._file = revocations_file(data)
        self._revoked = self._read()

    def _read(self) -> _Revoked:
        return _revoked(self._file.read().revocations)

    def denial(self, user: str, granted: Granted) -> Denied | None:
        """See `DenyList.denial`; `granted` is by a token."""
        revoked = self._revoked
        if granted.token_id in revoked.token_ids:
            return _DENIED
        return _DENIED if granted.issued_s < revoked.before_s.get(user, 0) else None

    def refresh(self) -> bool:
        """See `DenyList.refresh`: tell whether other tokens are revoked now."""
        if not self._file.has_changed():
            return False
        try:
            found = self._read()
        except SettingsError as error:
            log.get_logger().error("auth.revocations_unusable", reason=str(error), kept="the old")
            return False
        before, self._revoked = self._revoked, found
        return found != before


def _revoked(revocations: Iterable[Revocation]) -> _Revoked:
    token_ids: set[str] = set()
    before_s: dict[str, int] = {}
    for each in revocations:
        match each:
            case TokenRevoked():
                token_ids.add(each.id)
            case UserRevoked():
                before_s[each.user] = max(each.before_s, before_s.get(each.user, 0))
            case _:
                assert_never(each)
    return _Revoked(frozenset(token_ids), before_s)
