"""A front that sends back what comes: everything of it is the relay's, but for the session."""

from __future__ import annotations

import sys
from typing import Any, Final

from relay.bus.envelopes import Seq
from relay.front import hub, listener
from relay.front.connection import Connection
from relay.front.front import main
from relay.front.login import Stage
from relay.front.session import Session
from relay.front.wire import SharedFrame
from relay.process.run import run

_FINAL_BINARY: Final = b"\x82"


class Binary(bytes):
    """A payload that came as a binary message, and goes back as one."""


class EchoSession(Session):
    """Is logged in from the start, without a worker, and answers a message with the same."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.login.user = "echo"
        self.login.stage = Stage.LIVE
        self.is_text = False  # what it is handed next

    def receive(self, payload: bytes, *, now_ms: int) -> None:
        if self.is_read:
            self.out.frames.append(payload if self.is_text else Binary(payload))

    def lost(self, *, written: Seq | None = None) -> None:
        self.login.stage = Stage.ENDED

    def announce(self) -> None:
        pass


class EchoConnection(Connection):
    """Tells the session which messages are texts: the relay's own does not ask."""

    session: EchoSession

    def _text(self, payload: bytes, now_ms: int) -> None:
        self.session.is_text = True
        try:
            super()._text(payload, now_ms)
        finally:
            self.session.is_text = False


class EchoFrames(SharedFrame):
    """Makes text frames as the relay does, and binary ones of what came as binary."""

    def framed(self, payload: bytes) -> bytes:
        frame = super().framed(payload)
        return _FINAL_BINARY + frame[1:] if isinstance(payload, Binary) else frame


SUBSTITUTES: Final = (
    (hub, "Session", EchoSession),
    (hub, "SharedFrame", EchoFrames),
    (listener, "Connection", EchoConnection),
)


if __name__ == "__main__":
    for module, name, substitute in SUBSTITUTES:
        getattr(module, name)  # a name that is not there is an error here, not an echo less
        setattr(module, name, substitute)
    sys.exit(run("front", main))
