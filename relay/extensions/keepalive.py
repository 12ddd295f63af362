"""Signs of life that a client may ask for (PROTOCOL E13); WebSocket pings are the front's own."""

from __future__ import annotations

from typing import Final

import msgspec

from relay.errors import FrameError
from relay.extensions.contract import Asker, Extension, FrontHalf, Request
from relay.protocol.request import WHOLE_TEXT, Parts

_PONG: Final = b'["Pong",true]'


class KeepaliveText(msgspec.Struct, frozen=True, tag=True):
    """`?,,`: answered with the server's time in ms, in no frame."""


class Probe(msgspec.Struct, frozen=True, tag=True):
    """`["admin","test"]`."""


class Ping(msgspec.Struct, frozen=True, tag=True):
    """`["ping",{...}]`: answered with the server's time in seconds."""


Body = KeepaliveText | Probe | Ping


def _ping(parts: Parts) -> Ping:
    if len(parts) > 2:
        raise FrameError(400, 'expected ["ping", {"tag": "..."}]')
    return Ping()


class Keepalive(FrontHalf):
    """Answers at once: nothing is asked of anybody."""

    def requested(self, asker: Asker, body: Body) -> None:
        """Say that the relay is there."""
        now_ms = self.desk.now_ms()
        match body:
            case KeepaliveText():
                self.desk.answer(asker, b"!%d" % now_ms)
            case Probe():
                self.desk.answer(asker, asker.correlation.prefixed(_PONG))
            case Ping():
                attributes = {"from": "backend", "t": now_ms // 1000}
                self.desk.answer(asker, asker.correlation.answer("pong", attributes))


EXTENSION: Final = Extension(
    name="keepalive",
    requests={
        ("?,,", WHOLE_TEXT): Request(decode=lambda _: KeepaliveText(), before_login=True),
        ("admin", "test"): Request(decode=lambda _: Probe(), before_login=True),
        ("ping", ""): Request(decode=_ping, before_login=True),
    },
    front=Keepalive,
)
