"""What a connection must have done by when: log in, read what it was sent, answer a close.

Times are those of one clock that never jumps, in ms; 0 is none.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

# How long a peer may take to answer a close frame before the connection is cut.
CLOSE_TIMEOUT_MS: Final = 5_000


class Overdue(enum.Enum):
    """Which deadline has passed."""

    CLOSE = enum.auto()  # our close frame was not answered
    LOGIN = enum.auto()  # no login has succeeded (2.2.5)
    TOKEN = enum.auto()  # what its login showed is no longer good (E1)
    READING = enum.auto()  # nothing was read of what waits (2.1)


class Deadlines(msgspec.Struct, eq=False, gc=False):
    """The deadlines of one connection; once its close is awaited, that is the only one."""

    _login_ms: int = 0
    _reading_ms: int = 0
    _token_ms: int = 0
    _waiting_bytes: int = 0
    _close_ms: int = 0
    awaits_close: bool = False  # only the end of the connection is awaited
    awaits_reading: bool = False  # the client does not read what waits for it

    def expect_login(self, until_ms: int) -> None:
        """Expect a login that succeeds until then; 0: one has."""
        self._login_ms = until_ms

    def expect_token(self, until_ms: int) -> None:
        """Expect another login until then; 0: the last one is good for ever."""
        self._token_ms = until_ms

    def expect_reading(self, until_ms: int, waiting_bytes: int) -> None:
        """Expect the client to take some of the `waiting_bytes` until then."""
        self.awaits_reading = True
        self._reading_ms = until_ms
        self._waiting_bytes = waiting_bytes

    def has_read(self) -> None:
        """Take it that the client has read what waited."""
        self.awaits_reading = False
        self._reading_ms = 0

    def has_read_some(self, waiting_bytes: int) -> bool:
        """Tell whether fewer bytes wait than when the time began: it is slow, but it reads."""
        return waiting_bytes < self._waiting_bytes

    def expect_close(self, clock_ms: int) -> None:
        """Expect the end of the connection in a while; a second call changes nothing."""
        if not self.awaits_close:
            self.awaits_close = True
            self._close_ms = clock_ms + CLOSE_TIMEOUT_MS

    def overdue(self, clock_ms: int, *, is_logged_in: bool) -> Overdue | None:
        """Return the deadline that has passed, if one has."""
        if self.awaits_close:
            return Overdue.CLOSE if clock_ms >= self._close_ms else None
        if not is_logged_in and clock_ms >= self._login_ms:
            return Overdue.LOGIN
        if is_logged_in and self._token_ms and clock_ms >= self._token_ms:
            return Overdue.TOKEN
        if self._reading_ms and clock_ms >= self._reading_ms:
            return Overdue.READING
        return None

    def due_ms(self, *, is_logged_in: bool) -> int:
        """Return when `overdue` may next find something; 0 where nothing is expected."""
        if self.awaits_close:
            return self._close_ms
        login_ms = self._token_ms if is_logged_in else self._login_ms
        if login_ms and self._reading_ms:
            return min(login_ms, self._reading_ms)
        return login_ms or self._reading_ms
