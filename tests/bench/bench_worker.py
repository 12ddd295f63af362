"""What a message costs in the worker's own loop, ZeroMQ and the sync left out.

    python -m tests.bench.bench_worker

The loop is the real one, over a store that is not synced; only its ROUTER is played. A batch of
size N has N sends, the acks of the N messages before, and the confirmations of the receipts before
those. Processor time of a message, the best of several runs; then the calls of Python functions.
"""

from __future__ import annotations

import cProfile
import itertools
import pstats
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zmq

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    Acked,
    Confirmed,
    Deliver,
    RequestNumber,
    SendToUser,
    Seq,
    ToWorker,
    WorkerBatch,
)
from relay.extensions.registry import load
from relay.process.channel import child_end, supervisor_end
from relay.process.place import Place
from relay.protocol import frames
from relay.settings.tables import ServerSettings, Settings, StoreSettings
from tests import plain
from workers import loop
from workers.tools.reshard import reshard

from .timing import show

SIZES = (1, 8, 50)
MESSAGES = 400  # or so in a run of one size, which other work may not disturb
RUNS = 50
PAIRS = 100
INCARNATION = 3
FRONT = b"front-0-1"
TEXT = b'{"conversation": "%s"}' % (b"x" * 100)
TIME_S = 1_566_970_629


class Router:
    """The ROUTER as the loop sees it: what is to come comes one batch at a time."""

    def __init__(self, batches: Iterator[bytes], heard: Callable[[bytes], None]) -> None:
        self._batches = batches
        self._heard = heard
        self._is_drained = False
        self.is_at_end = False
        self._payload = b""
        self.busy_ns = 0  # of the loop, without what is done here
        self._since_ns = time.process_time_ns()

    def get(self, _: int) -> int:
        """Say that there is input, but for once behind each batch."""
        if self._is_drained or self.is_at_end:
            self._is_drained = False
            return 0
        return int(zmq.POLLIN)

    def recv(self, _: int) -> bytes:
        if not self._payload:
            self.busy_ns += time.process_time_ns() - self._since_ns
            self._is_drained = True
            self._payload = next(self._batches)
            self._since_ns = time.process_time_ns()
            return FRONT
        payload, self._payload = self._payload, b""
        return payload

    def send(self, content: bytes, flags: int) -> None:
        if flags & zmq.SNDMORE:
            return  # only to whom it goes
        self.busy_ns += time.process_time_ns() - self._since_ns
        self._heard(content)
        self._since_ns = time.process_time_ns()

    def close(self) -> None:
        pass


class Play:
    """What the front says, and what it does with what it hears."""

    def __init__(self, worker: loop.Worker) -> None:
        self._worker = worker
        self._users = [str(917_000_000_000 + n) for n in range(2 * PAIRS)]
        self._number = self._request = 0
        self._received = 0
        self._to_ack: list[SendToUser] = []
        self._receipts: dict[int, Seq] = {}
        self._ids = itertools.count()
        self.router = Router(self._batches(), self._hear)
        self.us: dict[int, float] = {}
        self.profile = cProfile.Profile()
        self.profiled = 0  # batches

    def _batches(self) -> Iterator[bytes]:
        users = enumerate(self._users)
        yield self._batch([plain.open_session(n, user, LOGIN, 0) for n, user in users])
        yield self._batch([plain.ready(n, 0, 1) for n in range(len(self._users))])
        for _, size in itertools.product(range(RUNS), SIZES):
            count = MESSAGES // size
            yield self._round(size)
            begun_ns = self.router.busy_ns
            for _ in range(count):
                yield self._round(size)
            us = (self.router.busy_ns - begun_ns) / (count * size) / 1000
            self.us[size] = min(self.us.get(size, us), us)
        yield self._round(1)
        self.profiled = MESSAGES // 2
        self.profile.enable()
        for _ in range(self.profiled):
            yield self._round(1)
        self.profile.disable()
        self._worker._stopping = self.router.is_at_end = True
        yield self._round(1)

    def _round(self, size: int) -> bytes:
        sends = [self._send() for _ in range(size)]
        acks = [
            Acked(each.chat, [each.message_id], 2, each.author, False, each.chat, False, TIME_S)
            for each in self._to_ack
        ]
        confirmed = [Confirmed(session, seq) for session, seq in self._receipts.items()]
        self._to_ack = sends
        self._receipts = {}
        return self._batch([*sends, *acks, *confirmed])

    def _send(self) -> SendToUser:
        pair = 2 * (self._request % PAIRS)
        author, recipient = self._users[pair], self._users[pair + 1]
        self._request += 1
        # Ids as clients make them: no order in them.
        message_id = f"{next(self._ids) * 0x9E3779B97F4A7C15 % 2**64:020X}"
        frame = frames.delivered_to_user(
            author=author,
            message_id=message_id,
            message=TEXT,
            time_s=TIME_S,
            key_extra=b"",
            extra=b"",
        )
        request = RequestNumber(self._request)
        return SendToUser(request, author, recipient, message_id, TIME_S, b"12345678", frame)

    def _batch(self, items: list[ToWorker]) -> bytes:
        self._number += 1
        return envelopes.encode(
            WorkerBatch(INCARNATION, self._number, self._received, len(items), items)
        )

    def _hear(self, payload: bytes) -> None:
        batch = envelopes.decode_front_batch(payload)
        self._received = batch.number
        for item in batch.items:
            if isinstance(item, Deliver) and item.receipt_for:
                self._receipts[item.session] = item.seq


def worker_at(run_dir: Path, supervisor: socket.socket, control: socket.socket) -> loop.Worker:
    """Return a worker whose supervisor says nothing."""
    settings = Settings(
        server=ServerSettings(data=str(run_dir / "data"), workers=1),
        store=StoreSettings(durability="os"),
    )
    (run_dir / "data").mkdir()
    reshard(run_dir / "data", settings)
    supervisor_end(supervisor)
    place = Place(run_dir, 0, INCARNATION, settings, child_end(control.detach()))
    return loop.Worker(place, load())


def main() -> None:
    """Print a line for each size, and what a batch of one calls."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
        ours, theirs = socket.socketpair()
        worker = worker_at(Path(directory), ours, theirs)
        play = Play(worker)
        links: Any = worker._links
        links._watch.remove(links._router)
        links._router.close()
        links._router = play.router
        links._watch._used = {play.router}
        worker.run()
        ours.close()
    for size, us in sorted(play.us.items()):
        show(f"a message in the worker's loop, {size} a batch", us)
    calls = [
        (count / play.profiled, f"{Path(file).name}:{line} {name}")
        for (file, line, name), (_, count, *_) in pstats.Stats(play.profile).stats.items()  # type: ignore[attr-defined]
        if file.startswith(str(Path.cwd())) and "bench" not in file
    ]
    show("calls of this code's functions in a batch of one", sum(count for count, _ in calls))
    if "--calls" in sys.argv:
        for count, name in sorted(calls, reverse=True):
            sys.stdout.write(f"{count:8.2f} {name}\n")


if __name__ == "__main__":
    main()
