"""The answer to a handshake that asks as nearly all do, by hand (RFC 6455, 4.2).

It is the websockets library's own answer, byte for byte, in a sixth of its time. What is plain is
decided here and nowhere else. Of all the rest nothing is said, and the library judges it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from email.utils import formatdate
from functools import lru_cache
from hashlib import sha1
from typing import Final

from relay.front.entrance.head import Head

# The library takes no longer line; so none is plain that could have one.
MOST_BYTES: Final = 8192

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# The second is Firefox's. Others may be as good, but are a list to be parsed.
_CONNECTIONS: Final = frozenset({"upgrade", "keep-alive, upgrade"})
_KEY: Final = re.compile(r"[0-9A-Za-z+/]{21}[AQgw]==")  # 16 bytes
# With one of these it may not be a handshake, or its answer not the plain one.
_JUDGED: Final = frozenset({"sec-websocket-protocol", "content-length", "transfer-encoding"})


def answer_to(request: Head, raw: bytes, *, now_s: int) -> bytes | None:
    """Return the response to a GET whose whole head is `raw`; None: it is not plain."""
    headers = dict(request.headers)
    is_plain = (
        len(headers) == len(request.headers)  # none of them twice
        and headers.get("upgrade", "").lower() == "websocket"
        and headers.get("connection", "").lower() in _CONNECTIONS
        and headers.get("sec-websocket-version") == "13"
        and _JUDGED.isdisjoint(headers)
        and request.is_of_http_1_1
        and len(raw) <= MOST_BYTES
        and raw.isascii()
    )
    key = headers.get("sec-websocket-key", "")
    if not is_plain or not _KEY.fullmatch(key):
        return None
    accepted = b64encode(sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return _response_at(now_s) % accepted


@lru_cache(maxsize=1)
def _response_at(now_s: int) -> bytes:
    date = formatdate(now_s, usegmt=True)
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nDate: {date}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
    ).encode()
