"""The list of users whom operators have thrown out, which holds in every mode.

data/banned.json    {"bans": [{"user": "917069852821", "since_ms": ..., "by": ..., ...}]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from relay import log
from relay.auth.contract import Denied, Granted
from relay.auth.kept import KeptFile
from relay.disk.layout import bans_path
from relay.errors import SettingsError

_DENIED: Final = Denied(403, "this user may not log in")


class Ban(msgspec.Struct, frozen=True):
    """One user who may not log in."""

    user: str  # the local part
    since_ms: int
    by: str  # who did it, as the admin's log has it
    reason: str = ""


class BanBook(msgspec.Struct, frozen=True):
    """All of them, in the order in which they came."""

    bans: list[Ban]


def bans_file(data: Path) -> KeptFile[BanBook]:
    """Return where a data directory has them."""
    return KeptFile(bans_path(data), "bans", BanBook([]))


class BanList:
    """What that file says.

    `operator` is a user who may not log in either, empty for none: operators send as that one.

    Raises:
        SettingsError: from the start, where the file is unusable.
    """

    def __init__(self, data: Path, operator: str = "") -> None:
        self._operator = operator
        self._file = bans_file(data)
        self.users = self._read()

    def _read(self) -> frozenset[str]:
        return frozenset(ban.user for ban in self._file.read().bans)

    def __contains__(self, user: object) -> bool:
        return user in self.users or (user == self._operator and bool(user))

    def denial(self, user: str, granted: Granted) -> Denied | None:
        """See `DenyList.denial`."""
        return _DENIED if user in self else None

    def refresh(self) -> bool:
        """See `DenyList.refresh`: tell whether other users are banned now."""
        if not self._file.has_changed():
            return False
        try:
            found = self._read()
        except SettingsError as error:
            log.get_logger().error("auth.bans_unusable", reason=str(error), kept="the old")
            return False
        before, self.users = self.users, found
        return found != before
