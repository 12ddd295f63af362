"""A `ClientProtocol` for tests, with the clock set and frames as Python values."""

import json
from typing import Any

from relay.client.events import Event, Level, Message
from relay.client.limits import Limits
from relay.client.login import Ending
from relay.client.moment import Moment
from relay.client.protocol import ClientProtocol
from tests.client.fake_relay import AUTH_OK, queue

ASHA, BEN, CARL = "917069852821", "919428284313", "919354513536"
GROUP = "917069852821-1566557065@g.us"
NOW_S = 1_566_970_700


class Harness:
    """A `ClientProtocol` with the clock set and frames as Python values."""

    def __init__(self, user: str = ASHA, **limits: Any) -> None:
        self.protocol = ClientProtocol(user, limits=Limits(**limits))
        self.up = 0.0
        self.chance = 0.0

    @property
    def now(self) -> Moment:
        return Moment(NOW_S, self.up, self.chance)

    def receive(self, *frames: Any) -> list[Event]:
        events = []
        for frame in frames:
            events += self.protocol.receive(json.dumps(frame), self.now)
        return events

    def written(self) -> list[Any]:
        """Write everything that is due; return it."""
        frames = []
        while (frame := self.protocol.next_frame(self.now)) is not None:
            self.protocol.frame_sent()
            frames.append(json.loads(frame))
        return frames

    def log_in(self, *frames: Any) -> list[Event]:
        self.protocol.connection_opened(self.now)
        assert self.protocol.next_frame(self.now) is not None
        self.protocol.frame_sent()
        return self.receive(AUTH_OK, *(frames or (queue(),)))

    def lose(
        self, code: int | None = None, reason: str = "", *, jitter: float = 0.0
    ) -> list[Event]:
        now = self.now._replace(chance=jitter)
        return self.protocol.connection_lost(Ending(code, reason), now)

    def submit(self, message_id: str, to: str = BEN, text: str = "hi") -> None:
        self.protocol.submit(to, {"conversation": text}, message_id, self.now)

    def take(self) -> list[Event]:
        """Take every event as an application does: the next one acks the one before."""
        events = []
        while (event := self.protocol.next_event()) is not None:
            events.append(event)
            if isinstance(event, Message):
                self.protocol.acknowledge(event, Level.DELIVERED, self.now)
        return events

    def taken_ids(self) -> list[str]:
        return [event.id for event in self.take() if isinstance(event, Message)]
