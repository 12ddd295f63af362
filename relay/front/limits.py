"""What a session may do in a time: frames a second, and malformed ones (R28)."""

from __future__ import annotations

from collections import deque

from relay.errors import Refusal
from relay.protocol.stanza import Send
from relay.settings.tables import LimitSettings


class SessionLimits:
    """Counts what one session does against the settings."""

    __slots__ = ("_settings", "_strikes", "_tokens", "_tokens_at_ms", "has_rate")

    def __init__(self, settings: LimitSettings) -> None:
        # When malformed frames came, in ms. Even an empty deque takes 600 bytes, and few need one.
        self._strikes: deque[int] | None = None
        self._tokens = float(settings.frames_burst)
        self._tokens_at_ms = 0
        self.adopt(settings)

    def adopt(self, settings: LimitSettings) -> None:
        """Go by other settings from here on."""
        self._settings = settings
        self.has_rate = settings.frames_per_s > 0  # off by default, and asked for each frame

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
        if isinstance(element, Refusal) and not element.of_content:
            return element  # which comes first (2.3.2)
        rate = self._settings.frames_per_s
        return Refusal(
            429,
            f"more than {rate:g} frames a second",
            tag=tag,
            message_id=element.message_id if element else "",
            retry_after_s=max(1, round(1 / rate)),
        )

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
