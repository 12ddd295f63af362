"""A front writes to a few clients at a time, so that nobody waits for many others' writes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay.bus.envelopes import Seq
from relay.front.connection import Connection
from relay.front.flusher import MAX_FLUSHED, SPREAD_EVERY_S, SPREAD_SOCKETS, SPREAD_WITHIN_S
from relay.front.front import Front
from relay.front.links import DeliverToSome, FromWorker
from relay.front.login import Stage
from relay.front.output import Output
from relay.front.wire import text_frame
from tests import plain

from .front_harness import FakeLoop, front_on, let_in

pytestmark = pytest.mark.of_source


def to_some(sessions: list[int], seq: int, frame: bytes) -> DeliverToSome:
    return DeliverToSome(sessions, Seq(seq), frame)


class FakeTransport:
    """A transport that takes everything, and notes it."""

    def __init__(self, written: list[tuple[int, bytes]], number: int) -> None:
        self._written = written
        self._number = number

    def set_write_buffer_limits(self, *, high: int, low: int) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self._written.append((self._number, bytes(data)))


class FakeSession:
    """A session that writes what it is to deliver, if it `flows`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.out = Output()
        self.deliveries = self
        self.cursor = 0
        self.flows = True
        self.login = SimpleNamespace(stage=Stage.LIVE)
        self.held_bytes = 0

    def lost(self) -> None:
        pass

    def deliver(self, seq: int, receipt_for: str, frame: bytes) -> None:
        if self.takes():
            self.out.frames.append(frame)

    def takes(self, *_: object) -> bool:
        return self.flows


class Scene:
    """A front with connections, by number, each of which writes what it is to deliver."""

    def __init__(self, front: Front, loop: FakeLoop) -> None:
        self.front = front
        self.loop = loop
        self.written: list[tuple[int, bytes]] = []
        self.sessions: dict[int, FakeSession] = {}

    def connect(self, count: int) -> list[int]:
        """Return the numbers of as many connections."""
        return [self._connect() for _ in range(count)]

    def _connect(self) -> int:
        connection = Connection(self.front.hub, let_in())
        number = connection.session.number
        transport: Any = FakeTransport(self.written, number)
        connection.connection_made(cast("asyncio.Transport", transport))
        session: Any = FakeSession(number)
        self.sessions[number] = session
        connection.session = session
        return number

    def receive(self, *items: FromWorker) -> None:
        """Take these from a worker."""
        assert self.front.dispatch.receive(iter(items), math.inf)

    def somebody_chats(self) -> None:
        """Have a 1-1 message go by, and be written."""
        [number] = self.connect(1)
        self.receive(plain.deliver(number, 1, "", b"hello"))
        self.loop.turn()
        self.written.clear()

    def tick(self) -> None:
        self.front.tick()

    def numbers(self) -> list[int]:
        return [number for number, _ in self.written]


@pytest.fixture
def scene() -> Iterator[Scene]:
    loop = FakeLoop()
    with front_on(loop) as front:
        yield Scene(front, loop)


def test_i7_of_very_many_sockets_a_turn_writes_some(scene: Scene) -> None:
    numbers = scene.connect(3 * MAX_FLUSHED + 1)
    scene.receive(*(plain.deliver(number, 1, "", b"hello") for number in numbers))

    for turns in (1, 2, 3):
        scene.loop.turn()
        assert scene.numbers() == numbers[: turns * MAX_FLUSHED]
    scene.loop.turn()
    assert scene.numbers() == numbers


def test_i7_a_large_groups_frame_goes_to_a_few_at_a_time_and_to_all_in_order(scene: Scene) -> None:
    scene.somebody_chats()
    members = scene.connect(100)

    scene.receive(to_some(members, 2, b"to all"))
    scene.loop.turn()

    assert scene.written == [(number, text_frame(b"to all")) for number in members[:SPREAD_SOCKETS]]
    scene.loop.turn()
    assert len(scene.written) == SPREAD_SOCKETS  # the next ones have to wait
    began_s = scene.loop.now_s
    for _ in range(100 // SPREAD_SOCKETS):
        scene.loop.wait()
        scene.loop.turn()
    assert scene.numbers() == members
    assert scene.loop.now_s - began_s == pytest.approx(SPREAD_EVERY_S * (100 // SPREAD_SOCKETS))


def test_i7_a_frame_for_one_client_is_not_behind_those_of_a_large_group(scene: Scene) -> None:
    scene.somebody_chats()
    members, [other] = scene.connect(500), scene.connect(1)

    scene.receive(to_some(members, 2, b"to all"), plain.deliver(other, 3, "", b"to one"))
    scene.loop.turn()

    assert (other, text_frame(b"to one")) in scene.written
    assert len(scene.written) == SPREAD_SOCKETS + 1


def test_a_small_groups_frame_is_written_with_its_turn(scene: Scene) -> None:
    scene.somebody_chats()
    members = scene.connect(MAX_FLUSHED)

    scene.receive(plain.deliver_to_many(members, 2, b"to all"))
    scene.loop.turn()

    assert scene.numbers() == members


def test_i4_what_a_member_gets_for_itself_takes_the_groups_frame_along_in_order(
    scene: Scene,
) -> None:
    scene.somebody_chats()
    *members, last = scene.connect(100)

    scene.receive(
        to_some([*members, last], 2, b"to all"),
        plain.deliver(last, 3, "", b"to one"),
        to_some([last], 4, b"again"),
    )
    scene.loop.turn()

    frames = [text_frame(frame) for frame in (b"to all", b"to one", b"again")]
    assert (last, b"".join(frames)) in scene.written
    while len(scene.written) < 100:
        scene.loop.wait()
        scene.loop.turn()
    assert sorted(scene.numbers()) == [*members, last]


def test_frames_of_a_large_group_that_wait_for_one_member_are_written_at_once(scene: Scene) -> None:
    scene.somebody_chats()
    members = scene.connect(100)

    scene.receive(to_some(members, 2, b"first"), to_some(members, 3, b"second"))
    scene.loop.turn()
    while len(scene.written) < 100:
        scene.loop.wait()
        scene.loop.turn()

    both = text_frame(b"first") + text_frame(b"second")
    assert scene.written == [(number, both) for number in members]


def test_members_who_left_meanwhile_cost_the_others_nothing(scene: Scene) -> None:
    scene.somebody_chats()
    members = scene.connect(100)
    scene.receive(to_some(members, 2, b"to all"))
    left = scene.front.hub.clients[members[50]]
    assert isinstance(left, Connection)

    left.connection_lost(None)
    scene.loop.turn()
    while len(scene.written) < 99:
        scene.loop.wait()
        scene.loop.turn()

    assert scene.numbers() == members[:50] + members[51:]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1000, 3000, 6000])
def test_very_many_members_do_not_wait_longer_than_many(scene: Scene, count: int) -> None:
    scene.somebody_chats()
    members = scene.connect(count)
    scene.receive(to_some(members, 2, b"to all"))
    scene.loop.turn()
    began_s = scene.loop.now_s

    while len(scene.written) < len(members):
        scene.loop.wait()
        scene.loop.turn()

    assert scene.loop.now_s - began_s <= SPREAD_WITHIN_S
    assert scene.numbers() == members
    # The next one, for fewer, is not hurried by it.
    scene.written.clear()
    scene.receive(to_some(members[:100], 3, b"to some"))
    scene.loop.turn()
    assert len(scene.written) == SPREAD_SOCKETS


def test_a_member_whose_session_takes_no_frame_now_takes_nobodys_turn(scene: Scene) -> None:
    scene.somebody_chats()
    members = scene.connect(100)
    for number in members[:50]:
        scene.sessions[number].flows = False

    scene.receive(to_some(members, 2, b"to all"))
    scene.loop.turn()

    assert scene.numbers() == members[50 : 50 + SPREAD_SOCKETS]


def test_receipts_are_no_messages_of_others(scene: Scene) -> None:
    """A group's author gets one of each member, and may be the only one who writes."""
    members, [author] = scene.connect(200), scene.connect(1)

    scene.receive(plain.deliver(author, 1, "M", b"receipt"), to_some(members, 2, b"to all"))
    scene.loop.turn()

    assert len(scene.written) == 1 + MAX_FLUSHED


def test_a_large_groups_frame_is_not_held_back_where_nobody_else_chats(scene: Scene) -> None:
    members = scene.connect(200)

    scene.receive(to_some(members, 2, b"to all"))
    for _ in range(200 // MAX_FLUSHED + 1):
        scene.loop.turn()

    assert scene.numbers() == members
    assert scene.loop.now_s == 0


def test_a_large_groups_frame_is_held_back_until_others_have_been_silent_for_a_tick(
    scene: Scene,
) -> None:
    members = scene.connect(100)

    def written_at_once() -> int:
        scene.written.clear()
        scene.receive(to_some(members, 2, b"to all"))
        scene.loop.turn()
        return len(scene.written)

    scene.somebody_chats()
    scene.tick()
    assert written_at_once() == SPREAD_SOCKETS
    while len(scene.written) < 100:
        scene.loop.wait()
        scene.loop.turn()
    scene.tick()
    assert written_at_once() == MAX_FLUSHED
