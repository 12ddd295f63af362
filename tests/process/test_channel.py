"""The control channel: whole messages over a stream that may deliver them in pieces."""

import asyncio
import os
import select
import socket
from collections.abc import Iterator

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from relay.bus.topology import Topology, WorkerAddress
from relay.process.channel import (
    MAX_UNSENT_BYTES,
    ChildEnd,
    LineBuffer,
    SupervisorEnd,
    child_end,
    supervisor_end,
)
from relay.process.control import (
    ChildReady,
    FromChild,
    FromSupervisor,
    GroupsChanged,
    Heartbeat,
    PeerGone,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.memo import read_memo, write_memo
from relay.settings.tables import Settings

TOPOLOGY = Topology(
    epoch=7,
    workers=(WorkerAddress(0, 0, 4095, "ipc:///run/w0-3.sock", 3),),
    fronts=("front-0-1", "front-1-2"),
)


@pytest.fixture
def ends() -> Iterator[tuple[SupervisorEnd, ChildEnd]]:
    ours, theirs = socket.socketpair()
    pair = supervisor_end(ours), child_end(theirs.detach())
    yield pair
    for end in pair:
        end.close()


@pytest.fixture
def raw_and_end() -> Iterator[tuple[socket.socket, SupervisorEnd]]:
    """A plain socket and the supervisor's end of the same pair."""
    ours, theirs = socket.socketpair()
    end = supervisor_end(ours)
    yield theirs, end
    theirs.close()
    end.close()


def test_messages_arrive_in_order_both_ways(ends: tuple[SupervisorEnd, ChildEnd]) -> None:
    supervisor, child = ends
    down: list[FromSupervisor] = [
        *(TopologyChanged(TOPOLOGY), SettingsChanged(Settings()), GroupsChanged()),
        Stop(deadline_s=2.5),
    ]
    up: list[FromChild] = [ChildReady("ipc:///run/w0-3.sock"), Heartbeat(), Heartbeat()]

    for message in down:
        assert supervisor.send(message)
    for report in up:
        assert child.send(report)

    assert child.receive() == down
    assert supervisor.receive() == up
    assert child.receive() == supervisor.receive() == []


def test_a_closed_peer_is_the_last_thing_received(ends: tuple[SupervisorEnd, ChildEnd]) -> None:
    supervisor, child = ends
    child.send(ChildReady())
    child.close()

    assert supervisor.receive() == [ChildReady(), PeerGone()]
    assert supervisor.receive() == [PeerGone()]


def test_a_peer_that_died_without_reading_is_gone_too(ends: tuple[SupervisorEnd, ChildEnd]) -> None:
    supervisor, child = ends
    supervisor.send(GroupsChanged())
    child.send(Heartbeat())
    child.close()

    assert supervisor.receive() == [Heartbeat(), PeerGone()]


def test_sending_to_a_vanished_peer_is_no_error(ends: tuple[SupervisorEnd, ChildEnd]) -> None:
    supervisor, child = ends
    supervisor.close()

    assert child.send(Heartbeat())
    assert not child.has_unsent
    assert child.receive() == [PeerGone()]


def test_half_a_line_waits_for_its_rest(raw_and_end: tuple[socket.socket, SupervisorEnd]) -> None:
    raw, end = raw_and_end
    raw.send(b'{"type":"heart')
    assert end.receive() == []

    raw.send(b'beat"}\n{"type":"ready","endpoint":"x"}\n{')

    assert end.receive() == [Heartbeat(), ChildReady("x")]


def test_half_a_line_before_the_end_is_dropped(
    raw_and_end: tuple[socket.socket, SupervisorEnd],
) -> None:
    raw, end = raw_and_end
    raw.send(b'{"type":"heartbeat"}\n{"type":"hea')
    raw.close()

    assert end.receive() == [Heartbeat(), PeerGone()]


@pytest.mark.parametrize(
    "line", [b"[]\n", b"nonsense\n", b'{"type":"stop","deadline_s":1}\n', b"\n"]
)
def test_what_is_no_message_for_this_end_is_refused(
    raw_and_end: tuple[socket.socket, SupervisorEnd], line: bytes
) -> None:
    raw, end = raw_and_end
    raw.send(line)

    with pytest.raises(ValueError):  # noqa: PT011
        end.receive()


def test_what_a_stalled_peer_does_not_take_is_kept_in_order_and_bounded(
    ends: tuple[SupervisorEnd, ChildEnd],
) -> None:
    supervisor, child = ends
    sent = 0
    while supervisor.send(Stop(deadline_s=sent)):
        sent += 1
        assert sent < 10 * MAX_UNSENT_BYTES, "nothing bounds what is kept"
    assert supervisor.has_unsent

    received: list[object] = []
    while supervisor.has_unsent:
        received += child.receive()
        supervisor.flush()
    received += child.receive()

    assert received == [Stop(deadline_s=n) for n in range(sent)]
    assert supervisor.send(GroupsChanged())  # there is room again
    assert child.receive() == [GroupsChanged()]


def contents(fd: int) -> bytes:
    try:
        return read_memo(fd)
    finally:
        os.close(fd)


def test_a_descriptor_goes_with_its_message_though_the_peer_is_slow(
    ends: tuple[SupervisorEnd, ChildEnd],
) -> None:
    supervisor, child = ends
    before = len(os.listdir("/proc/self/fd"))
    sent = 0
    while supervisor.send(Stop(deadline_s=sent)) and not supervisor.has_unsent:
        sent += 1
    for name in ("first", "second"):
        memo = write_memo("x", name.encode())
        assert supervisor.send(GroupsChanged(), descriptor=memo)
        os.close(memo)

    received: list[object] = []
    while supervisor.has_unsent:
        received += child.receive()
        supervisor.flush()
    received += child.receive()

    assert received[-2:] == [GroupsChanged(), GroupsChanged()]
    assert contents(child.take_descriptor()) == b"first"
    second = child.take_descriptor()
    assert not os.get_inheritable(second)
    assert contents(second) == b"second"
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ValueError, match="without the descriptor"):
        child.take_descriptor()


def test_descriptors_that_nobody_takes_are_closed_with_the_channel() -> None:
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair()
    supervisor, child = supervisor_end(ours), child_end(theirs.detach())
    memo = write_memo("x", b"")
    supervisor.send(GroupsChanged(), descriptor=memo)
    os.close(memo)
    child.receive()

    supervisor.close()
    child.close()

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_channel_is_quiet_when_nothing_is_on_its_way(
    raw_and_end: tuple[socket.socket, SupervisorEnd],
) -> None:
    raw, end = raw_and_end
    assert end.is_quiet
    raw.send(b'{"type":"heart')
    end.receive()
    assert not end.is_quiet
    raw.send(b'beat"}\n')
    end.receive()
    assert end.is_quiet

    while end.send(Stop(deadline_s=1)) and not end.has_unsent:
        pass
    assert not end.is_quiet


def test_the_childs_descriptor_is_not_inherited_further(
    ends: tuple[SupervisorEnd, ChildEnd],
) -> None:
    _, child = ends

    assert not os.get_inheritable(child.fileno())


def test_a_descriptor_that_is_no_socket_is_refused() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="Socket operation on non-socket"):
            child_end(read)
    finally:
        os.close(read)
        os.close(write)


def test_a_zmq_poller_wakes_for_a_message_and_for_the_end(
    ends: tuple[SupervisorEnd, ChildEnd],
) -> None:
    supervisor, child = ends
    poller = zmq.Poller()
    poller.register(child.fileno(), zmq.POLLIN)
    assert poller.poll(0) == []

    supervisor.send(GroupsChanged())
    assert poller.poll(5000)
    assert child.receive() == [GroupsChanged()]
    assert poller.poll(0) == []

    supervisor.close()
    assert poller.poll(5000)
    assert child.receive() == [PeerGone()]


async def _first_messages(end: ChildEnd) -> list[object]:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(end.fileno(), readable.set)
    try:
        async with asyncio.timeout(5):
            await readable.wait()
    finally:
        loop.remove_reader(end.fileno())
    return [*end.receive()]


def test_an_asyncio_loop_wakes_for_a_message(ends: tuple[SupervisorEnd, ChildEnd]) -> None:
    supervisor, child = ends
    supervisor.send(Stop(deadline_s=1))

    assert asyncio.run(_first_messages(child)) == [Stop(deadline_s=1)]


def test_nothing_waits_to_be_read_after_receive(ends: tuple[SupervisorEnd, ChildEnd]) -> None:
    """Edge-triggered loops too may rely on one `receive` a wake-up."""
    supervisor, child = ends
    for _ in range(10_000):
        supervisor.send(GroupsChanged())

    child.receive()

    assert not supervisor.has_unsent or select.select([], [supervisor], [], 0)[1]
    assert select.select([child], [], [], 0)[0] == []


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b""))), st.data())
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    buffer = LineBuffer()
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += buffer.feed(stream[:size])
        stream = stream[size:]

    assert found == lines


@pytest.mark.parametrize("pieces", [[b"123456\n"], [b"123", b"456"], [b"1\n23", b"4567\n8\n"]])
def test_a_line_over_the_limit_is_refused(pieces: list[bytes]) -> None:
    buffer = LineBuffer(max_line_bytes=5)
    *fitting, last = pieces
    for piece in fitting:
        buffer.feed(piece)

    with pytest.raises(ValueError, match="of 6 bytes exceeds max_line_bytes=5"):
        buffer.feed(last)
