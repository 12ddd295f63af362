"""A raw client that keeps its user in touch whatever becomes of its connections."""

from contextlib import suppress

from tests.outside.frames import AUTH_SUCCESS, Frame, auth_frame, message_id_of, queued_in
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for
from tests.outside.websocket import ConnectionOver


class Roamer:
    """A user who comes back whenever the connection is lost, as a client should.

    What has no ack 1 is sent again; what comes is acked, and noted once.
    """

    def __init__(self, relay: Relay, user: str) -> None:
        self.user = user
        self.unanswered: dict[str, str] = {}  # to whom, by message id
        self.seen: dict[str, Frame] = {}
        self.receipts: set[str] = set()
        self._relay = relay
        self.log_in()

    def log_in(self) -> None:
        poll_for(f"{self.user} connects", self._can_connect)
        self.client.user = self.user
        self.has_queue = False
        # Where the connection is closing already the next `read` finds out; so below.
        with suppress(ConnectionOver):
            self.client.send(auth_frame(self.user))
            for message_id, to in self.unanswered.items():
                self.client.send_message(to, message_id)

    def _can_connect(self) -> bool:
        try:
            self.client = self._relay.connect()
        except (ConnectionOver, OSError):
            return False
        return True

    def send(self, to: str, message_id: str) -> None:
        self.unanswered[message_id] = to
        with suppress(ConnectionOver):
            self.client.send_message(to, message_id)

    def read(self) -> None:
        """Take one frame, or note that the connection is over."""
        try:
            self._take(self.client.recv())
        except ConnectionOver:
            self.client.drop()
            self.log_in()

    def _take(self, frame: Frame) -> None:
        match frame:
            case ["auth", _]:
                assert frame == AUTH_SUCCESS
            case ["q", _]:
                for inner in queued_in(frame):
                    self._take(inner)
                self.has_queue = True
            case ["action", *_]:
                self.seen.setdefault(message_id_of(frame), frame)
                self.client.ack(frame)
            case ["Msg", {"ack": 1}]:
                self.unanswered.pop(message_id_of(frame), None)
            case ["Msg", _]:
                self.receipts.add(message_id_of(frame))
            case _:
                assert frame == ["Cmd", {"type": "disconnect", "kind": "shutdown"}]
