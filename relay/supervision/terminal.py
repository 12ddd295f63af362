"""The terminal that the relay was started at: is it SIGHUP's reason, or does an operator reload?

The kernel says SIGHUP for both. A terminal that was there and is gone is the reason.
"""

from __future__ import annotations

import os
import signal
from typing import Final

# A shell that ends tells its jobs within this time. One that has let go of us (`disown`) does not,
# and later signals are an operator's.
TELLS_WITHIN_S: Final = 5.0


class Terminal:
    """Whether there is one; times are seconds of a clock that only grows."""

    def __init__(self, *, minds: bool) -> None:
        """Begin; not `minds` is to outlive it, as with nohup."""
        self.minds = minds and _is_there()
        self._gone_s: float | None = None  # since when it is known to be

    def look(self, *, now_s: float) -> None:
        """Note whether it is still there; to be called more often than TELLS_WITHIN_S."""
        if self.minds and self._gone_s is None and not _is_there():
            self._gone_s = now_s
        if self._gone_s is not None and now_s - self._gone_s > TELLS_WITHIN_S:
            self.minds = False

    def is_closed(self, *, now_s: float) -> bool:
        """Tell whether a SIGHUP that has come now is of its end."""
        self.look(now_s=now_s)
        return self.minds and self._gone_s is not None


def minds_hangups() -> bool:
    """Tell whether whoever started us has not asked for SIGHUP to be overlooked."""
    return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
