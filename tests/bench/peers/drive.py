"""Drives the pair chat against one server, and times it: the same loop for every protocol.

A message is complete when its author holds the server's ack, the other has it, and the author has
been told so. Closed loop: each author has a window of them under way. Open loop: they leave at
their times whatever comes back, and latency counts from those times.
"""

from __future__ import annotations

import gc
import itertools
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.bench.peers.clients import Client, Step

_LOGIN_WITHIN_S: Final = 20.0
_REST_WITHIN_S: Final = 5.0  # for what is under way at the end
_READ_BYTES: Final = 1 << 18
_ALL: Final = sum(1 << step for step in Step)


class Address(NamedTuple):
    """Where a server accepts connections."""

    host: str
    port: int


class Load(NamedTuple):
    """A closed loop of `window` messages a pair; or an open one of `rate` messages/s in all."""

    name: str
    window: int = 0
    rate: float = 0.0


class Result(NamedTuple):
    """What one load did to one server."""

    messages: int  # complete, while it was measured
    seconds: float
    server_cpu_s: float
    load_cpu_s: float
    acks_ms: list[float]  # sorted, from sending
    told_ms: list[float]
    unfinished: int  # not complete, though it had time to
    repeated: int  # delivered again

    @property
    def cpu_us(self) -> float:
        """Server CPU microseconds a complete message."""
        return self.server_cpu_s * 1e6 / self.messages if self.messages else float("nan")

    @property
    def rate(self) -> float:
        """Complete messages a second."""
        return self.messages / self.seconds


class DriveFailed(Exception):
    """The server let nobody in, ended a connection, or let nothing through."""


class _Message:
    """A message that is under way."""

    __slots__ = ("author", "began_s", "steps")

    def __init__(self, author: int, began_s: float) -> None:
        self.author = author
        self.began_s = began_s
        self.steps = 0


class Drive:
    """The pairs of one load, on sockets of their own; the context manager closes them."""

    _numbers = itertools.count(1)  # of messages: none twice, whatever an earlier load left behind

    def __init__(
        self,
        make: Callable[[str, str], Client],
        servers: Sequence[Address],
        *,
        pairs: int,
        load: Load,
    ) -> None:
        self._load = load
        self._pairs = pairs
        self._clients: list[Client] = []
        self._sockets: list[socket.socket] = []
        self._poll = select.epoll()
        self._by_fd: dict[int, int] = {}
        self._full: set[int] = set()  # who waits until its socket takes more
        self._under_way: dict[int, _Message] = {}
        self._is_sending = False
        self._completed = 0
        self._repeated = 0
        self._acks_s: list[float] = []
        self._told_s: list[float] = []
        self._make, self._servers = make, servers

    def close(self) -> None:
        """Close every socket."""
        for each in self._sockets:
            each.close()
        self._poll.close()

    def log_in(self) -> None:
        """Connect everybody, and wait until all are in.

        Raises:
            DriveFailed: somebody is not.
        """
        for n in range(2 * self._pairs):
            client = self._make(f"u{n}", f"u{n ^ 1}")
            server = self._servers[n % len(self._servers)]
            connection = socket.create_connection(server, timeout=_LOGIN_WITHIN_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self._clients.append(client)
            self._sockets.append(connection)
            self._by_fd[connection.fileno()] = n
            self._poll.register(connection.fileno(), select.EPOLLIN)
            client.begin()
            self._write(n)
        ends_s = time.perf_counter() + _LOGIN_WITHIN_S
        while not all(client.is_in for client in self._clients):
            if time.perf_counter() > ends_s:
                absent = sum(not client.is_in for client in self._clients)
                raise DriveFailed(f"{absent} of {2 * self._pairs} are not in after 20 s")
            self._turn(0.1)

    def run(self, cpu_s: Callable[[], float], *, warm_up_s: float, seconds: float) -> Result:
        """Warm up, measure, and wait for what is under way.

        Raises:
            DriveFailed: nothing was complete in the measured time.
        """
        authors = range(0, 2 * self._pairs, 2)
        began_s = time.perf_counter()
        self._is_sending = True
        if not self._load.rate:
            for author in authors:
                for _ in range(self._load.window):
                    self._say(author, began_s)
                self._write(author)
        due = self._times(began_s)
        self._until(began_s + warm_up_s, due, authors)
        self._completed = self._repeated = 0
        self._acks_s.clear()
        self._told_s.clear()
        began_s, server_s, own_s = time.perf_counter(), cpu_s(), time.process_time()
        self._until(began_s + seconds, due, authors)
        took_s = time.perf_counter() - began_s
        server_s, own_s = cpu_s() - server_s, time.process_time() - own_s
        completed, acks_s, told_s = self._completed, self._acks_s, self._told_s
        self._acks_s, self._told_s = [], []
        self._is_sending = False
        ends_s = time.perf_counter() + _REST_WITHIN_S
        while self._under_way and time.perf_counter() < ends_s:
            self._turn(0.05)
        if not completed:
            raise DriveFailed(f"no message was complete in {seconds:g} s")
        return Result(
            messages=completed,
            seconds=took_s,
            server_cpu_s=server_s,
            load_cpu_s=own_s,
            acks_ms=sorted(each * 1e3 for each in acks_s),
            told_ms=sorted(each * 1e3 for each in told_s),
            unfinished=len(self._under_way),
            repeated=self._repeated,
        )

    def _times(self, began_s: float) -> itertools.count[float] | None:
        rate = self._load.rate
        return itertools.count(began_s, 1 / rate) if rate else None

    def _until(
        self, ends_s: float, due: itertools.count[float] | None, authors: Sequence[int]
    ) -> None:
        next_s = next(due) if due is not None else ends_s
        turn = itertools.cycle(authors)
        while (now_s := time.perf_counter()) < ends_s:
            if due is not None:
                while next_s <= now_s:
                    author = next(turn)
                    self._say(author, next_s)
                    self._write(author)
                    next_s = next(due)
            self._turn(max(0.0, min(next_s, ends_s) - now_s))

    def _turn(self, wait_s: float) -> None:
        # The wait is rounded up to a millisecond: what is due within it leaves a little later.
        for fd, event in self._poll.poll(wait_s):
            n = self._by_fd[fd]
            if event & select.EPOLLOUT:
                self._full.discard(n)
                self._poll.modify(fd, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                self._read(n)
            self._write(n)

    def _read(self, n: int) -> None:
        client = self._clients[n]
        try:
            data = self._sockets[n].recv(_READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise DriveFailed(f"the server closed the connection of u{n}")
        client.received(data)
        if client.steps:
            now_s = time.perf_counter()
            for step, number in client.steps:
                self._step(step, number, now_s)
            client.steps.clear()

    def _step(self, step: Step, number: int, now_s: float) -> None:
        message = self._under_way.get(number)
        if message is None:
            return  # complete already, or of an earlier load
        if step == Step.GOT and message.steps & 1 << step:
            self._repeated += 1
        if step == Step.ACKED:
            self._acks_s.append(now_s - message.began_s)
        elif step == Step.TOLD:
            self._told_s.append(now_s - message.began_s)
        message.steps |= 1 << step
        if message.steps == _ALL:
            del self._under_way[number]
            self._completed += 1
            if self._is_sending and not self._load.rate:
                # The author is the one who reads: only its steps complete a message, as who gets
                # one notes that before it answers. So what is said here is written at its end.
                self._say(message.author, now_s)

    def _say(self, author: int, began_s: float) -> None:
        number = next(self._numbers)
        self._under_way[number] = _Message(author, began_s)
        self._clients[author].say(number)

    def _write(self, n: int) -> None:
        out = self._clients[n].wire.out
        if not out or n in self._full:
            return
        try:
            del out[: self._sockets[n].send(out)]
        except BlockingIOError:
            pass
        if out:
            self._full.add(n)
            self._poll.modify(self._sockets[n].fileno(), select.EPOLLIN | select.EPOLLOUT)


def drive(
    make: Callable[[str, str], Client],
    servers: Sequence[Address],
    cpu_s: Callable[[], float],
    *,
    pairs: int,
    load: Load,
    warm_up_s: float,
    seconds: float,
) -> Result:
    """Log pairs in, put a load on the server, and return what it cost.

    Where one server is several hosts, users are on them in turn: of a pair each on another one.
    `cpu_s` tells the CPU seconds that the server has used so far.

    Raises:
        DriveFailed: the server let nobody in, ended a connection, or let nothing through.
        WireBroken, Refused: it said something that the client did not expect.
        OSError: no connection could be made.
    """
    driven = Drive(make, servers, pairs=pairs, load=load)
    gc.collect()
    gc.disable()  # a pass over 200 clients would be a wait of every message under way
    try:
        driven.log_in()
        return driven.run(cpu_s, warm_up_s=warm_up_s, seconds=seconds)
    finally:
        gc.enable()
        driven.close()


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of sorted values, NaN of none."""
    if not values:
        return float("nan")
    return values[min(len(values) - 1, int(len(values) * share))]
