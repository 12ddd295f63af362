"""Nothing leaves a worker before what it tells of is committed (I1)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import zmq

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    Acked,
    Receipt,
    RequestNumber,
    SendToUser,
    ToWorker,
    WorkerBatch,
)
from relay.bus.sockets import bind_router, connect_dealer
from relay.bus.topology import Topology, WorkerAddress
from relay.process.channel import child_end, supervisor_end
from relay.process.control import Stop, TopologyChanged
from relay.process.place import Place
from relay.protocol.slots import shard_ranges, slot_of
from relay.settings.tables import ServerSettings, Settings, StoreSettings
from tests import plain
from workers import loop
from workers.store.batch import Batch
from workers.store.store import Store
from workers.tools.reshard import reshard

FRONT, PEER = "front-0-3", "worker-1-2"
INCARNATION = 1


def user_of(shard: int) -> str:
    slots = shard_ranges(2)[shard]
    return next(user for user in map(str, count(910000000001)) if slot_of(user) in slots)


HERE, THERE = user_of(0), user_of(1)
TOLD = {f"to {FRONT}", f"to {PEER}", "to the peer's router"}


def test_a_batch_is_committed_before_anything_of_it_is_handed_to_a_socket(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = events_until_all_are_told(run_dir, monkeypatch)

    assert set(events) == {"begins", "committed", *TOLD}
    for before, event in pairwise(events):
        assert not (before == "begins" and event in TOLD), events


def events_until_all_are_told(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have a worker decide on what makes it speak to all whom it knows; return what it did."""
    monkeypatch.setattr(loop, "settle", lambda: None)  # it tunes the whole process
    settings = Settings(
        server=ServerSettings(data=str(run_dir / "data"), workers=2),
        store=StoreSettings(durability="os", map_bytes=1 << 24),
    )
    (run_dir / "data").mkdir()
    reshard(run_dir / "data", settings)
    ours, theirs = socket.socketpair()
    supervisor, control = supervisor_end(ours), child_end(theirs.detach())
    worker = loop.Worker(Place(run_dir, 0, INCARNATION, settings, control))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    peer_endpoint = f"ipc://{run_dir}/peer.sock"
    sockets = [bind_router(context, peer_endpoint)]

    def send(identity: str, *items: ToWorker) -> None:
        sockets.append(connect_dealer(context, worker._links.endpoint, identity=identity))
        sockets[-1].send(envelopes.encode(WorkerBatch(INCARNATION, 1, 0, 1, list(items))))

    try:
        # The peer is told that its entry is stored, ...
        send(PEER, plain.durable(1, Receipt(HERE, "", "OLD", THERE, 2, 1000)))
        send(
            FRONT,
            plain.open_session(1, HERE, LOGIN, 0),
            SendToUser(RequestNumber(1), THERE, HERE, "M", 1000, bytes(8), b"a frame"),
            # ... and is to store the receipt of this.
            Acked(HERE, ["M"], 2, THERE, False, HERE, False, 1000),
        )
        slots = shard_ranges(2)[1]
        peer = WorkerAddress(1, slots[0], slots[-1], peer_endpoint, 2)
        supervisor.send(TopologyChanged(Topology(epoch=1, workers=(peer,), fronts=(FRONT,))))
        events = watch(monkeypatch, lambda: supervisor.send(Stop(1.0)))
        worker.run()
        monkeypatch.undo()
    finally:
        for each in sockets:
            each.close()
        context.term()
        supervisor.close()
        control.close()
    return events


def watch(monkeypatch: pytest.MonkeyPatch, stop: Callable[[], object]) -> list[str]:
    """Return a list of what is done from now on: to the store, and whom something is sent to.

    Calls `stop` when everyone in `TOLD` was sent something.
    """
    events: list[str] = []
    begin, commit, send = Store.begin, Batch.commit, zmq.Socket.send

    def begin_and_note(store: Store) -> Batch:
        events.append("begins")
        return begin(store)

    def commit_and_note(batch: Batch) -> None:
        commit(batch)
        events.append("committed")

    def note_and_send(
        self: zmq.Socket[bytes], data: bytes, flags: int = 0, *rest: Any, **named: Any
    ) -> Any:
        if self.type == zmq.DEALER:
            events.append("to the peer's router")
        elif flags & zmq.SNDMORE:
            events.append(f"to {data.decode()}")
        if events[-1] in TOLD and set(events) >= TOLD:
            stop()
        return send(self, data, flags, *rest, **named)

    monkeypatch.setattr(Store, "begin", begin_and_note)
    monkeypatch.setattr(Batch, "commit", commit_and_note)
    monkeypatch.setattr(zmq.Socket, "send", note_and_send)
    return events
