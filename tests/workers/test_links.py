"""A worker's links over real sockets: what is taken, what is void, and who is there."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    CloseSession,
    PeerBatch,
    Receipt,
    Seq,
    SessionOpened,
    StrayAck,
    ToWorker,
    WorkerBatch,
)
from relay.bus.sockets import bind_router, connect_dealer
from relay.bus.topology import Topology, WorkerAddress
from relay.process.channel import child_end
from relay.process.place import Place
from relay.settings.tables import FlowSettings, Settings
from tests import plain
from workers import links as links_module
from workers.inbox import Received
from workers.links import Links
from workers.shard.effects import Effects

DEADLINE_MS = 10_000
FRONT = b"front-0-4"
INCARNATION = 3
LINK_BYTES = 64 * 1024
ENTRY = plain.durable(7, Receipt("alice", "", "M1", "bob", 2, 1000))
STRAY = StrayAck([1], "alice", "", "M1", "bob", 2, 1000)


class Bus:
    """The links of worker 0, and the sockets of whoever talks with it."""

    def __init__(self, run_dir: Path) -> None:
        ours, theirs = socket.socketpair()
        self._ends = (ours, child_end(theirs.detach()))
        settings = Settings(flow=FlowSettings(link_bytes=LINK_BYTES))
        self.counters: Counter[str] = Counter()
        self.links = Links(Place(run_dir, 0, INCARNATION, settings, self._ends[1]), self.counters)
        self._run_dir = run_dir
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets: list[zmq.Socket[bytes]] = []

    def connect(self, identity: bytes) -> zmq.Socket[bytes]:
        dealer = connect_dealer(self._context, self.links.endpoint, identity=identity.decode())
        self.sockets.append(dealer)
        return dealer

    def peer(self, incarnation: int) -> tuple[WorkerAddress, zmq.Socket[bytes]]:
        """Start an incarnation of worker 1."""
        endpoint = f"ipc://{self._run_dir}/peer-{incarnation}.sock"
        self.sockets.append(bind_router(self._context, endpoint))
        return WorkerAddress(1, 2048, 4095, endpoint, incarnation), self.sockets[-1]

    def take(self, messages: int = 1) -> list[Received]:
        """Drain until so many ZeroMQ messages have come."""
        received: list[Received] = []
        for _ in range(messages):
            ready = self.links.wait(DEADLINE_MS)
            assert ready, "nothing came"
            received += self.links.drain(ready)[0]
        return received

    def close(self) -> None:
        self.links.close()
        for each in self.sockets:
            each.close()
        self._context.term()
        for end in self._ends:
            end.close()


@pytest.fixture
def bus(run_dir: Path) -> Iterator[Bus]:
    bus = Bus(run_dir)
    yield bus
    bus.close()


def send(
    to: zmq.Socket[bytes], number: int, *items: ToWorker, incarnation: int = INCARNATION
) -> None:
    to.send(envelopes.encode(WorkerBatch(incarnation, number, 0, len(items), list(items))))


def effects() -> Effects:
    """What a batch says to a front."""
    said = Effects()
    said.to_fronts[FRONT].append(SessionOpened(1))
    return said


def test_what_fronts_and_peers_send_says_whom_it_is_from(bus: Bus) -> None:
    front, peer = bus.connect(FRONT), bus.connect(b"worker-1-2")
    send(front, 1, plain.confirmed(1, 5))
    (received,) = bus.take()
    assert received[:3] == (FRONT, None, [plain.confirmed(1, 5)])
    assert received.number == 1
    send(peer, 1, ENTRY)
    (received,) = bus.take()
    assert received[:3] == (b"worker-1-2", 1, [ENTRY])


def test_a_batch_that_comes_twice_is_dropped_and_counted(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.confirmed(1, 5))
    bus.take()

    send(front, 1, plain.confirmed(1, 5))

    assert bus.take() == []
    assert bus.counters["repeated_batches_dropped"] == 1


def test_what_is_meant_for_another_incarnation_is_kept_apart_and_counted(bus: Bus) -> None:
    """I8."""
    front = bus.connect(FRONT)
    send(front, 1, CloseSession(1), incarnation=INCARNATION - 1)

    assert bus.take() == []

    assert bus.links.stale == [(FRONT, [CloseSession(1)])]
    assert bus.links.has_news
    assert bus.counters["stale_batches_refused"] == 1


def test_what_a_dead_front_sends_is_dropped_and_counted(bus: Bus) -> None:
    bus.links.follow(Topology(epoch=1, fronts=(FRONT.decode(),)))
    bus.links.follow(Topology(epoch=2))
    send(bus.connect(FRONT), 1, CloseSession(1))

    assert bus.take() == []
    assert bus.counters["batches_of_dead_fronts_dropped"] == 1


def test_a_drain_stops_where_a_batch_is_large_enough(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6: by decisions here; the rest waits in the socket."""
    monkeypatch.setattr(links_module, "MAX_BATCH_WORK", 2)
    front = bus.connect(FRONT)
    for number in range(1, 5):
        send(front, number, plain.confirmed(1, number))
    received: list[Received] = []
    sizes: list[int] = []
    while len(received) < 4:
        ready = bus.links.wait(DEADLINE_MS)
        assert ready, "nothing came"
        some, size = bus.links.drain(ready)
        assert len(some) <= 2
        sizes.append(size)
        received += some

    assert [each.items for each in received] == [[plain.confirmed(1, n)] for n in range(1, 5)]
    assert all(sizes)


def decide(bus: Bus, received: Received, count: int | None = None) -> None:
    """Take it that so many items of what a front sent are decided, or all."""
    ends = count is None
    number = len(received.items) if count is None else count
    bus.links.fronts.decided(received.origin, received.number, number, ends)


def told(front: zmq.Socket[bytes]) -> tuple[int, int]:
    """What the next batch for a front confirms: whole batches, and items of the next."""
    assert front.poll(DEADLINE_MS), "nothing came"
    batch = envelopes.decode_front_batch(front.recv())
    return batch.received, batch.begun


def test_everyone_who_was_decided_on_is_told_with_an_empty_batch_if_need_be(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.confirmed(1, 5))
    (received,) = bus.take()
    decide(bus, received)

    assert bus.links.send(Effects()) == []

    batch = envelopes.decode_front_batch(front.recv())
    assert (batch.number, batch.received, batch.items) == (1, 1, [])
    assert bus.links.fronts.heard == set()


def test_what_is_not_decided_is_not_confirmed(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.open_session(1, "bob", LOGIN, 0))
    bus.take()

    bus.links.send(effects())

    batch = envelopes.decode_front_batch(front.recv())
    assert (batch.received, batch.items) == (0, [SessionOpened(1)])


def test_of_a_batch_that_is_cut_only_what_was_decided_is_confirmed(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.confirmed(1, 5))
    (first,) = bus.take()
    send(front, 2, *[plain.confirmed(1, seq) for seq in range(6, 16)])
    (second,) = bus.take()
    decide(bus, first)
    decide(bus, second, 8)
    bus.links.send(Effects())
    assert told(front) == (1, 8)

    decide(bus, second)
    bus.links.send(Effects())
    assert told(front) == (2, 0)


def test_an_empty_batch_confirms_nothing_that_came_before_it(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.confirmed(1, 5))
    (first,) = bus.take()
    send(front, 2)
    assert bus.take() == []
    bus.links.send(effects())
    assert told(front) == (0, 0)

    decide(bus, first)
    bus.links.send(Effects())
    assert told(front) == (2, 0), "it is confirmed with what it came behind"

    send(front, 3)
    bus.take()
    bus.links.send(effects())
    assert told(front) == (3, 0), "nothing else waits"


def test_nothing_is_taken_while_a_batch_of_bytes_waits(bus: Bus) -> None:
    send(bus.connect(FRONT), 1, plain.confirmed(1, 5))
    ready = bus.links.wait(DEADLINE_MS)
    assert ready

    assert bus.links.drain(ready, waiting_bytes=links_module.MAX_BATCH_BYTES) == ([], 0)
    assert len(bus.links.drain(ready, waiting_bytes=links_module.MAX_BATCH_BYTES - 1)[0]) == 1


def test_a_front_whose_credit_is_used_up_is_full(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.confirmed(1, 5))
    bus.take()
    large = Effects()
    large.deliver_shared(FRONT, 1, Seq(1), bytes(LINK_BYTES))

    assert bus.links.send(large) == [FRONT]

    assert front.poll(DEADLINE_MS)


def test_a_front_that_cannot_be_reached_is_lost(bus: Bus) -> None:
    bus.links.fronts.link_of(FRONT)  # without a connection

    assert bus.links.send(effects()) == []

    assert bus.links.fronts.lost == {FRONT}
    bus.links.send(effects())  # is for nobody


def test_a_peer_that_is_renewed_is_lost_and_new(bus: Bus) -> None:
    first, first_router = bus.peer(2)
    assert bus.links.follow(Topology(epoch=1, workers=(first,))) == []
    assert bus.links.new_peers == {1}
    bus.links.new_peers.clear()
    assert bus.links.follow(Topology(epoch=2, workers=(first,))) == [], "it is the same"

    second, second_router = bus.peer(5)
    assert bus.links.follow(Topology(epoch=3, workers=(second,))) == [1]
    assert bus.links.new_peers == {1}
    said = Effects()
    said.to_peers[1].append(ENTRY)
    bus.links.send(said)

    origin, payload = second_router.recv_multipart()
    batch = envelopes.decode_worker_batch(payload)
    assert (origin, batch.incarnation, batch.items) == (b"worker-0-3", 5, [ENTRY])
    assert not first_router.poll(0)


def test_what_was_written_for_a_peer_s_old_connection_does_not_go_by_its_new_one(bus: Bus) -> None:
    """What is missing before it would be taken for applied."""
    first, _ = bus.peer(2)
    bus.links.follow(Topology(epoch=1, workers=(first,)))
    said = Effects()
    said.to_peers[1].append(ENTRY)
    written, _ = bus.links.write(said)
    second, second_router = bus.peer(5)
    bus.links.follow(Topology(epoch=2, workers=(second,)))

    bus.links.say(written)
    later = Effects()
    later.to_peers[1] += [plain.durable(1, ENTRY.content), ENTRY]
    bus.links.say(bus.links.write(later)[0])

    _, payload = second_router.recv_multipart()
    batch = envelopes.decode_worker_batch(payload)
    assert (batch.number, batch.items) == (1, [plain.durable(1, ENTRY.content), ENTRY])


def test_what_is_written_confirms_what_is_decided_by_then(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.confirmed(1, 5))
    send(front, 2, plain.confirmed(1, 6))
    received: list[Received] = []
    while len(received) < 2:
        received += bus.take()
    bus.links.fronts.decided(FRONT, 1, 1, True)
    first, _ = bus.links.write(Effects())
    bus.links.fronts.decided(FRONT, 2, 1, True)
    second, _ = bus.links.write(Effects())

    bus.links.say(first)
    bus.links.say(second)

    batches = [envelopes.decode_front_batch(front.recv()) for _ in range(2)]
    assert [(each.number, each.received) for each in batches] == [(1, 1), (2, 2)]


def test_a_front_is_full_by_what_is_written_for_it(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.confirmed(1, 5))
    bus.take()
    said = Effects()
    said.to_fronts[FRONT].append(plain.deliver(1, 7, "", bytes(LINK_BYTES)))

    assert bus.links.write(said)[1] == [FRONT]


def test_what_was_written_for_a_front_that_died_meanwhile_is_for_nobody(bus: Bus) -> None:
    front = bus.connect(FRONT)
    send(front, 1, plain.confirmed(1, 5))
    bus.take()
    written, _ = bus.links.write(effects())
    bus.links.follow(Topology(epoch=1, fronts=(FRONT.decode(),)))
    bus.links.follow(Topology(epoch=2))

    bus.links.say(written)

    assert not front.poll(100)


def test_what_a_peer_has_applied_comes_by_its_own_socket(bus: Bus) -> None:
    address, router = bus.peer(2)
    bus.links.follow(Topology(epoch=1, workers=(address,)))
    said = Effects()
    said.to_peers[1].append(ENTRY)
    bus.links.send(said)
    origin, _ = router.recv_multipart()

    router.send_multipart((origin, envelopes.encode(PeerBatch([plain.applied(7)]))))

    assert bus.take() == [Received(b"", 1, (), [plain.applied(7)])]


def test_a_peer_is_told_what_was_applied_of_its_outbox(bus: Bus) -> None:
    peer = bus.connect(b"worker-1-2")
    send(peer, 1, ENTRY)
    bus.take()
    said = Effects()
    said.applied[b"worker-1-2"] = plain.applied(7)
    said.applied[b"worker-1-1"] = plain.applied(7)  # is gone, and its successor sends it again

    bus.links.send(said)

    assert envelopes.decode_peer_batch(peer.recv()).items == [plain.applied(7)]


def test_acks_that_match_nothing_are_dropped_and_counted_for_a_peer_that_is_away(bus: Bus) -> None:
    said = Effects()
    said.to_peers[1] += [STRAY, STRAY]

    bus.links.send(said)

    assert bus.counters["stray_acks_dropped"] == 2
