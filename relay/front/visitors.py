"""Who comes and goes, in the log: in sums at level info, one by one at level debug.

A line of sums is written at an interval, where there is something to say. Below level debug one
client costs a few additions at its login and its end, and an address is not even asked for.

No line has a token, a text, or anything else that a client has made up, but its user.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from relay import log
from relay.front.networks import plain_text
from relay.process.distribution import SECONDS, Buckets
from relay.settings.tables import LogSettings

_UNKNOWN: Final = "unknown"


class Visitors:
    """The one of a front. `came` and `knows` are to be called only while they `are_logged`.

    `counters` are the front's, in which those who are turned away are counted.
    """

    def __init__(self, settings: LogSettings, counters: Counter[str]) -> None:
        """Begin with `settings`, which `adopt` changes."""
        self._log = log.get_logger()
        self._counters = counters
        self._addresses: dict[int, str] = {}  # by session, while they are logged
        self.sessions = 0  # that are logged in now
        self.logins = 0  # that have succeeded, repeated ones too
        self.logouts = 0
        self.login_s = Buckets(SECONDS)  # from when a login may be, until its worker serves it
        self._said: Counter[str] = Counter()  # up to the last line
        self._said_sessions = 0
        self.due_ms = 0
        self.adopt(settings)

    def adopt(self, settings: LogSettings) -> None:
        """Go by other settings."""
        self.are_logged = settings.level == "debug"
        if not self.are_logged:
            self._addresses.clear()
        self._every_ms = int(settings.visitors_s * 1000)
        self.due_ms = 0

    # ------------------------------------------------------------------------------- one by one

    def came(self, session: int, address: Any) -> None:
        """Say that one has connected; `address` is what its transport or its proxy calls it."""
        self.knows(session, address)
        self._log.debug("client.connected", session=session, address=self._addresses[session])

    def knows(self, session: int, address: Any) -> None:
        """Take down where one is who came before they were logged."""
        self._addresses[session] = shown(address)

    def logged_in(self, session: int, user: str, *, again: bool, took_ms: int = 0) -> None:
        """Count that one is logged in, for the first time or once more."""
        self.logins += 1
        self.login_s.add(max(0, took_ms) / 1000)
        self.sessions += not again
        if self.are_logged:
            self._say("client.logged_in", session, user=user)

    def refused(self, session: int, code: int) -> None:
        """Count a login that has failed with this code (2.2.4)."""
        self._counters[f"logins_refused_{code}"] += 1
        if self.are_logged:
            self._say("client.login_refused", session, code=code)

    def logged_out(self, session: int, user: str) -> None:
        """Count that one who was logged in is not served any more."""
        self.logouts += 1
        self.sessions -= 1
        if self.are_logged:
            self._say("client.logged_out", session, user=user)

    def went(self, session: int, user: str, *, sent: int | None, received: int | None) -> None:
        """Say that one is gone, as which user if any, and the codes of the close frames."""
        if self.are_logged:
            self._say("client.gone", session, user=user, close_sent=sent, close_received=received)
            self._addresses.pop(session, None)

    def _say(self, event: str, session: int, **fields: Any) -> None:
        address = self._addresses.get(session, _UNKNOWN)
        self._log.debug(event, session=session, address=address, **fields)

    # ---------------------------------------------------------------------------------- in sums

    def tick(self, clock_ms: int) -> None:
        """Write the line of sums if it is due; the first call begins the intervals."""
        if clock_ms >= self.due_ms:
            self.due_ms = clock_ms + self._every_ms
            self.say_sums()

    def say_sums(self) -> None:
        """Say how many there are, and who came and went since the last such line, if any did."""
        refusals = {name: n for name, n in self._counters.items() if _is_of_refusals(name)}
        sums = Counter({"logins": self.logins, "logouts": self.logouts, **refusals})
        since = sums - self._said  # without those that have not changed
        if since or self.sessions != self._said_sessions:
            least = {"sessions": self.sessions, "logins": 0, "logouts": 0}
            self._log.info("front.visitors", **(least | since))
        self._said, self._said_sessions = sums, self.sessions


def _is_of_refusals(counter: str) -> bool:
    """Whether a front's counter is of connections or logins that were turned away, by its name."""
    if counter.startswith(("frames_", "messages_")):
        return False
    return "_refused" in counter or counter.startswith("handshakes_")


def shown(address: Any) -> str:
    """Return an address as people read it."""
    match address:
        case str():
            return address
        case (str(mapped), int(port), *_):
            host = plain_text(mapped)
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case _:
            return _UNKNOWN  # it was gone before it was looked at
