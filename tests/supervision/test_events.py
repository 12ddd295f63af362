"""What the messages of a process mean to the fleet."""

from __future__ import annotations

import pytest

from relay.process.control import (
    ChildReady,
    Heartbeat,
    KeysWanted,
    LogLost,
    PeerGone,
    Standing,
)
from relay.supervision.events import (
    Beat,
    ChannelClosed,
    Event,
    FoundLoss,
    KeysAsked,
    Served,
    StoodBy,
    event_of,
)


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (ChildReady("ipc:///w0", "10.0.0.1:1", 7), Served(3, "ipc:///w0", "10.0.0.1:1", 7)),
        (Heartbeat(sessions=2), Beat(3, Heartbeat(sessions=2))),
        (Standing(12), StoodBy(3, 12)),
        (LogLost(), FoundLoss(3)),
        (KeysWanted(), KeysAsked()),
        (PeerGone(), ChannelClosed(3)),
    ],
)
def test_a_message_is_an_event_of_who_has_sent_it(
    message: ChildReady | Heartbeat | KeysWanted | LogLost | PeerGone | Standing, event: Event
) -> None:
    assert event_of(3, message) == event
