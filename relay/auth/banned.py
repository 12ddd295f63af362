"""The list of users whom operators have thrown out, in the data directory of the relay.

    data/banned.json    {"bans": [{"user": "917069852821", "since_ms": ..., "by": ..., ...}]}

The admin alone writes it, whole and synced; fronts read it when it has changed, in every mode. It
is beside the stores: no re-sharding touches it.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec

from relay import log
from relay.auth.contract import Authenticator, Credentials, Denied, Granted, Peer, Verdict
from relay.auth.secretfile import SecretFile
from relay.disk.layout import bans_path
from relay.errors import SettingsError


class Ban(msgspec.Struct, frozen=True):
    """One user who may not log in."""

    user: str  # the local part
    since_ms: int
    by: str  # who did it, as the admin's log has it
    reason: str = ""


class _Bans(msgspec.Struct, frozen=True):
    bans: list[Ban]


def encode_bans(bans: Iterable[Ban]) -> bytes:
    """Return the content of the file."""
    return msgspec.json.format(msgspec.json.encode(_Bans(list(bans))), indent=0) + b"\n"


class BanList:
    """What the file in a data directory says; one that was never written says nothing.

    `operator` is a user who may not log in either, empty for none: operators send as that one.

    Raises:
        SettingsError: from the start, where the file is unusable.
    """

    def __init__(self, data: Path, operator: str = "") -> None:
        self._operator = operator
        self.path = bans_path(data)
        self._file = SecretFile(str(self.path), "bans", is_secret=False)
        self.users: frozenset[str] = frozenset()
        if self.path.exists():
            self.users = frozenset(ban.user for ban in self.read())

    def __contains__(self, user: object) -> bool:
        return user in self.users or (user == self._operator and bool(user))

    def read(self) -> list[Ban]:
        """Return what the file says now, in its order.

        Raises:
            SettingsError: it is unusable.
        """
        if not self.path.exists():
            return []
        try:
            return msgspec.json.decode(self._file.read(), type=_Bans).bans
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SettingsError(f"bans: {self.path} is damaged: {error}") from None

    def refresh(self) -> bool:
        """Read the file again if it has changed; tell whether other users are banned now."""
        if not self._file.has_changed():
            return False
        try:
            found = frozenset(ban.user for ban in self.read())
        except SettingsError as error:
            log.get_logger().error("auth.bans_unusable", reason=str(error), kept="the old")
            return False
        before, self.users = self.users, found
        return found != before


class Banning:
    """A mode, None for one in which nobody checks, and the bans that hold against all it grants."""

    def __init__(self, mode: Authenticator | None, bans: BanList) -> None:
        self._mode = mode
        self._bans = bans

    def check(
        self, credentials: Credentials, peer: Peer, *, now_s: float
    ) -> Verdict | Coroutine[Any, Any, Verdict]:
        """See `Authenticator.check`; of one who shows nothing good nobody learns who is banned."""
        if self._mode is None:
            return self._judged(credentials.user, Granted())
        verdict = self._mode.check(credentials, peer, now_s=now_s)
        if isinstance(verdict, Granted | Denied):
            return self._judged(credentials.user, verdict)
        return self._judged_later(credentials.user, verdict)

    async def _judged_later(self, user: str, verdict: Coroutine[Any, Any, Verdict]) -> Verdict:
        return self._judged(user, await verdict)

    def _judged(self, user: str, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Granted) and user in self._bans:
            return Denied(403, "this user may not log in")
        return verdict

    def holds(self, user: str, granted: Granted) -> bool:
        """See `Authenticator.holds`."""
        if user in self._bans:
            return False
        return self._mode is None or self._mode.holds(user, granted)

    def refresh(self) -> bool:
        """See `Authenticator.refresh`."""
        changed = self._bans.refresh()
        return (self._mode is not None and self._mode.refresh()) or changed

    def take_keys(self, content: bytes) -> None:
        """See `Authenticator.take_keys`."""
        if self._mode is not None:
            self._mode.take_keys(content)

    async def close(self) -> None:
        """See `Authenticator.close`."""
        if self._mode is not None:
            await self._mode.close()
