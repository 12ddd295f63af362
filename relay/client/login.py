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
_TOKEN_REFUSED: Final = frozenset({401, _CLOSED_AUTH})  # another token may do
_CLOSED_REPLACED: Final = 4409
_CLOSED_AS_BROKEN: Final = frozenset({1002, 1007, 1008})
_MAX_RETRY_AFTER_S: Final = 300.0  # however long the relay asks for
_STABLE_S: Final = 10.0  # a login that held this long starts the backoff afresh


class Ending(NamedTuple):
    """How a connection ended, or why there was none.

    `code` is the close code that the relay sent of its own accord. `answered` is False where
    nothing is there to connect to. `retry_after` is what an answer in place of a handshake asks, in
    seconds.
    """

    code: int | None
    reason: str
    answered: bool = True
    retry_after: float = 0.0


class Phase(Enum):
    """What the connection is good for."""

    OFFLINE = auto()
    LOGGING_IN = auto()
    ONLINE = auto()
    ENDING = auto()  # the login was refused; the connection is to be closed


class ClientLogin:
    """One user's login, over any number of connections.

    After `failure` is set nothing more is to be done. Until then a lost connection is to be made
    again in `retry_in` seconds. Where another token can be had (`can_renew`), one refusal of the
    last is not final: `wants_token` says that it will not do.
    """

    def __init__(self, limits: Limits) -> None:
        self.phase = Phase.OFFLINE
        self.request_due = False  # an `auth` frame is to be written
        self.failure: ClientError | None = None
        self.retry_in = 0.0
        self.token = ""  # shown at each login from here on; "": none
        self.can_renew = False
        self.wants_token = False
        self._has_renewed = False  # since the last login that succeeded
        self._limits = limits
        self._attempt = 0
        self._opened_at_s = 0.0
        self._refusal: AuthReply | None = None
        self._notice: CloseNotice | None = None

    def show(self, token: str) -> None:
        """Show this token from here on. The one that was refused is no other: that is final."""
        if self.wants_token and token == self.token:
            self.failure = LoginRefused(401, "no newer token")
        self.token = token

    def opened(self, *, up: float) -> None:
        """A WebSocket is open: log in on it."""
        self._opened_at_s = up
        self._request()

    def ask_again(self) -> None:
        """Log in once more on a connection that is online: for all to be sent again, or a token."""
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
        self.wants_token = self._has_renewed = False
        return True

    def noticed(self, notice: CloseNotice) -> None:
        """Note why the relay is about to close the connection."""
        self._notice = notice

    def lost(self, ending: Ending, *, up: float, chance: float) -> Disconnected | None:
        """The connection is gone, or could not be opened; None where `failure` is set by it."""
        code, reason = ending.code, ending.reason
        if self.phase is Phase.ONLINE and up - self._opened_at_s >= _STABLE_S:
            self._attempt = 0
        refusal, notice = self._refusal, self._notice
        self.phase = Phase.OFFLINE
        self.request_due = False
        self._refusal = self._notice = None
        self.failure = self.failure or self._final(code, reason, refusal, notice)
        if self.failure is not None:
            return None
        asked_s = max(
            ending.retry_after,
            *(part.retry_after or 0.0 for part in (refusal, notice) if part is not None),
            0.0,
        )
        self.retry_in = waiting_s(asked_s, self._attempt, self._limits, chance)
        self._attempt += 1
        if refusal is not None:
            reason = f"login refused: {refusal.reason} ({refusal.code})"
        return Disconnected(code, reason, self.retry_in, ending.answered)

    def _final(
        self, code: int | None, reason: str, refusal: AuthReply | None, notice: CloseNotice | None
    ) -> ClientError | None:
        """Return why no further login can succeed, if none can."""
        if code == _CLOSED_REPLACED or (notice is not None and notice.kind == "replaced"):
            return Replaced()
        if code is not None and code in _CLOSED_AS_BROKEN:
            return ClientFault(code, reason)
        if refusal is not None:
            refused, reason = refusal.code, refusal.reason
        elif code == _CLOSED_AUTH:
            refused = code
        else:
            return None
        if refused in _RETRYABLE_LOGINS:
            return None
        if self.can_renew and not self._has_renewed and refused in _TOKEN_REFUSED:
            self.wants_token = self._has_renewed = True
            return None
        return LoginRefused(refused, reason)


def waiting_s(asked_s: float, attempt: int, limits: Limits, chance: float) -> float:
    """Return how long to wait before an attempt: what the relay asks for, and the backoff."""
    return min(max(asked_s, 0.0), _MAX_RETRY_AFTER_S) + backoff_s(attempt, limits, chance)


def backoff_s(attempt: int, limits: Limits, chance: float) -> float:
    """Return how long to wait before attempt number `attempt` (from 0).

    Its bound doubles up to `limits.reconnect_max_s`; `chance` in [0, 1) is the part of it that is
    waited. The clients of a relay that restarts so come back over all that time (PROTOCOL 5).
    """
    # 2**20 times any sane minimum is above any sane maximum; more would overflow a float one day.
    longest_s = min(limits.reconnect_max_s, limits.reconnect_min_s * 2.0 ** min(attempt, 20))
    return longest_s * chance
