"""What an engine writes, a line each, and how much of it becomes lines of our log."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

Level = Literal["debug", "info", "warning", "error"]

_LINE: Final = re.compile(r"\[\d+\] \[([A-Z]{3})\](?: (.*))?")
_LEVELS: Final[dict[str, Level]] = {
    "TRC": "debug",
    "DBG": "debug",
    "INF": "info",
    "WRN": "warning",
    "ERR": "error",
    "FTL": "error",
}
# Warnings of what is so on purpose: its configuration is in memory alone, and a password that is
# checked by bcrypt would cost each connection a tenth of a second.
_MEANT: Final = ("Plaintext passwords detected", 'Clients that are not using "TLS Handshake First"')
# Of one connection: a client's or a route's, be it a stranger's.
_CONNECTION: Final = re.compile(r"\S+:\d+ - [a-z]id:\d+")
# What it calls errors, and every stop of another host brings about: a route that broke amid its
# handshake or a write, the first try to make it anew, the complaint of a peer that we were silent
# (its route.go and client.go), and a leader that went while others caught up with it, which is
# tried again (jetstream_cluster.go). A peer with another certificate or password is none of these.
_GONE: Final = r"(EOF|.*(connection reset|broken pipe|timeout|use of closed network connection).*)"
_PEER_WENT: Final = re.compile(
    r"Error trying to connect to route \(attempt \d+\): .*"
    r"|Error applying stream entries to .*: catchup (stalled|aborted, no leader|failed, .*)"
    rf"|\S+:\d+ - rid:\d+ - (TLS route handshake error: {_GONE}|TLS handshake timeout"
    r"|Error flushing: .*|Route Error '(Stale Connection|Secure Connection - TLS Required)')"
)
# It has found out that it cannot write, and writes no more of what it says so of until it is
# started again, wherever there is room by then: raft.go, filestore.go, stream.go, jetstream.go.
_CANNOT_WRITE: Final = re.compile(
    r"(RAFT \[[^]]*\]|Filestore \[[^]]*\]|JetStream \S+ '[^']*'|JetStream cluster meta group)"
    r" [Cc]ritical write error: .*"
    r"|JetStream out of (\S+ )?(resources|space), will be DISABLED"
    r"|File system permission denied .*disabling JetStream"
)
_READY: Final = "Server is ready"
# Of a start it writes 30, of a stranger who knocks one: whoever knocks without end is not to fill
# the disk, and not to hide what it says of itself, which has as many of its own.
MAX_LINES: Final = 200
LINES_PER_S: Final = 10.0


class Said(NamedTuple):
    """One line; what is of no level that is known, such as a row of a crash, is an error."""

    level: Level
    text: str

    @property
    def is_ready(self) -> bool:
        """Whether it lets clients in from now on."""
        return self.text == _READY

    @property
    def is_last_write(self) -> bool:
        """Whether it has ceased to write something, until it is started again."""
        return self.level == "error" and _CANNOT_WRITE.fullmatch(self.text) is not None

    @property
    def is_of_connection(self) -> bool:
        """Whether somebody who only connects can have it written."""
        return _CONNECTION.match(self.text) is not None


def said(line: str, secret: str) -> Said:
    """Return what `line` says, without the `secret`, should it be there."""
    text = line.replace(secret, "***") if secret else line
    found = _LINE.fullmatch(text)
    if found is None or found[1] not in _LEVELS:
        return Said("error", text)
    level, told = _LEVELS[found[1]], (found[2] or "").strip()
    if level == "error" and _PEER_WENT.fullmatch(told):
        level = "warning"
    is_decoration = level == "info" and not told[:1].isalnum()
    return Said("debug" if is_decoration or told.startswith(_MEANT) else level, told)


class Allowance:
    """How many lines may be logged: MAX_LINES at once, and LINES_PER_S over time."""

    def __init__(self, *, now_s: float) -> None:
        self._left: float = MAX_LINES
        self._at_s = now_s
        self.dropped = 0  # since `take_dropped`

    def takes(self, *, now_s: float) -> bool:
        """Tell whether a line may be logged, which is then counted; else count it as dropped."""
        self._left = min(MAX_LINES, self._left + LINES_PER_S * (now_s - self._at_s))
        self._at_s = now_s
        if self._left < 1:
            self.dropped += 1
            return False
        self._left -= 1
        return True

    def take_dropped(self) -> int:
        """Return how many were dropped since this was asked."""
        dropped, self.dropped = self.dropped, 0
        return dropped
