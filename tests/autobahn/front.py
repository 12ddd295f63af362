"""A front that sends back what comes: everything of it is the relay's, but for what a session does.

Methods are replaced on the classes, so that it does not matter who makes one.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from relay.bus.envelopes import Seq
from relay.front.connection import Connection
from relay.front.front import main
from relay.front.login import Stage
from relay.front.session import Session
from relay.front.websocket import WebSocket
from relay.front.wire import Other, SharedFrame
from relay.process.run import run

_FINAL_BINARY: Final = b"\x82"

_make_session = Session.__init__
_take_text = Connection._text
_split = WebSocket.split
_framed = SharedFrame.framed


class Text(bytes):
    """A payload that came as a text; all others go back as binary messages."""


def make_session(session: Session, *arguments: Any, **named: Any) -> None:
    """Have a session that is logged in from the start, without a worker."""
    _make_session(session, *arguments, **named)
    session.login.user = "echo"
    session.login.stage = Stage.LIVE


def receive(session: Session, payload: bytes, *, now_ms: int) -> None:
    """Answer a message with the same."""
    if session.is_read:
        session.out.frames.append(payload)


def lost(session: Session, *, written: Seq | None = None) -> None:
    """End; no worker has heard of it."""
    session.login.stage = Stage.ENDED


def announce(session: Session) -> None:
    """Say nothing to a worker's successor."""


def take_text(connection: Connection, payload: bytes, now_ms: int) -> None:
    """Tell texts from binary messages, which a session of the relay takes alike."""
    _take_text(connection, Text(payload), now_ms)


def split(ws: WebSocket, data: bytes, **most: int) -> list[bytes | Other]:
    """Tell texts from binary messages here too, where nearly all texts come out."""
    frames = _split(ws, data, **most)
    return [frame if isinstance(frame, Other) else Text(frame) for frame in frames]


def framed(shared: SharedFrame, payload: bytes) -> bytes:
    """Make a text frame as the relay does, and a binary one of what came as binary."""
    frame = _framed(shared, payload)
    return frame if isinstance(payload, Text) else _FINAL_BINARY + frame[1:]


REPLACED: Final = (
    (Session, "__init__", make_session),
    (Session, "receive", receive),
    (Session, "lost", lost),
    (Session, "announce", announce),
    (Connection, "_text", take_text),
    (WebSocket, "split", split),
    (SharedFrame, "framed", framed),
)


if __name__ == "__main__":
    for kind, name, replacement in REPLACED:
        setattr(kind, name, replacement)
    sys.exit(run("front", main))
