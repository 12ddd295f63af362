"""A worker's links with other hosts: who is let in, which link is void, which peer is there."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import zmq
from structlog.testing import capture_logs

from relay.bus import envelopes
from relay.bus.doorkeeper import Doorkeeper
from relay.bus.envelopes import VOID, CloseSession, FrontBatch, Receipt, ToWorker, WorkerBatch
from relay.bus.lifeline import Stage, reach
from relay.bus.sockets import (
    bind_router,
    connect,
    connect_dealer,
    make_dealer,
    tcp_endpoint,
)
from relay.bus.topology import Topology, WorkerAddress, life_of
from relay.errors import NoDescriptor
from relay.process.channel import child_end
from relay.process.place import Place
from relay.settings.tables import Settings
from tests import plain
from tests.abroad import PUBLIC, Way, cluster_settings, remote
from workers.inbox import Received
from workers.links import Links
from workers.shard.effects import Effects

WITHIN_MS = 5_000
FRONT, LOCAL = "front-b-0-4", "front-a-0-9"
EPOCH = 3
LIFE = life_of(0, EPOCH, host="a")
ENTRY = plain.durable(7, Receipt("alice", "", "M1", "bob", 2, 1000))


class Bus:
    """The links of the owner of range 0, on host a, and whoever talks with it from host b."""

    def __init__(self, run_dir: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._run_dir = run_dir
        ours, theirs = socket.socketpair()
        control = child_end(theirs.detach())
        stack.callback(ours.close)
        stack.callback(control.close)
        self.counters: Counter[str] = Counter()
        settings = Settings(cluster=cluster_settings("a"))
        self.links = Links(Place(run_dir, 0, 1, settings, control), self.counters, epoch=EPOCH)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(self.context.term)
        stack.callback(self.links.close)
        self.doorkeeper = Doorkeeper(self.context, PUBLIC)
        stack.callback(self.doorkeeper.close)
        self.received: list[Received] = []

    def front(self, identity: str = FRONT) -> Front:
        dealer, lifeline = reach(
            self.context, self.links.tcp, identity=identity, remote=remote("b")
        )
        self._stack.callback(dealer.close)
        self._stack.callback(lifeline.close)
        front = Front(self, dealer)
        self.until(lambda: lifeline.look() is not Stage.REACHING)
        return front

    def local_front(self, identity: str = LOCAL) -> Front:
        dealer = connect_dealer(self.context, self.links.endpoint, identity=identity)
        self._stack.callback(dealer.close)
        return Front(self, dealer)

    def peer(self, endpoint: str, *, epoch: int = 5) -> tuple[WorkerAddress, zmq.Socket[bytes]]:
        """Start an owner of range 1 on host b."""
        router = bind_router(self.context, endpoint, remote=remote("b"))
        self._stack.callback(router.close)
        address = WorkerAddress(
            1, 2048, 4095, "ipc:///nowhere.sock", epoch, "b", tcp_endpoint(router)
        )
        return address, router

    def way(self, address: WorkerAddress) -> tuple[WorkerAddress, Way]:
        """Lead to that worker by a way that can be cut."""
        way = Way(address.tcp)
        self._stack.callback(way.close)
        return msgspec.structs.replace(address, tcp=way.endpoint), way

    def turn(self) -> None:
        """Have the worker do once what its loop does."""
        self.doorkeeper.answer()
        self.received += self.links.drain(self.links.wait(10))[0]

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(WITHIN_MS // 10):
            self.turn()
            if condition():
                return
        raise AssertionError("it did not come about")

    def take(self) -> list[Received]:
        """Return what comes next."""
        self.until(lambda: self.received)
        received, self.received = self.received, []
        return received


class Front:
    """A front, as far as its worker sees it."""

    def __init__(self, bus: Bus, dealer: zmq.Socket[bytes]) -> None:
        self._bus = bus
        self._dealer = dealer

    def send(self, number: int, *items: ToWorker, life: int = LIFE) -> None:
        batch = WorkerBatch(life, number, 0, len(items), list(items))
        self._dealer.send(envelopes.encode(batch))

    def hears(self) -> FrontBatch:
        self._bus.until(lambda: self._dealer.poll(0))
        return envelopes.decode_front_batch(self._dealer.recv())


@pytest.fixture
def bus(run_dir: Path) -> Iterator[Bus]:
    with ExitStack() as stack:
        yield Bus(run_dir, stack)


def list_(bus: Bus, *fronts: str) -> None:
    bus.links.follow(Topology(epoch=1, fronts=fronts))


def test_fronts_of_this_host_and_of_others_are_heard_by_one_socket(bus: Bus) -> None:
    bus.local_front().send(1, CloseSession(1))
    (received,) = bus.take()
    assert received[:3] == (LOCAL.encode(), None, [CloseSession(1)])

    bus.front().send(1, CloseSession(2))
    (received,) = bus.take()
    assert received[:3] == (FRONT.encode(), None, [CloseSession(2)])
    assert bus.links.tcp.startswith("tcp://127.0.0.1:")


def test_a_stranger_is_counted_and_not_heard(bus: Bus) -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    stranger = make_dealer(bus.context, FRONT, remote("b", public=public, secret=secret))
    with stranger:
        stranger.setsockopt(zmq.CURVE_SERVERKEY, PUBLIC.encode())
        connect(stranger, bus.links.tcp)
        stranger.send(b"of a stranger")

        bus.until(lambda: bus.counters["strangers_refused"])

    bus.front().send(1, CloseSession(2))
    assert [each.items for each in bus.take()] == [[CloseSession(2)]]
    assert bus.counters["strangers_refused"] == 1


def test_i8_what_is_meant_for_another_range_of_that_epoch_is_refused(bus: Bus) -> None:
    """It was at that port, and is gone; epochs are counted by each range on its own."""
    front = bus.front()
    front.send(1, CloseSession(1), life=life_of(1, EPOCH, host="a"))
    front.send(1, CloseSession(2))

    assert [each.items for each in bus.take()] == [[CloseSession(2)]]
    assert bus.counters["stale_batches_refused"] == 1


def test_a_front_that_comes_by_another_connection_begins_its_link_anew(bus: Bus) -> None:
    list_(bus, FRONT)
    first = bus.front()
    first.send(1, CloseSession(1))
    first.send(2, CloseSession(2))
    assert [each.number for each in bus.take()][:1] == [1]
    bus.until(lambda: bus.links.fronts.links[FRONT.encode()].incoming.received == 2)

    second = bus.front(f"{FRONT}.1")
    second.send(1, CloseSession(2))

    bus.received.clear()
    (received,) = bus.take()
    assert (received.origin, received.number) == (f"{FRONT}.1".encode(), 1)
    assert bus.links.fronts.lost == {FRONT.encode()}
    assert bus.counters["repeated_batches_dropped"] == 0

    first.send(3, CloseSession(3))
    second.send(2, CloseSession(4))
    assert [each.items for each in bus.take()] == [[CloseSession(4)]]
    bus.until(lambda: bus.counters["batches_of_dead_fronts_dropped"] == 1)
    assert bus.received == []


def test_what_comes_in_one_turn_by_the_connection_before_is_void(bus: Bus) -> None:
    """Its link is lost before anything of the turn is decided, and so are its sessions."""
    list_(bus, FRONT)
    received: list[Received] = []

    def comes(identity: str, number: int, *items: ToWorker) -> None:
        batch = WorkerBatch(LIFE, number, 0, len(items), list(items))
        bus.links._open(identity.encode(), envelopes.encode(batch), received)

    comes(FRONT, 1, plain.open_session(1, "bob", envelopes.LOGIN, 0))
    comes("worker-1-5", 1, ENTRY)
    assert [each.origin for each in received] == [FRONT.encode(), b"worker-1-5"]
    comes(f"{FRONT}.1", 1, plain.open_session(1, "bob", envelopes.LIVE, 0))

    assert [each.origin for each in received] == [b"worker-1-5", f"{FRONT}.1".encode()]
    assert bus.links.fronts.lost == {FRONT.encode()}
    assert bus.counters["batches_of_dead_fronts_dropped"] == 1


def test_a_front_whose_host_was_out_of_sight_is_told_that_its_link_is_void(bus: Bus) -> None:
    list_(bus, FRONT)
    front = bus.front()
    front.send(1, CloseSession(1))
    bus.take()

    list_(bus)

    assert front.hears() == FrontBatch(VOID, 0, []), "at once: it may have nothing to say"
    front.send(2, CloseSession(2))
    assert front.hears() == FrontBatch(VOID, 0, [])
    list_(bus, FRONT)
    front.send(3, CloseSession(3))
    assert front.hears() == FrontBatch(VOID, 0, []), "2 is missing"
    assert bus.received == []

    bus.front(f"{FRONT}.1").send(1, CloseSession(2))
    assert [each.items for each in bus.take()] == [[CloseSession(2)]]


def test_a_front_of_this_host_is_told_so_too(bus: Bus) -> None:
    list_(bus, LOCAL)
    front = bus.local_front()
    front.send(1, CloseSession(1))
    bus.take()
    list_(bus)

    assert front.hears() == FrontBatch(VOID, 0, [])


# --------------------------------------------------------------------------------------- peers


def follow(bus: Bus, *workers: WorkerAddress) -> list[int]:
    return bus.links.follow(Topology(epoch=1, workers=workers))


def say(bus: Bus) -> None:
    said = Effects()
    said.to_peers[1].append(ENTRY)
    bus.links.send(said)


def test_a_peer_on_another_host_is_there_once_it_is_reached(bus: Bus) -> None:
    address, router = bus.peer("inproc://peer")
    assert follow(bus, address) == []
    assert not bus.links.new_peers

    bus.until(lambda: bus.links.new_peers)

    assert bus.links.new_peers == {1}
    say(bus)
    bus.until(lambda: router.poll(0))
    origin, payload = router.recv_multipart()
    batch = envelopes.decode_worker_batch(payload)
    assert (origin, batch.incarnation) == (b"worker-0-3", address.life)
    assert batch.items == [ENTRY]
    router.send_multipart((origin, envelopes.encode(envelopes.PeerBatch([plain.applied(7)]))))
    assert bus.take() == [Received(b"", 1, (), [plain.applied(7)])]


@pytest.mark.slow
def test_a_peer_that_is_cut_off_is_lost_and_comes_back_on_another_connection(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.bus.sockets.HEARTBEAT_S", 0.1)
    monkeypatch.setattr("relay.bus.sockets.SILENT_S", 0.3)
    peer, router = bus.peer("inproc://peer")
    address, way = bus.way(peer)
    follow(bus, address)
    bus.until(lambda: bus.links.new_peers)
    bus.links.new_peers.clear()
    say(bus)
    bus.until(lambda: router.poll(0))
    router.recv_multipart()

    way.cut()
    say(bus)
    bus.until(lambda: bus.links.lost_peers)
    assert bus.links.lost_peers == {1}
    assert bus.links.has_news
    bus.links.lost_peers.clear()
    assert follow(bus, address) == [], "it is tried again, and the shard knows that it is away"
    say(bus)
    way.heal()

    def is_back() -> bool:
        bus.links.reach_again()
        return bus.links.new_peers == {1}

    bus.until(is_back)
    assert bus.links.lost_peers == set()
    say(bus)

    origins = []
    while b"worker-0-3.1" not in origins:
        bus.until(lambda: router.poll(0))
        origins.append(router.recv_multipart()[0])
    assert origins.count(b"worker-0-3.1") == 1


def test_a_peer_that_is_taken_over_is_lost_though_it_was_never_reached(bus: Bus) -> None:
    address, router = bus.peer("inproc://peer")
    router.close()
    follow(bus, address)

    newer, router = bus.peer("inproc://newer", epoch=9)
    assert follow(bus, newer) == [], "the shard has not heard of it"
    bus.until(lambda: bus.links.new_peers)
    assert follow(bus) == [1]


def test_a_peer_that_was_out_of_sight_is_connected_to_by_another_connection(bus: Bus) -> None:
    address, router = bus.peer("inproc://peer")
    for origin in (b"worker-0-3", b"worker-0-3.1", b"worker-0-3.2"):
        follow(bus, address)
        bus.until(lambda: bus.links.new_peers)
        say(bus)
        bus.until(lambda: router.poll(0))
        assert router.recv_multipart()[0] == origin
        assert follow(bus) == [1]


def test_c6_a_range_s_older_owner_is_not_gone_back_to(bus: Bus) -> None:
    older, _ = bus.peer("inproc://older", epoch=5)
    newer, _ = bus.peer("inproc://newer", epoch=9)
    follow(bus, older)
    bus.until(lambda: bus.links.new_peers)
    assert follow(bus, newer) == [1]
    bus.until(lambda: bus.links.new_peers)

    assert follow(bus, older) == [1]
    bus.links.reach_again()

    assert not bus.links.new_peers
    assert not bus.links._dealers._reaching


def test_c5_a_peer_for_which_there_is_no_descriptor_is_tried_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = bus.peer("inproc://peer")

    def fail(*args: object, **options: object) -> None:
        raise NoDescriptor("there is none")

    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr("workers.dealers.reach", fail)
        assert follow(bus, address) == []
    assert [line["event"] for line in lines] == ["peer.no_descriptor"]

    bus.links.reach_again()
    bus.until(lambda: bus.links.new_peers == {1})
