"""What a session may do in a time: frames and messages a second, and malformed ones (R28)."""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache
from typing import Final

from relay.errors import Refusal
from relay.front.senders import Senders
from relay.process.rates import Rate
from relay.protocol.stanza import Send
from relay.settings.tables import Settings

# Messages that a session takes off its author's quota ahead, so that the next ones need no look at
# it. What is left of them at its end is lost to him: at most a hundredth of the burst.
_MOST_AHEAD: Final = 16
_AHEAD_OF_BURST: Final = 100


class SessionLimits:
    """Counts what one session does against the settings; what its user sends, in `authors`."""

    __slots__ = (
        "_ahead",
        "_authors",
        "_paid",
        "_quota",
        "_refused",
        "_settings",
        "_strikes",
        "_tokens",
        "_tokens_at_ms",
        "has_quota",
        "has_rate",
    )

    def __init__(self, settings: Settings, authors: Senders) -> None:
        # When malformed frames came, in ms. Even an empty deque takes 600 bytes, and few need one.
        self._strikes: deque[int] | None = None
        self._refused = 0  # messages that were, and make no strike yet
        self._tokens: float = settings.limits.frames_burst
        self._tokens_at_ms = 0
        self._authors = authors  # of the whole front: a new connection is no new author
        self._paid = 0  # messages that were taken off the quota ahead
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from here on."""
        self._settings = settings.limits
        quota = settings.quota
        self.has_quota = quota.messages_per_s > 0
        self._quota = _rate(quota.messages_per_s or 1.0, quota.messages_burst)
        self._ahead = min(_MOST_AHEAD, quota.messages_burst // _AHEAD_OF_BURST)
        # Off by default, and asked for each frame.
        self.has_rate = settings.limits.frames_per_s > 0

    def is_too_fast(self, now_ms: int) -> bool:
        """Take a token for a frame; True if none is left."""
        settings = self._settings
        # The clock may go back, which must not cost tokens.
        refilled = max(0, now_ms - self._tokens_at_ms) / 1000 * settings.frames_per_s
        self._tokens = min(settings.frames_burst, self._tokens + refilled)
        self._tokens_at_ms = now_ms
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    def too_fast(self, tag: str, element: Send | Refusal | None = None) -> Refusal:
        """Return the refusal of a frame, or of one message of it, that came too fast."""
        rate = self._settings.frames_per_s
        reason = f"more than {rate:g} frames a second"
        return _too_fast(reason, max(1, round(1 / rate)), tag, element)

    def quota_wait_ms(self, author: str, messages: int, now_ms: int) -> int:
        """Take so many messages of `author`; return after how long it may, if it may not now."""
        left = self._paid - messages
        if left < 0:
            for take in (messages + self._ahead, messages):
                wait_ms = self._authors.wait_ms(author, take, self._quota, now_ms)
                if not wait_ms:
                    left += take
                    break
            else:
                return wait_ms
        self._paid = left
        return 0

    def over_quota(self, element: Send | Refusal, wait_ms: int) -> Refusal:
        """Return the refusal of a message whose author has to wait so long."""
        per_s = 1000 / self._quota.token_ms
        reason = f"more than {per_s:g} messages a second of one author"
        return _too_fast(reason, math.ceil(wait_ms / 1000), "action", element)

    def strike(self, now_ms: int) -> bool:
        """Count a malformed frame; True if there were too many within the window."""
        settings = self._settings
        strikes = self._strikes
        if strikes is None:
            strikes = self._strikes = deque()
        strikes.append(now_ms)
        while strikes[0] <= now_ms - int(settings.malformed_window_s * 1000):
            strikes.popleft()
        return len(strikes) >= settings.malformed_frames

    def refused(self, messages: int, now_ms: int) -> bool:
        """Count refused messages, some of which make a strike; what `strike` returns."""
        self._refused += messages
        strikes, self._refused = divmod(self._refused, self._settings.refused_messages)
        return any(self.strike(now_ms) for _ in range(strikes))


# One for all sessions, of which there may be many.
_rate = lru_cache(maxsize=4)(Rate)


def _too_fast(reason: str, retry_after_s: int, tag: str, element: Send | Refusal | None) -> Refusal:
    if isinstance(element, Refusal) and not element.of_content:
        return element  # which comes first (2.3.2)
    return Refusal(
        429,
        reason,
        tag=tag,
        message_id=element.message_id if element else "",
        retry_after_s=retry_after_s,
    )
