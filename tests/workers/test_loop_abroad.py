"""A front on another host, by a way that is cut without a word: nothing is lost (I2, I4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    Deliver,
    EndSession,
    OpenSession,
    Page,
    Ready,
    RequestNumber,
    SendToUser,
    Seq,
    SessionOpened,
    Stored,
)
from relay.bus.topology import Topology, WorkerAddress
from relay.front.links import FromWorker, Links, WorkerLink
from relay.protocol.slots import SLOT_COUNT, Slot
from tests.abroad import Way, cluster_settings, remote
from tests.workers.loop_harness import RunningWorker

FRONT, BOB = "front-b-0-4", "bob"
WITHIN_S = 20.0
SENDS = 240


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
