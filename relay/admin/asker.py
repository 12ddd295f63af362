"""Asks fronts and workers, and waits for no answer longer than an operator should.

A process that is stopped, busy or gone yields a `Silence`, and the others' answers stand. What is
sent to it meanwhile is bounded, and expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq

from relay import clock, log
from relay.bus.identity import who_is
from relay.bus.sockets import has_input
from relay.bus.topology import Topology
from relay.inquiries.contract import Answered, Asked, Inquiry, decode_answered, encode, endpoint_of
from relay.protocol.slots import ShardMap
from relay.settings.tables import Settings

# Inquiries that one process has not taken yet; beyond that it is not asked.
MAX_UNSENT = 64

Answer = TypeVar("Answer")


class Seat(msgspec.Struct, frozen=True, order=True):
    """A front or a worker, whoever is it now."""

    role: str
    index: int

    def __str__(self) -> str:
        return f"{self.role} {self.index}"


class Process(msgspec.Struct, frozen=True, order=True):
    """Who fills a seat."""

    seat: Seat
    incarnation: int


class Silence(msgspec.Struct, frozen=True):
    """Who could not be asked, or did not say, and why."""

    role: str
    index: int
    reason: str


class Asker:
    """Connects to whoever lives. `restarts` counts by seat who has come after the first."""

    def __init__(self, settings: Settings, run_dir: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.adopt(settings)
        self._run_dir = run_dir
        self._loop = loop
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._lines: dict[Process, _Line] = {}
        self._shard_map = ShardMap(settings.server.workers)
        self._host = settings.cluster.host_name if settings.cluster.is_on else ""
        self.restarts: dict[Seat, int] = {
            **{Seat("worker", index): -1 for index in range(settings.server.workers)},
            **{Seat("front", index): -1 for index in range(settings.server.fronts)},
        }

    @property
    def seats(self) -> Iterable[Seat]:
        """All of them, whoever is there; of several hosts the workers that own a range here."""
        if not self._host:
            return self.restarts
        return [seat for seat in self.restarts if seat.role != "worker" or self.who_is(seat)]

    def adopt(self, settings: Settings) -> None:
        """Go by other settings."""
        self._within_s = settings.admin.ask_within_s

    def deadline_s(self) -> float:
        """Return until when, in seconds of the loop, whoever asks now is to have all answers."""
        return self._loop.time() + self._within_s

    def follow(self, topology: Topology) -> None:
        """Connect to who is new, and let go of who is gone."""
        present = _processes(topology, self._host)
        for process in self._lines.keys() - present:
            self._lines.pop(process).close()
        for process in sorted(present - self._lines.keys()):
            self._lines[process] = _Line(self._context, self._loop, self._run_dir, process)
            self.restarts[process.seat] = self.restarts.get(process.seat, -1) + 1

    def close(self) -> None:
        """Let go of everybody."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
        self._context.term()

    def who_is(self, seat: Seat) -> Process | None:
        """Return who fills a seat, the newest while there are two."""
        return max((each for each in self._lines if each.seat == seat), default=None)

    def owner_of(self, local: str) -> Seat:
        """Return the seat of the worker that owns a user or group."""
        return Seat("worker", self._shard_map.owner_of(local))

    async def ask(
        self, seat: Seat, inquiry: Inquiry[Answer], *, deadline_s: float | None = None
    ) -> Answer | Silence:
        """Return the answer of who fills `seat`, or why there is none."""
        process = self.who_is(seat)
        if process is None and self._host and seat.role == "worker":
            return Silence(seat.role, seat.index, "its range is another host's: ask there")
        if process is None:
            return Silence(seat.role, seat.index, "it is not there; it is being started again")
        by_s = self.deadline_s() if deadline_s is None else deadline_s
        return await self._lines[process].ask(inquiry, by_s)

    async def ask_all(
        self, role: str | None, inquiry: Inquiry[Answer], *, deadline_s: float | None = None
    ) -> tuple[dict[Seat, Answer], list[Silence]]:
        """Return the answers of all of a role, or of everybody; and who gave none."""
        by_s = self.deadline_s() if deadline_s is None else deadline_s
        seats = [seat for seat in self.seats if role in (None, seat.role)]

        async def heard_from(seat: Seat) -> Answer | Silence:
            answer = await self.ask(seat, inquiry, deadline_s=by_s)
            return answer  # returned at once, it would be taken for another type

        answers = await asyncio.gather(*map(heard_from, seats))
        heard: dict[Seat, Answer] = {}
        silent = []
        for seat, answer in zip(seats, answers, strict=True):
            if isinstance(answer, Silence):
                silent.append(answer)
            else:
                heard[seat] = answer
        return heard, silent


class _Line:
    """The socket to one process, and who waits for its answers."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
        run_dir: Path,
        process: Process,
    ) -> None:
        self._loop = loop
        self._seat = process.seat
        self._waiting: dict[int, asyncio.Future[Answered | None]] = {}
        self._number = 0
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, MAX_UNSENT)
        self._socket.setsockopt(zmq.RCVHWM, MAX_UNSENT)
        self._socket.connect(f"ipc://{endpoint_of(run_dir, process.incarnation)}")
        self._fd = self._socket.fileno()
        loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        """Let go of it; who waits is told."""
        self._loop.remove_reader(self._fd)
        self._socket.close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)

    async def ask(self, inquiry: Inquiry[Answer], by_s: float) -> Answer | Silence:
        """Return the answer, if there is one in time."""
        left_s = by_s - self._loop.time()
        if left_s <= 0:
            return self._silence("it was not asked: the time was up")
        self._number += 1
        number = self._number
        expires_ms = clock.clock_ms() + int(left_s * 1000) + 1
        asked = Asked(number, expires_ms, inquiry.name, msgspec.Raw(encode(inquiry)))
        try:
            self._socket.send(encode(asked), zmq.DONTWAIT)
        except zmq.Again:
            return self._silence("it takes no questions")
        self._read_soon()
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            async with asyncio.timeout_at(by_s):
                answered = await waiting
        except TimeoutError:
            return self._silence("it did not answer in time")
        finally:
            del self._waiting[number]
        if answered is None:
            return self._silence("it has ended")
        if answered.code:
            return self._silence(answered.reason)
        try:
            found: Answer = msgspec.msgpack.decode(answered.body, type=inquiry.answer)
        except msgspec.MsgspecError as error:
            return self._silence(f"its answer is of another version: {error}")
        return found

    def _silence(self, reason: str) -> Silence:
        return Silence(self._seat.role, self._seat.index, reason)

    def _read_soon(self) -> None:
        # The descriptor is edge-triggered, and sending may have consumed the edge.
        if has_input(self._socket):
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        while not self._socket.closed and has_input(self._socket):
            try:
                answered = decode_answered(self._socket.recv(zmq.DONTWAIT))
            except msgspec.MsgspecError as error:
                log.get_logger().warning(
                    "answer.unreadable", who=str(self._seat), reason=str(error)
                )
                continue
            waiting = self._waiting.get(answered.number)
            if waiting is not None and not waiting.done():
                waiting.set_result(answered)


def _processes(topology: Topology, host: str) -> set[Process]:
    """Return who can be asked: the processes of this host."""
    found = {
        Process(Seat("worker", each.index), each.number or each.incarnation)
        for each in topology.workers
        if each.host == host
    }
    for front in map(who_is, topology.fronts):
        if front.host == host:
            found.add(Process(Seat("front", front.index), front.incarnation))
    return found
