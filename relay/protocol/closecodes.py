"""Close codes of WebSocket connections (PROTOCOL section 5): RFC 6455's, and the relay's own."""

from typing import Final

INVALID_UTF8: Final = 1007
POLICY: Final = 1008  # too many malformed frames (R28)
INTERNAL: Final = 1011  # a fault of the relay; the client may come back at once
RESTART: Final = 1012  # the relay stops or is renewed
SLOW: Final = 1013  # the client does not read; what it missed is in its queue
AUTH: Final = 4401  # no login in time, or too many that failed
REPLACED: Final = 4409  # the same user and device logged in elsewhere (R27)
