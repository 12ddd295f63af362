"""A mode, and lists of those who are let in no more, whatever it grants them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from relay.auth.contract import Authenticator, Credentials, Denied, Granted, Peer, Verdict


class DenyList(Protocol):
    """One list."""

    def denial(self, user: str, granted: Granted) -> Denied | None:
        """Return what one hears whom a mode lets in and this list does not; None: it does."""

    def refresh(self) -> bool:
        """See `Authenticator.refresh`; `denial` may say otherwise now."""


class Listed:
    """A mode, None for one in which nobody checks, and lists that hold against all it grants."""

    def __init__(self, mode: Authenticator | None, *lists: DenyList) -> None:
        """The first list that denies one says why."""
        self._mode = mode
        self._lists = lists

    def check(
        self, credentials: Credentials, peer: Peer, *, now_s: float
    ) -> Verdict | Coroutine[Any, Any, Verdict]:
        """See `Authenticator.check`; of one who shows nothing good nobody learns what is listed."""
        if self._mode is None:
            return self._judged(credentials.user, Granted())
        verdict = self._mode.check(credentials, peer, now_s=now_s)
        if isinstance(verdict, Granted | Denied):
            return self._judged(credentials.user, verdict)
        return self._judged_later(credentials.user, verdict)

    async def _judged_later(self, user: str, verdict: Coroutine[Any, Any, Verdict]) -> Verdict:
        return self._judged(user, await verdict)

    def _judged(self, user: str, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Granted):
            return self._denial(user, verdict) or verdict
        return verdict

    def _denial(self, user: str, granted: Granted) -> Denied | None:
        for each in self._lists:
            denied = each.denial(user, granted)
            if denied is not None:
                return denied
        return None

    def holds(self, user: str, granted: Granted) -> bool:
        """See `Authenticator.holds`."""
        if self._denial(user, granted) is not None:
            return False
        return self._mode is None or self._mode.holds(user, granted)

    def refresh(self) -> bool:
        """See `Authenticator.refresh`."""
        changed = [each.refresh() for each in self._lists]
        if self._mode is not None:
            changed.append(self._mode.refresh())
        return any(changed)

    def take_keys(self, content: bytes) -> None:
        """See `Authenticator.take_keys`."""
        if self._mode is not None:
            self._mode.take_keys(content)

    async def close(self) -> None:
        """See `Authenticator.close`."""
        if self._mode is not None:
            await self._mode.close()
