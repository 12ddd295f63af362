"""Writes the list of tokens that are revoked: the admin is the only one who does."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from relay.admin.keeper import Keeper, OwnFile
from relay.auth.revoked import (
    Revocation,
    RevocationBook,
    TokenRevoked,
    UserRevoked,
    revocations_file,
)
from relay.disk.layout import revocations_path

# So long one stays in the file that has expired: a clock that ran ahead for a moment is no reason
# to let its token in again.
KEPT_S: Final = 86_400


class Revocations:
    """Those of one data directory, read anew each time: nothing here is older than the file.

    One whose tokens have expired is told no more. From the file it goes with the first change that
    is made a day later.
    """

    def __init__(self, data: Path, keeper: Keeper | None = None, *, leeway_s: float) -> None:
        """Change them by `keeper`; without one they are this host's alone.

        `leeway_s` is how long tokens are good past their `exp`.
        """
        self._file = revocations_file(data)
        self._keeper = keeper or OwnFile(revocations_path(data))
        self._leeway_s = leeway_s

    def all(self, now_s: float) -> list[Revocation]:
        """Return those that count, in the order in which they came.

        Raises:
            SettingsError: the file is unusable; nothing is revoked or restored until it is mended.
        """
        found = self._file.read().revocations
        return [each for each in found if not self._is_over(each, now_s)]

    def add(self, asked: Revocation, now_s: float) -> Revocation:
        """Revoke, durably; return what counts: of the same tokens whichever denies more.

        Raises:
            SettingsError: as `all`.
            DiskError: it cannot be written, or would be larger than fronts read.
        """
        counts = asked

        def edit() -> bytes | None:
            nonlocal counts
            found = self._file.read().revocations
            before = next((each for each in found if _is_same(each, asked)), None)
            counts = asked if before is None else _stronger(before, asked)
            if counts is before:
                return None
            return self._text([*(each for each in found if each is not before), counts], now_s)

        self._keeper.change(edit)
        return counts

    def remove(self, asked: Revocation, now_s: float) -> bool:
        """Let the tokens of `asked` count again, durably; tell whether they did not.

        Raises:
            SettingsError, DiskError: as `add`.
        """
        gone: list[Revocation] = []

        def edit() -> bytes | None:
            nonlocal gone
            found = self._file.read().revocations
            gone = [each for each in found if _is_same(each, asked)]
            left = [each for each in found if each not in gone]
            return self._text(left, now_s) if gone else None

        self._keeper.change(edit)
        return any(not self._is_over(each, now_s) for each in gone)

    def _is_over(self, revocation: Revocation, now_s: float) -> bool:
        """Tell whether all its tokens have expired."""
        return 0 < revocation.expires_s <= now_s - self._leeway_s

    def _text(self, revocations: list[Revocation], now_s: float) -> bytes:
        kept = [each for each in revocations if not self._is_over(each, now_s - KEPT_S)]
        return self._file.text(RevocationBook(kept), to_make_room="restore tokens first")


def _is_same(one: Revocation, other: Revocation) -> bool:
    match one, other:
        case TokenRevoked(), TokenRevoked():
            return one.id == other.id
        case UserRevoked(), UserRevoked():
            return one.user == other.user
        case _:
            return False


def _stronger(found: Revocation, asked: Revocation) -> Revocation:
    """Return what denies all that either of them does, `found` itself where that does."""
    expires_s = max(found.expires_s, asked.expires_s)
    if 0 in (found.expires_s, asked.expires_s):
        expires_s = 0
    changes = {"expires_s": expires_s}
    if isinstance(found, UserRevoked) and isinstance(asked, UserRevoked):
        changes["before_s"] = max(found.before_s, asked.before_s)
    if all(getattr(found, name) == value for name, value in changes.items()):
        return found
    return msgspec.structs.replace(asked, **changes)
