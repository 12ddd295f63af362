"""Sheet notation: strict JSON comes out, and comes back as it was."""

from __future__ import annotations

from typing import Final

import msgspec

from relay.errors import FrameError
from relay.protocol import sheet

from .timing import in_linear_time

_MAX_DEPTH: Final = 32


def run(data: bytes) -> None:
    """Take the bytes for a text."""
    text = data.decode(errors="replace")
    in_linear_time(lambda: _converted(text), len(data))
    json = _converted(text)
    if json is None:
        return
    assert isinstance(msgspec.json.decode(json), list)
    assert _converted(json.decode()) == json


def _converted(text: str) -> bytes | None:
    try:
        return sheet.to_json(text, max_depth=_MAX_DEPTH)
    except FrameError:
        return None
