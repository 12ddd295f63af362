"""When to show that this program lives, and when the relay is taken for dead."""

import math
from typing import Final

from relay.client.limits import Limits

_NEVER: Final = math.inf


class Pulse:
    """The signs of life of one connection, both ways, from its login on.

    A text is due when this program, or the relay, was silent for `limits.keepalive_s`, and
    `limits.confirm_s` after a receipt, which it confirms (PROTOCOL R7). Anything that the relay
    says answers it. Where nothing does in `limits.answer_s`, the connection is dead.

    Every time `up` is of a clock that is never set, in seconds.
    """

    def __init__(self, limits: Limits, *, up: float) -> None:
        self._limits: Final = limits
        self._said_at = self._heard_at = up
        self._asked_at: float | None = None  # when the text was written that is not answered yet
        self._wanted_at = _NEVER
        self.unconfirmed = 0  # receipts since the last text that was to be answered

    def said(self, *, up: float) -> None:
        """A frame was written."""
        self._said_at = up

    def asked(self, *, up: float) -> None:
        """A text was written that is to be answered."""
        self._said_at = self._asked_at = up
        self._wanted_at = _NEVER
        self.unconfirmed = 0

    def heard(self, *, up: float) -> bool:
        """The relay said something; return whether that was awaited, and `due_at` has changed."""
        was_awaited = self._asked_at is not None
        self._heard_at = up
        self._asked_at = None
        return was_awaited

    def told(self, receipts: int, *, up: float) -> None:
        """So many receipts came."""
        self.unconfirmed += receipts
        self._wanted_at = min(self._wanted_at, up + self._limits.confirm_s)

    def want(self, *, up: float) -> None:
        """Have a text due at once."""
        self._wanted_at = up

    @property
    def due_at(self) -> float:
        """When to look again: then a text is due, or the connection `is_dead`."""
        if self._asked_at is not None:
            return self._asked_at + self._limits.answer_s
        silent_since = min(self._said_at, self._heard_at)
        return min(silent_since + self._limits.keepalive_s, self._wanted_at)

    def is_dead(self, *, up: float) -> bool:
        """Whether the relay has not answered.

        Who looks far too late stood still meanwhile: the answer may be here, unread. Then it is
        asked once more.
        """
        waited_s = 0.0 if self._asked_at is None else up - self._asked_at
        return self._limits.answer_s <= waited_s <= 2 * self._limits.answer_s
