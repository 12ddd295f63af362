"""The login: which phase the connection is in, and what follows when it is lost."""

from enum import Enum, auto
from typing import Final, NamedTuple

from relay.client.errors import ClientFault, LoginRefused, Replaced
from relay.client.events import Disconnected
from relay.client.limits import Limits
from relay.client.wire import AuthReply, CloseNotice
from relay.errors import ClientError

# A login refused with one of these is tried again; every other refusal is final.
_RETRYABLE_LOGINS: Final = frozenset({429, 500, 503})
_CLOSED_AUTH: Final = 4401
_CLOSED_REPLACED: Final = 4409
_CLOSED_AS_BROKEN: Final = frozenset({1002, 1007, 1008})
_MAX_RETRY_AFTER_S: Final = 300.0  # however long the relay asks for
_STABLE_S: Final = 10.0  # a login that held this long starts the backoff afresh


class Ending(NamedTuple):
    """How a connection ended, or why there was none.

    `code` is the close code that the relay sent of its own accord. `answered` is False where
    nothing is there to connect to. `retry_after_s` is what an answer in place of a handshake asks.
    """

    code: int | None
    reason: str
    answered: bool = True
    retry_after_s: float = 0.0


class Phase(Enum):
    """What the connection is good for."""

    OFFLINE = auto()
    LOGGING_IN = auto()
    ONLINE = auto()
    ENDING = auto()  # the login was refused; the connection is to be closed


class ClientLogin:
    """One user's login, over any number of connections.

    After `failure` is set nothing more is to be done. Until then a lost connection is to be made
    again after `retry_in_s`.
    """

    def __init__(self, limits: Limits) -> None:
        self.phase = Phase.OFFLINE
        self.request_due = False  # an `auth` frame is to be written
        self.failure: ClientError | None = None
        self.retry_in_s = 0.0
        self._limits = limits
        self._attempt = 0
        self._opened_at_s = 0.0
        self._refusal: AuthReply | None = None
        self._notice: CloseNotice | None = None

    def opened(self, *, uptime_s: float) -> None:
        """A WebSocket is open: log in on it."""
        self._opened_at_s = uptime_s
        self._request()

    def ask_again(self) -> None:
        """Log in once more on a connection that is online, to have everything sent again."""
        self._request()

    def _request(self) -> None:
        self.phase = Phase.LOGGING_IN
        self.request_due = True

    def written(self) -> None:
        """The `auth` frame was written."""
        self.request_due = False

    def replied(self, reply: AuthReply) -> bool:
        """Take the answer to the login; return whether it succeeded.

        An answer that nobody waits for changes nothing and is no success.
        """
        if self.phase is not Phase.LOGGING_IN:
            return False
        if reply.status == "failure":
            self._refusal = reply
            self.phase = Phase.ENDING
            return False
        self.phase = Phase.ONLINE
        return True

    def noticed(self, notice: CloseNotice) -> None:
        """Note why the relay is about to close the connection."""
        self._notice = notice

    def lost(self, ending: Ending, *, uptime_s: float, jitter: float) -> Disconnected | None:
        """The connection is gone, or could not be opened; None where `failure` is set by it."""
        code, reason = ending.code, ending.reason
        if self.phase is Phase.ONLINE and uptime_s - self._opened_at_s >= _STABLE_S:
            self._attempt = 0
        refusal, notice = self._refusal, self._notice
        self.phase = Phase.OFFLINE
        self.request_due = False
        self._refusal = self._notice = None
        if (failure := _final(code, reason, refusal, notice)) is not None:
            self.failure = failure
            return None
        asked_s = max(
            ending.retry_after_s,
            *(part.retry_after or 0.0 for part in (refusal, notice) if part is not None),
            0.0,
        )
        backoff_s = reconnect_delay_s(self._attempt, self._limits, jitter)
        self.retry_in_s = min(asked_s, _MAX_RETRY_AFTER_S) + backoff_s
        self._attempt += 1
        if refusal is not None:
            reason = f"login refused: {refusal.reason} ({refusal.code})"
        return Disconnected(code, reason, self.retry_in_s, ending.answered)


def _final(
    code: int | None, reason: str, refusal: AuthReply | None, notice: CloseNotice | None
) -> ClientError | None:
    """Return why no further login can succeed, if none can."""
    if code == _CLOSED_REPLACED or (notice is not None and notice.kind == "replaced"):
        return Replaced()
    if code is not None and code in _CLOSED_AS_BROKEN:
        return ClientFault(code, reason)
    if refusal is not None and refusal.code not in _RETRYABLE_LOGINS:
        return LoginRefused(refusal.code, refusal.reason)
    if code == _CLOSED_AUTH:
        return LoginRefused(code, reason)
    return None


def reconnect_delay_s(attempt: int, limits: Limits, jitter: float) -> float:
    """Return how long to wait before attempt number `attempt` (from 0).

    Its bound doubles up to `limits.reconnect_max_s`; `jitter` in [0, 1) is the part of it that is
    waited. The clients of a relay that restarts so come back over all that time (PROTOCOL 5).
    """
    # 2**20 times any sane minimum is above any sane maximum; more would overflow a float one day.
    longest_s = min(limits.reconnect_max_s, limits.reconnect_min_s * 2.0 ** min(attempt, 20))
    return longest_s * jitter
