"""What a client may ask of the server itself (PROTOCOL E15): version, limits, capabilities."""

from __future__ import annotations

from typing import Final

from relay import __version__
from relay.extensions.contract import Asker, Extension, FrontHalf, Request

NAME: Final = "web-server-socket"  # as the protocol has it
PROTOCOL: Final = 1
_DAY_S: Final = 86_400


class ServerInfo(FrontHalf):
    """Answers from the settings as they are now."""

    def requested(self, asker: Asker, body: None) -> None:
        """Say what holds here; times of keeping are seconds, `time` is ms."""
        settings = self.desk.settings
        attributes = {
            "from": "backend",
            "name": NAME,
            "version": __version__,
            "protocol": PROTOCOL,
            "caps": list(self.desk.capabilities),
            "auth": settings.auth.mode,
            "time": self.desk.now_ms(),
            "maxFrame": settings.limits.frame_bytes,
            "maxParticipants": settings.limits.group_members,
            "maxQueue": settings.mailbox.max_entries,
            "queueTtl": int(settings.mailbox.ttl_days * _DAY_S),
            "retention": int(settings.dedupe.retention_days * _DAY_S),
            "ping": round(settings.keepalive.ping_interval_s, 3),
        }
        self.desk.answer(asker, asker.correlation.answer("Props", attributes))


EXTENSION: Final = Extension(
    name="serverinfo",
    requests={("query", "server"): Request(decode=lambda _: None, before_login=True)},
    front=ServerInfo,
)
