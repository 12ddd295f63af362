"""What the relay of a run asks of whoever comes, and what its users show: TLS and tokens."""

from __future__ import annotations

import secrets
import ssl
import time
from pathlib import Path
from typing import Final

import jwt

from tests.outside.certificates import Authority, tls_config

HOST: Final = "127.0.0.1"
_TTL_S: Final = 24 * 3600  # longer than any run: a token's end is no fault that is tried here


class Guard:
    """With `tls` the relay has a certificate of an authority of this run, whom its users trust.

    With `tokens` it has a secret, and its users show what that signs.
    """

    def __init__(self, *, tls: bool = False, tokens: bool = False) -> None:
        self._authority = Authority("chaos") if tls else None
        self._secret = secrets.token_urlsafe(48) if tokens else ""
        self.tls: Final[ssl.SSLContext | None] = (
            self._authority.trusted() if self._authority else None
        )

    def url(self, port: int) -> str:
        """Return where a relay at `port` is."""
        return f"{'wss' if self._authority else 'ws'}://{HOST}:{port}/"

    def config(self, directory: Path) -> str:
        """Write what the relay has to have below `directory`; return settings that name it."""
        if self._authority is None:
            return ""
        return tls_config(self._authority.issue(HOST).write(directory, "relay"))

    def arguments(self, directory: Path) -> tuple[str, ...]:
        """Write what the relay has to know below `directory`; return options that name it."""
        if not self._secret:
            return ()
        path = directory / "secret"
        path.touch(mode=0o600)
        path.write_text(self._secret)
        return "--auth", "token", "--token-secret", str(path)

    def token_of(self, user: str) -> str:
        """Return what a user shows at a login; empty where nobody asks."""
        if not self._secret:
            return ""
        return jwt.encode({"sub": user, "exp": int(time.time()) + _TTL_S}, self._secret, "HS256")
