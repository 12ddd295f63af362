"""Asks fronts and workers, and waits for no answer longer than an operator should.

A process that is stopped, busy or gone yields a `Silence`, and the others' answers stand. What is
sent to it meanwhile is bounded, and expires. Those of other hosts are asked by their admins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
import zmq

from relay import clock, log
from relay.bus.identity import who_is
from relay.bus.sockets import has_input
from relay.bus.topology import Topology
from relay.inquiries.contract import (
    FAILED,
    UNREADABLE,
    Answered,
    Asked,
    Inquiry,
    decode_answered,
    encode,
    endpoint_of,
)
from relay.protocol.slots import ShardMap
from relay.settings.tables import Settings

# Inquiries that one process has not taken yet; beyond that it is not asked.
MAX_UNSENT = 64
# What is asked of another host has this share of the time there: so it is that host who says which
# of its processes is silent.
SHARE_ABROAD: Final = 0.8

Answer = TypeVar("Answer")


class Seat(msgspec.Struct, frozen=True, order=True):
    """A front or a worker, whoever is it now; or the admin of another host."""

    role: str
    index: int
    host: str = ""  # of another one, in a cluster

    def __str__(self) -> str:
        return f"{self.role} {self.index}" + (f" of {self.host}" if self.host else "")


class Process(msgspec.Struct, frozen=True, order=True):
    """Who fills a seat."""

    seat: Seat
    incarnation: int


class Silence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who could not be asked, or did not say, and why; of role "host" it is a whole host."""

    role: str
    index: int
    reason: str
    host: str = ""  # of a cluster, on which it is

    def __str__(self) -> str:
        if self.role == "host":
            return f"host {self.host}"
        return str(Seat(self.role, self.index, self.host))


class Others(Protocol):
    """The admins of the other hosts of a cluster."""

    def start(self) -> None:
        """Begin to connect."""

    def close(self) -> None:
        """Ask and answer nothing any more."""

    async def ask(self, seat: Seat, name: str, body: bytes, by_s: float) -> Answered:
        """Return what is answered there by `by_s`, in seconds of the loop."""

    async def ask_agent(self, host: str, payload: bytes, by_s: float) -> bytes | Silence:
        """Return what the agent of a host answers, be it this one's."""


class Nobody:
    """Where there are none."""

    def start(self) -> None:
        """See `Others`."""

    def close(self) -> None:
        """See `Others`."""

    async def ask(self, seat: Seat, name: str, body: bytes, by_s: float) -> Answered:
        """See `Others`."""
        return Answered(0, code=FAILED, reason="no other host can be asked")

    async def ask_agent(self, host: str, payload: bytes, by_s: float) -> bytes | Silence:
        """See `Others`."""
        return Silence("agent", 0, "there is none", host)


class Asker:
    """Connects to whoever lives. `restarts` counts by seat who has come after the first."""

    def __init__(
        self,
        settings: Settings,
        run_dir: Path,
        loop: asyncio.AbstractEventLoop,
        others: Others | None = None,
    ) -> None:
        self.adopt(settings)
        self._run_dir = run_dir
        self._loop = loop
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._lines: dict[Process, _Line] = {}
        self._shard_map = ShardMap(settings.server.workers)
        self._others = others or Nobody()
        self._hosts = settings.cluster.serving if settings.cluster.is_on else ()
        self._abroad: frozenset[Seat] = frozenset()  # fronts and owners of ranges on other hosts
        self.host = settings.cluster.host_name if settings.cluster.is_on else ""
        fronts = 0 if settings.cluster.is_witness else settings.server.fronts
        self.restarts: dict[Seat, int] = {
            **{Seat("worker", index): -1 for index in range(settings.server.workers)},
            **{Seat("front", index): -1 for index in range(fronts)},
        }

    @property
    def seats(self) -> Iterable[Seat]:
        """All of them, whoever is there; of several hosts the workers that own a range here."""
        if not self.host:
            return self.restarts
        return [seat for seat in self.restarts if seat.role != "worker" or self.who_is(seat)]

    def everywhere(self, role: str | None = None) -> list[Seat]:
        """Return the seats of a role, or all, of all hosts that are heard of, host by host.

        Of ranges that nobody owns just now there is one, too, last.
        """
        found = [*self.seats, *self._abroad]
        owned = {seat.index for seat in found if seat.role == "worker"}
        vacant = (seat for seat in self.restarts if seat.role == "worker")
        found = [seat for seat in found if role in (None, seat.role)]
        found.sort(key=lambda seat: (self.host_of(seat), seat))
        if self.host and role in (None, "worker"):
            found += (seat for seat in vacant if seat.index not in owned)
        return found

    def unheard(self) -> list[Silence]:
        """Return the hosts that are to serve, and of which nothing is heard."""
        heard = {self.host, *(seat.host for seat in self._abroad)}
        reason = "nothing is heard of it: nobody is there, or it is cut off"
        return [Silence("host", 0, reason, host) for host in self._hosts if host not in heard]

    def is_standby(self, seat: Seat) -> bool:
        """Tell whether who sits there only follows the log of a range that another host owns."""
        return bool(self.host) and seat.role == "worker" and self.who_is(seat) is None

    def host_of(self, seat: Seat) -> str:
        """Return the host of a seat, empty without a cluster."""
        return seat.host or self.host

    def seat_of(self, identity: str) -> Seat:
        """Return the seat of a front by its identity on the bus."""
        who = who_is(identity)
        return Seat(who.role, who.index, "" if who.host == self.host else who.host)

    def adopt(self, settings: Settings) -> None:
        """Go by other settings."""
        self._within_s = settings.admin.ask_within_s

    def deadline_s(self) -> float:
        """Return until when, in seconds of the loop, whoever asks now is to have all answers."""
        return self._loop.time() + self._within_s

    def follow(self, topology: Topology) -> None:
        """Connect to who is new, and let go of who is gone."""
        present = _processes(topology, self.host)
        for process in self._lines.keys() - present:
            self._lines.pop(process).close()
        self._abroad = _seats_abroad(topology, self.host)
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
        """Return the seat of the worker that owns a user or group, wherever that is."""
        return self.owner_of_range(self._shard_map.owner_of(local))

    def owner_of_range(self, index: int) -> Seat:
        """Return the seat of the worker `index`, wherever that is."""
        here = Seat("worker", index)
        return next((s for s in self._abroad if s.role == "worker" and s.index == index), here)

    async def ask(
        self, seat: Seat, inquiry: Inquiry[Answer], *, deadline_s: float | None = None
    ) -> Answer | Silence:
        """Return the answer of who fills `seat`, or why there is none."""
        by_s = self.deadline_s() if deadline_s is None else deadline_s
        answered = await self.answered(seat, inquiry.name, encode(inquiry), by_s)
        host = self.host_of(seat)
        if answered.code:
            return Silence(seat.role, seat.index, answered.reason, host)
        try:
            found: Answer = msgspec.msgpack.decode(answered.body, type=inquiry.answer)
        except UNREADABLE as error:
            reason = f"its answer is of another version: {error}"
            return Silence(seat.role, seat.index, reason, host)
        return found

    async def answered(self, seat: Seat, name: str, body: bytes, by_s: float) -> Answered:
        """Return what is answered to the inquiry of that name, or by its code why nothing is."""
        if seat.host:
            return await self._others.ask(seat, name, body, by_s)
        process = self.who_is(seat)
        if process is not None:
            return await self._lines[process].ask(name, body, by_s)
        reason = "it is not there; it is being started again"
        if self.host and seat.role == "worker":
            reason = "its range has no owner there just now: ask again"
        return _unanswered(reason)

    async def ask_all(
        self,
        role: str | None,
        inquiry: Inquiry[Answer],
        *,
        deadline_s: float | None = None,
        everywhere: bool = False,
    ) -> tuple[dict[Seat, Answer], list[Silence]]:
        """Return the answers of all of a role, or of everybody; and who gave none.

        They are those of this host, or `everywhere`.
        """
        by_s = self.deadline_s() if deadline_s is None else deadline_s
        seats = [seat for seat in self.seats if role in (None, seat.role)]
        silent: list[Silence] = []
        if everywhere:
            seats = self.everywhere(role)
            silent = [] if role == "worker" else self.unheard()  # others have taken its ranges over

        async def heard_from(seat: Seat) -> Answer | Silence:
            answer = await self.ask(seat, inquiry, deadline_s=by_s)
            return answer  # returned at once, it would be taken for another type

        answers = await asyncio.gather(*map(heard_from, seats))
        heard: dict[Seat, Answer] = {}
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

    async def ask(self, name: str, body: bytes, by_s: float) -> Answered:
        """Return the answer, if there is one in time."""
        left_s = by_s - self._loop.time()
        if left_s <= 0:
            return _unanswered("it was not asked: the time was up")
        self._number += 1
        number = self._number
        expires_ms = clock.clock_ms() + int(left_s * 1000) + 1
        asked = Asked(number, expires_ms, name, msgspec.Raw(body))
        try:
            self._socket.send(encode(asked), zmq.DONTWAIT)
        except zmq.Again:
            return _unanswered("it takes no questions")
        self._read_soon()
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            async with asyncio.timeout_at(by_s):
                answered = await waiting
        except TimeoutError:
            return _unanswered("it did not answer in time")
        finally:
            del self._waiting[number]
        return _unanswered("it has ended") if answered is None else answered

    def _read_soon(self) -> None:
        # The descriptor is edge-triggered, and sending may have consumed the edge.
        if has_input(self._socket):
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        while not self._socket.closed and has_input(self._socket):
            try:
                answered = decode_answered(self._socket.recv(zmq.DONTWAIT))
            except UNREADABLE as error:
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


def _seats_abroad(topology: Topology, host: str) -> frozenset[Seat]:
    """Return who serves on the other hosts."""
    owners = (Seat("worker", w.index, w.host) for w in topology.workers if w.host != host)
    fronts = (Seat("front", f.index, f.host) for f in map(who_is, topology.fronts))
    return frozenset((*owners, *(front for front in fronts if front.host != host)))


def _unanswered(reason: str) -> Answered:
    return Answered(0, code=FAILED, reason=reason)
