"""A front on another host, by a way that is cut without a word: nothing is lost (I2, I4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count, islice
from pathlib import Path
from random import Random

import pytest
import zmq

from relay.bus import envelopes
from relay.bus.doorkeeper import Doorkeeper
from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    Acked,
    Applied,
    Deliver,
    Durable,
    EndSession,
    OpenSession,
    Page,
    PeerBatch,
    Ready,
    Receipt,
    RequestNumber,
    SendToUser,
    Seq,
    SessionOpened,
    Stored,
    ToWorker,
    WorkerBatch,
)
from relay.bus.sockets import bind_router, tcp_endpoint
from relay.bus.topology import Topology, WorkerAddress, life_of
from relay.front.links import FromWorker, Links, WorkerLink
from relay.protocol.slots import SLOT_COUNT, Slot, shard_ranges, slot_of
from tests import plain
from tests.abroad import PUBLIC, Way, cluster_settings, remote
from tests.workers.loop_harness import RunningWorker

FRONT, BOB = "front-b-0-4", "bob"
WITHIN_S = 20.0
SENDS = 240


def user_of(shard: int) -> str:
    """Return one of two workers' users."""
    slots = shard_ranges(2)[shard]
    return next(user for user in map(str, count(910000000001)) if slot_of(user) in slots)


class Client:
    """Bob's session on the front of another host, and somebody who writes to him."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.stored: list[int] = []
        self.announcements = 0
        self._links: Links
        self._cursor = Seq(0)
        self._pages = 0
        self._is_logged_in = False

    def begin(self, links: Links, topology: Topology) -> None:
        self._links = links
        links.follow(topology)

    @property
    def link(self) -> WorkerLink:
        return self._links.link_of(Slot(0))

    def announce(self, link: WorkerLink) -> None:
        self.announcements += 1
        self._pages = 0
        phase = LIVE if self._is_logged_in else LOGIN
        link.request(OpenSession(1, BOB, phase, self._cursor, 1), durable=False)

    def send(self, number: int) -> None:
        frame = b"frame %d" % number
        envelope = SendToUser(
            RequestNumber(number), "alice", BOB, f"M{number}", 1000, b"12345678", frame
        )
        self.link.request(envelope, durable=True)

    def receive(self, items: Iterator[FromWorker], ends_s: float) -> bool:
        for item in items:
            match item:
                case SessionOpened():
                    self._is_logged_in = True
                case Stored(request):
                    self.stored.append(request)
                case Deliver(_, seq, _, frame):
                    self._take(seq, frame)
                case Page():
                    self._pages += 1
                    for entry in item.entries:
                        self._take(entry.seq, entry.frame)
                    if item.more:
                        ready = Ready(1, self._cursor, self._pages)
                        self.link.request(ready, durable=False)
                case EndSession():
                    raise AssertionError("its own session is no other one")
                case _:
                    pass
        return True

    def _take(self, seq: Seq, frame: bytes) -> None:
        assert seq > self._cursor, "it had that"
        self._cursor = seq
        self.frames.append(frame)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.005)


async def write_through_cuts(client: Client, way: Way, random: Random) -> None:
    """Send one after the other, with the way cut now and then, mostly until the link is over."""
    await until(lambda: client.link.address)
    cuts = sorted(random.sample(range(SENDS), 4))
    for number in range(SENDS):
        if number in cuts:
            way.cut()
        client.send(number)
        await asyncio.sleep(random.choice((0, 0, 0.002)))
        if number in cuts:
            if number == cuts[0] or random.random() < 0.6:
                await until(lambda: not client.link.address)
            else:
                await asyncio.sleep(random.uniform(0, 0.4))  # the connection may hold
            way.heal()
            if random.random() < 0.5:
                await until(lambda: client.link.address)
    await until(lambda: len(set(client.stored)) == SENDS and len(client.frames) >= SENDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_i4_what_is_sent_through_cuts_is_delivered_once_and_in_order(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("relay.bus.sockets.HEARTBEAT_S", 0.1)
    monkeypatch.setattr("relay.bus.sockets.SILENT_S", 0.3)
    monkeypatch.setattr("relay.front.links.REACH_AGAIN_S", 0.05)
    worker = RunningWorker(run_dir, monkeypatch, cluster=cluster_settings("a"))
    way = Way(worker.worker._links.tcp)
    client = Client()
    address = WorkerAddress(
        *(0, 0, SLOT_COUNT - 1, "ipc:///nowhere.sock", worker.incarnation, "a", way.endpoint)
    )

    async def scene() -> None:
        links = Links(
            FRONT,
            loop=asyncio.get_running_loop(),
            max_link_bytes=1_000_000,
            receive=client.receive,
            announce=client.announce,
            has_room=lambda link: None,
            remote=remote("b"),
        )
        try:
            client.begin(links, Topology(epoch=1, workers=(address,)))
            await write_through_cuts(client, way, Random(seed))
        finally:
            links.close()

    try:
        worker.list_fronts(FRONT)
        asyncio.run(scene())
    finally:
        way.close()
        worker.close()

    assert client.frames == [b"frame %d" % number for number in range(SENDS)]
    assert client.announcements >= 2
    assert worker.crash is None


class Peer:
    """The owner of range 1 on another host, played by the test: it stores what it is sent once."""

    def __init__(self, stack: ExitStack) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.term)
        self._doorkeeper = Doorkeeper(context, PUBLIC)
        stack.callback(self._doorkeeper.close)
        self._router = bind_router(context, "inproc://peer", remote=remote("b"))
        stack.callback(self._router.close)
        self.way = Way(tcp_endpoint(self._router))
        stack.callback(self.way.close)
        self.address = WorkerAddress(
            *(1, 2048, 4095, "ipc:///nowhere.sock", 7, "b", self.way.endpoint)
        )
        self.stored: list[str] = []
        self.origins: set[bytes] = set()
        self._applied = Seq(0)

    def turn(self) -> None:
        """Take what has come, and confirm it."""
        self._doorkeeper.answer()
        if not self._router.poll(10):
            return
        origin, payload = self._router.recv_multipart()
        batch = envelopes.decode_worker_batch(payload)
        self.origins.add(origin)
        assert batch.incarnation == self.address.life
        for item in batch.items:
            assert isinstance(item, Durable)
            assert isinstance(item.content, Receipt)
            if item.seq > self._applied:
                self._applied = item.seq
                self.stored.append(item.content.message_id)
        confirmed = envelopes.encode(PeerBatch([Applied(self._applied)]))
        with suppress(zmq.ZMQError):  # that connection is over
            self._router.send_multipart((origin, confirmed), zmq.DONTWAIT)

    def turn_until(self, condition: Callable[[], object]) -> None:
        ends_s = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < ends_s, "it did not come about"
            self.turn()


@pytest.mark.slow
def test_what_a_worker_of_another_host_is_to_store_comes_once_and_in_order_through_cuts(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.bus.sockets.HEARTBEAT_S", 0.1)
    monkeypatch.setattr("relay.bus.sockets.SILENT_S", 0.3)
    monkeypatch.setattr("workers.schedule.SWEEP_MS", 100)  # when peers are tried again
    here, there = user_of(0), user_of(1)
    local = "front-a-0-3"
    with ExitStack() as stack:
        peer = Peer(stack)
        worker = RunningWorker(run_dir, monkeypatch, workers=2, cluster=cluster_settings("a"))
        stack.callback(worker.close)
        front = worker.connect(local)
        worker.list_fronts(local, workers=(peer.address,))
        life = life_of(0, worker.incarnation, host="a")

        def send(number: int, *items: ToWorker) -> None:
            front.send(envelopes.encode(WorkerBatch(life, number, 0, len(items), list(items))))

        send(1, plain.open_session(1, here, LOGIN, 0))
        numbers = iter(range(SENDS))

        def receipts(count: int) -> None:
            """Have there's messages be acked here: there is to hear of each."""
            for number in islice(numbers, count):
                frame = RequestNumber(number), there, here, f"M{number}", 1000, bytes(8), b"frame"
                acked = Acked(here, [f"M{number}"], 2, there, False, here, False, 1000)
                send(2 + number, SendToUser(*frame), acked)

        receipts(SENDS // 4)
        peer.turn_until(lambda: len(peer.stored) > SENDS // 8)
        for cut in (1, 2):
            peer.way.cut()
            receipts(SENDS // 4)
            time.sleep(0.8)  # both ends have noticed
            peer.way.heal()
            receipts(SENDS // 8)
            peer.turn_until(partial(peer.origins.__contains__, b"worker-0-3.%d" % cut))
        receipts(SENDS)
        peer.turn_until(lambda: len(peer.stored) >= SENDS)

    assert peer.stored == [f"M{number}" for number in range(SENDS)]
    assert worker.crash is None
