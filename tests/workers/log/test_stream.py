"""What a range's stream says to others than the log: that its worker lives."""

from __future__ import annotations

from typing import Any

import pytest

from relay.cluster.natsframes import NO_HEADERS, Message
from relay.cluster.natswire import Login, Server
from relay.cluster.vouching import Vouch, decode_vouch
from workers.log import stream as module
from workers.log.stream import Stream


class PlayedWire:
    """A connection whose messages a test makes."""

    max_payload = 1 << 20

    def __init__(self, *_: Any, **__: Any) -> None:
        self.subjects: list[str] = []
        self.came: list[Message] = []
        self.sent: list[tuple[str, bytes]] = []

    def subscribe(self, subject: str) -> int:
        self.subjects.append(subject)
        return len(self.subjects)

    def publish(self, subject: str, payload: bytes, **_: Any) -> None:
        self.sent.append((subject, payload))

    def flush(self) -> None:
        """Send at once."""

    def close(self) -> None:
        """Be gone."""

    def receive(self, timeout_s: float) -> list[Message]:
        came, self.came = self.came, []
        return came

    def call(self, subject: str, reply: str) -> None:
        sid = 1 + self.subjects.index(subject)
        self.came.append(Message(sid, subject, reply, 0, NO_HEADERS, b""))


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    monkeypatch.setattr(module, "Wire", PlayedWire)
    login = Login(user="", password="", ca="")
    return Stream([Server("h", 1)], login, "n", 3, name="worker", host="b")


def wire_of(stream: Stream) -> PlayedWire:
    wire: Any = stream._wire
    assert isinstance(wire, PlayedWire)
    return wire


def test_a_worker_answers_who_calls_its_host_as_a_standby_and_as_an_owner(stream: Stream) -> None:
    for _ in range(2):  # by the next connection too
        assert stream.connect()
        stream.follow()
        wire = wire_of(stream)
        stream.epoch = 0
        wire.call("n.call.b", "n.answer.a.7")
        assert stream.receive(0.0) == []
        stream.epoch = 17
        wire.call("n.call.b", "n.answer.c.8")
        assert stream.receive(0.0) == []

        assert [(to, decode_vouch(said)) for to, said in wire.sent] == [
            ("n.answer.a.7", Vouch(3, 0)),
            ("n.answer.c.8", Vouch(3, 17)),
        ]
        stream.lose()


def test_nobody_is_answered_who_says_not_where(stream: Stream) -> None:
    assert stream.connect()
    wire_of(stream).call("n.call.b", "")

    assert stream.receive(0.0) == []
    assert wire_of(stream).sent == []
