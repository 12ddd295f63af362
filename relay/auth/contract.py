"""What a mode of logging in is asked, and what it answers.

A mode never sees a connection, and a session never sees a token's inside: the front hands one's
question to the other.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Final, Protocol

import msgspec

from relay.protocol.stanza import Token


class Credentials(msgspec.Struct, frozen=True):
    """What a client says of itself: the local part that it wants to be, and what it shows."""

    user: str
    token: Token | None


class Peer(msgspec.Struct, frozen=True):
    """Where it comes from: the address, and the headers of its handshake that were asked for.

    `named` is what a proxy that is believed has called its user, empty where none has.
    """

    address: str = ""
    headers: Mapping[str, str] = {}
    named: str = ""


class Granted(msgspec.Struct, frozen=True):
    """It is that user until `until_s`, in s since 1970; 0: for as long as it likes.

    `token_id` is what a token calls itself (`jti`), empty where it does not; `issued_s` is when it
    was issued (`iat`), in s since 1970, 0 where it does not say.
    """

    until_s: int = 0
    token_id: str = ""
    issued_s: float = 0.0


class Denied(msgspec.Struct, frozen=True):
    """It is not; `code` and `reason` are what its client is told (PROTOCOL 2.2.4)."""

    code: int
    reason: str
    retry_after_s: int | float | None = None


Verdict = Granted | Denied

# What a client hears while nobody can say who it is; it may try again.
CLOSED: Final = "logins cannot be checked now, try again"


class Authenticator(Protocol):
    """One mode, in one front."""

    def check(
        self, credentials: Credentials, peer: Peer, *, now_s: float
    ) -> Verdict | Coroutine[Any, Any, Verdict]:
        """Judge a login, at once or in a while; whatever fails lets nobody in."""

    def holds(self, user: str, granted: Granted) -> bool:
        """Tell whether what was granted still stands, as far as lists and files say."""

    def refresh(self) -> bool:
        """Read again what has changed on the disk; tell whether `holds` may say otherwise now.

        What cannot be read stays as it was, and the log says so. A disk may take its time, so this
        is called in a thread of its own: what it changes it replaces whole.
        """

    def take_keys(self, content: bytes) -> None:
        """Go by another set of keys, which was fetched for it."""

    async def close(self) -> None:
        """Let go of what it holds; nothing is checked any more."""
