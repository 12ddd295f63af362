"""Who comes and goes, in the log at level debug: addresses, logins, closes.

At any other level it costs a look at a flag, and an address is not even asked for.
"""

from __future__ import annotations

from typing import Any

from relay import log


class Visitors:
    """The lines about clients; to be asked for only while they `are_logged`."""

    def __init__(self, level: str) -> None:
        """Begin at the `level` of the settings, which `adopt` changes."""
        self._log = log.get_logger()
        self.adopt(level)

    def adopt(self, level: str) -> None:
        """Go by another level."""
        self.are_logged = level == "debug"

    def came(self, session: int, address: Any) -> None:
        """Say that one has connected; `address` is what the transport calls it."""
        self._log.debug("client.connected", session=session, address=_shown(address))

    def logged_in(self, session: int, user: str) -> None:
        """Say that one is logged in, for the first time or once more."""
        self._log.debug("client.logged_in", session=session, user=user)

    def went(self, session: int, user: str, *, sent: int | None, received: int | None) -> None:
        """Say that one is gone, as which user if any, and the codes of the close frames."""
        self._log.debug(
            "client.gone", session=session, user=user, close_sent=sent, close_received=received
        )


def _shown(address: Any) -> str:
    match address:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case _:
            return "unknown"  # it was gone before it was looked at
