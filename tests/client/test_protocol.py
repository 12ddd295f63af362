"""The whole protocol against a model of the relay: whatever gets lost, nothing is."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.client.events import Level, Message, Sent
from tests.client.fake_relay import AUTH_OK, ack, message, queue
from tests.client.protocol_harness import Harness


class ModelRelay:
    """What PROTOCOL promises, for one client, over a connection that may break at any frame."""

    def __init__(self) -> None:
        self.mailbox: dict[str, list[Any]] = {}
        self.stored: list[str] = []
        self.to_relay: list[Any] = []
        self.to_client: list[Any] = []
        self.logged_in = False

    def lose_connection(self) -> None:
        self.to_relay, self.to_client, self.logged_in = [], [], False

    def deliver(self, message_id: str) -> None:
        self.mailbox[message_id] = message(message_id)
        if self.logged_in:
            self.to_client.append(self.mailbox[message_id])

    def read_one(self) -> None:
        match self.to_relay.pop(0):
            case ["auth", *_]:
                self.logged_in = True
                entries = list(self.mailbox.values())
                pages = [entries[i : i + 3] for i in range(0, len(entries), 3)] or [[]]
                self.to_client += [AUTH_OK, *(queue(*page) for page in pages)]
            case ["Msg", {"id": message_id}]:
                assert self.logged_in
                self.mailbox.pop(message_id, None)
            case ["action", _, [{"key": {"id": message_id}}]]:
                assert self.logged_in
                if message_id not in self.stored:
                    self.stored.append(message_id)
                self.to_client.append(ack(message_id))
            case frame:
                raise AssertionError(frame)


STEPS = ["connect", "lose", "write", "relay reads", "client reads", "take", "deliver", "submit"]


@given(st.lists(st.sampled_from(STEPS), max_size=120), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_whatever_gets_lost_every_message_arrives_once_in_order_and_every_send_is_stored_once(
    steps: list[str], held_messages: int
) -> None:
    harness, relay = Harness(held_messages=held_messages), ModelRelay()
    protocol = harness.protocol
    connected = False
    delivered: list[str] = []
    submitted: list[str] = []
    taken: list[str] = []
    accepted: list[str] = []

    def take_one() -> bool:
        event = protocol.next_event()
        if isinstance(event, Message):
            taken.append(event.id)
            protocol.acknowledge(event, Level.DELIVERED, harness.now)
        elif isinstance(event, Sent):
            accepted.append(event.id)
        return event is not None

    def write_one() -> bool:
        frame = protocol.next_frame(harness.now) if connected else None
        if frame is None:
            return False
        relay.to_relay.append(json.loads(frame))
        protocol.frame_sent()
        return True

    def step(name: str) -> bool:
        nonlocal connected
        match name:
            case "connect" if not connected:
                connected = True
                protocol.connection_opened(harness.now)
            case "lose" if connected:
                connected = False
                relay.lose_connection()
                harness.lose()
            case "write":
                return write_one()
            case "relay reads" if relay.to_relay:
                relay.read_one()
            case "client reads" if relay.to_client:
                harness.receive(relay.to_client.pop(0))
            case "take":
                return take_one()
            case "deliver":
                delivered.append(f"D{len(delivered)}")
                relay.deliver(delivered[-1])
            case "submit":
                submitted.append(f"S{len(submitted)}")
                harness.submit(submitted[-1])
            case _:
                return False
        return True

    for name in steps:
        step(name)
    # Then the network is well, and everything comes to rest.
    while any(step(name) for name in ("connect", "write", "relay reads", "client reads", "take")):
        pass

    assert taken == delivered
    assert relay.stored == submitted
    assert accepted == submitted
    assert relay.mailbox == {}
    assert protocol.unacked == 0
