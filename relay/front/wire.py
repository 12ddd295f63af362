"""WebSocket framing of what the relay sends."""

from struct import Struct

_MEDIUM = Struct(">BBH").pack
_LONG = Struct(">BBQ").pack
_FINAL_TEXT = 0x81


def text_frame(payload: bytes) -> bytes:
    """Return `payload` as one unmasked, final text frame (RFC 6455, 5.2).

    The websockets library takes ten times as long for a short frame (it builds a Frame, checks
    its own state and extensions); tests/bench/bench_wire.py compares the two.
    """
    length = len(payload)
    if length < 126:
        return bytes((_FINAL_TEXT, length)) + payload
    if length < 65536:
        return _MEDIUM(_FINAL_TEXT, 126, length) + payload
    return _LONG(_FINAL_TEXT, 127, length) + payload
