"""A WebSocket to a relay: how it is opened, and in words why it was not, or how it ended."""

import inspect
import os
import ssl
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.uri import parse_uri

from relay.client.login import Ending
from relay.handshake import SILENT_END, why

# What a relay, or a proxy before it, answers to whom it lets in later.
_TURNS_AWAY: Final = frozenset({429, 503})
_THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Connection(ClientConnection):
    """Adds what ends it to `lost_by`: the library tells that only where an answer came before."""

    def __init__(self, lost_by: list[Exception], *arguments: Any, **options: Any) -> None:
        self._lost_by = lost_by
        super().__init__(*arguments, **options)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note what it was lost by."""
        if exc is not None:
            self._lost_by.append(exc)
        super().connection_lost(exc)


def options_for(url: str, tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Return options that keep a proxy named in the environment away from this very machine.

    Raises:
        ValueError: `tls` for an address that is not `wss://`.
        websockets.exceptions.InvalidURI: `url` is no WebSocket address.
    """
    uri = parse_uri(url)
    if tls is not None and not uri.secure:
        raise ValueError(f"{url} is not wss://, and goes without TLS")
    takes_proxy = "proxy" in inspect.signature(connect.__init__).parameters  # websockets >= 15
    options: dict[str, Any] = {} if tls is None else {"ssl": tls}
    return options | ({"proxy": None} if takes_proxy and uri.host in _THIS_MACHINE else {})


def turned_away(url: str, response: Response) -> Ending:
    """Tell why there was an HTTP response in place of a handshake."""
    status = response.status_code
    if status not in _TURNS_AWAY:
        return Ending(None, f"what answers at {url} is no relay (HTTP {status})")
    # Seconds; of dates and other nonsense nothing is made.
    after = next(iter(response.headers.get_all("Retry-After")), "")
    seconds = int(after) if after.isdecimal() and len(after) < 6 else 0
    when = f"in {seconds} s" if seconds else "later"
    reason = f"the relay at {url} turns this client away (HTTP {status}); try again {when}"
    return Ending(None, reason, retry_after=seconds)


def not_opened(url: str, error: Exception) -> Ending:
    """Tell why there is no connection."""
    uri = parse_uri(url)
    if told := why(error, uri.host):
        return Ending(None, f"no connection to {url}: {told}")
    if uri.secure and _is_silent_end(error):
        return Ending(None, f"no connection to {url}: {SILENT_END}")
    return Ending(None, f"no relay answers at {url} ({cause(error)})", answered=False)


def ending_of(closed: ConnectionClosed) -> Ending:
    """Tell how an open connection ended."""
    if closed.rcvd is not None and closed.rcvd_then_sent is not False:
        code = closed.rcvd.code
        return Ending(code, closed.rcvd.reason or f"closed by the relay ({code})")
    if closed.sent is not None:  # we closed: a frame that is too big
        return Ending(None, closed.sent.reason or "closed")
    return Ending(None, "connection lost")


def cause(error: Exception) -> str:
    """Return what went wrong in a few words."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def _is_silent_end(error: BaseException) -> bool:
    """Whether a connection was there, and was over before the relay said anything."""
    while error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, EOFError | ConnectionResetError)
