"""All that can happen to one range of a cluster, in a few records: hosts, the log, what is sent.

The code that decides is the real one; around it is the least that could be true. Whatever was ever
published may arrive at any time later, any number of times, or never. The log stores it if the
number is the next one. An ack comes at any time after that, or never; a leader's answer may be as
old as it likes. Any standby may claim the range at any time, whoever owns it, and any process may
stop between two steps for ever, or start again.

`World.actions` gives every next world. A test walks all of them, or some at random, and asks each
world what is `wrong` with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from relay.cluster import trimming
from relay.errors import Fenced, LogLostData
from workers.log import claim as claims
from workers.log import reader as readers
from workers.log import writer as writers
from workers.log.claim import Beaten, CatchUp, Claim, ClaimStep, Won
from workers.log.reader import LogReader
from workers.log.record import Claimed, Kind, decode
from workers.log.writer import NOTHING, Ask, Publish, Step, Writer, look_at

Machine = TypeVar("Machine", Writer, Claim, LogReader)
MOST_IN_FLIGHT = 2
HOSTS = "abc"


def stop_clocks(monkeypatch: Any) -> None:
    """Have everything due at once, so that time is no part of a world, and a log be short."""
    for module in (writers, claims):
        monkeypatch.setattr(module, "PATIENCE_S", 0.0)
        monkeypatch.setattr(module, "PAUSE_S", 0.0)
        monkeypatch.setattr(module, "ASK_AGAIN_S", 0.0)
    monkeypatch.setattr(readers, "MOST_IN_FLIGHT", MOST_IN_FLIGHT)
    monkeypatch.setattr(trimming, "KEPT_S", 0.0)
    monkeypatch.setattr(trimming, "KEPT_RECORDS", MOST_IN_FLIGHT)


class Sabotage(NamedTuple):
    """What may be broken, to show that it would be found."""

    effects_up_to: Callable[[Writer], int] = lambda writer: writer.committed
    reader: type[LogReader] = LogReader
    writer: type[Writer] = Writer
    claim: type[Claim] = Claim
    acks_what_is_not_stored: bool = False
    stores_at_any_number: bool = False
    trims_up_to: Callable[[list[int | None]], list[int | None]] = lambda applied: applied


class Bounds(NamedTuple):
    """How much may happen."""

    claims: int = 1
    restarts: int = 0
    records: int = 6
    in_flight: int = 1
    messages: tuple[str, ...] = ("m1", "m2")
    trims: int = 0
    old_answers: int = 0
    steps: int = 1000


class Host:
    """One process: what it has applied, and what it is. It never changes: a step makes another."""

    def __init__(self, name: str, life: int, reader: LogReader, store: tuple[str, ...]) -> None:
        self.name = name
        self.life = life
        self.reader = reader
        self.store = store  # the messages that its shard has stored, in order
        self.claim: Claim | None = None
        self.writer: Writer | None = None
        self.pending: tuple[str, ...] = ()  # messages of the writer's window
        self.asks: Ask | None = None
        self.is_dead = False
        self._key: object = None

    @property
    def claimed(self) -> Claimed:
        return Claimed(self.name, 1, f"{self.name}{self.life}", "tcp://")

    @property
    def number(self) -> int:
        """The last record of its store."""
        if self.writer is None:
            return self.reader.number
        return self.writer.last_number - len(self.pending)

    def copy(self) -> Host:
        other = Host(self.name, self.life, copied(self.reader), self.store)
        other.pending, other.asks, other.is_dead = self.pending, self.asks, self.is_dead
        if self.claim is not None:
            other.claim = copied(self.claim)
            other.claim._reader = other.reader
        if self.writer is not None:
            other.writer = copied(self.writer)
        return other

    @property
    def key(self) -> object:
        """What is the same in hosts that will behave the same."""
        if self._key is None:
            parts = (self.reader, self.claim, self.writer)
            machines = tuple(frozen(part) if part is not None else None for part in parts)
            kept = (self.name, self.life, self.store, self.pending, self.asks, self.is_dead)
            self._key = (*kept, *machines)
        return self._key


# What a step changes in place, by name; all else in a machine is replaced.
IN_PLACE: dict[type, tuple[str, ...]] = {
    Writer: ("_window", "_acked"),
    Claim: (),
    LogReader: ("_windows",),
}


def in_place(machine: object) -> tuple[str, ...]:
    return next(names for kind, names in IN_PLACE.items() if isinstance(machine, kind))


def copied(machine: Machine) -> Machine:
    other = object.__new__(type(machine))
    other.__dict__.update(machine.__dict__)
    for name in in_place(machine):
        other.__dict__[name] = machine.__dict__[name].copy()
    return other


def frozen(machine: object) -> tuple[object, ...]:
    values = machine.__dict__.copy()
    values.pop("_reader", None)
    values.pop("voids", None)
    for name in in_place(machine):
        value = values[name]
        values[name] = frozenset(value) if isinstance(value, set) else tuple(value)
    return tuple(values.values())


class World(NamedTuple):
    """One moment of everything."""

    log: tuple[bytes, ...]  # the first record is number 1
    first: int  # of the records that were not trimmed
    sent: frozenset[tuple[int, bytes]]
    hosts: tuple[Host, ...]
    acked: frozenset[str]  # messages whose authors know that they are stored
    won: tuple[tuple[int, str], ...]  # epochs, and the process that says it has it
    claims: int = 0
    restarts: int = 0
    trims: int = 0
    old_answers: int = 0
    begun: int = 0  # messages that anybody was sent
    wrong: str = ""

    @property
    def key(self) -> object:
        rest = (self.log, self.first, self.sent, self.acked, self.won)
        return (*rest, *self[6:], *(host.key for host in self.hosts))


class Model:
    """The rules of worlds, within bounds, perhaps with a sabotage."""

    def __init__(self, bounds: Bounds, sabotage: Sabotage | None = None) -> None:
        self.bounds = bounds
        self.sabotage = sabotage or Sabotage()

    def begin(self) -> World:
        """Return the world in which host a has just won the range, and nobody else knows."""
        hosts = tuple(Host(name, 0, self.sabotage.reader(0), ()) for name in HOSTS)
        world = World((), 1, frozenset(), hosts, frozenset(), ())
        # With a sound log the first action is always one that goes on, and host a the first to act.
        model = Model(self.bounds, self.sabotage._replace(stores_at_any_number=False))
        while world.hosts[0].writer is None:
            world = next(next_ for _, next_ in model.actions(world))
        return world._replace(claims=0)

    # ------------------------------------------------------------------------------------ actions

    def actions(self, world: World) -> Iterator[tuple[str, World]]:
        """Yield whatever may happen next, by a name, and the world behind it."""
        yield from self._stored(world)
        for index, host in enumerate(world.hosts):
            if host.is_dead:
                continue
            for name, next_ in self._steps(world, index, host):
                yield f"{name} {host.name}", next_
        if self.bounds.trims > world.trims:
            yield from self._trimmed(world)

    def _stored(self, world: World) -> Iterator[tuple[str, World]]:
        if len(world.log) >= self.bounds.records:
            return
        for expected, data in sorted(world.sent):
            if expected == len(world.log) or self.sabotage.stores_at_any_number:
                log = (*world.log, data)
                sent = world.sent
                if not self.sabotage.stores_at_any_number:
                    # The others for that number can never be stored.
                    sent = frozenset(each for each in sent if each[0] >= len(log))
                next_ = world._replace(log=log, sent=sent)
                yield f"store {expected + 1}!", self._checked(next_)

    def _steps(self, world: World, index: int, host: Host) -> Iterator[tuple[str, World]]:
        if host.asks is not None:
            yield from self._answers(world, index, host)
        if host.writer is not None:
            yield from self._owner_steps(world, index, host, host.writer)
        elif host.claim is not None:
            if host.reader.number < len(world.log):
                yield "read", self._read(world, index)
            yield from self._claim_steps(world, index, host, host.claim)
        else:
            yield from self._standby_steps(world, index, host)
        if world.restarts < self.bounds.restarts and (host.writer or host.claim):
            next_ = world._replace(restarts=world.restarts + 1)
            yield "restart", self._restarted(next_, index)

    def _answers(self, world: World, index: int, host: Host) -> Iterator[tuple[str, World]]:
        assert host.asks is not None
        if host.asks.number:
            yield "answer", self._told(world, index, host.asks.number)
            return
        yield "answer", self._told(world, index, len(world.log))
        if world.old_answers < self.bounds.old_answers:
            world = world._replace(old_answers=world.old_answers + 1)
            for number in range(max(0, world.first - 1), len(world.log)):
                yield f"old answer {number}", self._told(world, index, number)

    def _told(self, world: World, index: int, number: int) -> World:
        host = world.hosts[index].copy()
        host.asks = None
        if host.claim is not None:
            return self._claimed(world, index, host, host.claim.found(number, 0.0))
        is_there = world.first <= number <= len(world.log)
        found = look_at(number, world.log[number - 1]) if is_there else NOTHING
        return self._wrote(world, index, host, lambda writer: writer.found(found, 0.0))

    # ------------------------------------------------------------------------------------ standbys

    def _standby_steps(self, world: World, index: int, host: Host) -> Iterator[tuple[str, World]]:
        may_claim = world.claims < self.bounds.claims
        if self.bounds.trims:
            if host.reader.number < len(world.log):
                yield "read", self._read(world, index)
            if may_claim:
                yield "claim", self._begin_claim(world, index)
        elif may_claim:
            # Where nothing is trimmed it does not matter when a standby reads, but how far it is
            # when it claims.
            yield "claim", self._begin_claim(world, index)
            for number in range(host.reader.number + 1, len(world.log) + 1):
                world = self._read(world, index)
                yield f"read up to {number} and claim", self._begin_claim(world, index)

    def _read(self, world: World, index: int) -> World:
        host = world.hosts[index].copy()
        number = host.reader.number + 1
        if number < world.first:
            return world._replace(wrong=f"C5: record {number} is trimmed, and {host.name} lacks it")
        payload = host.reader.take(number, world.log[number - 1])
        if payload:
            host.store = (*host.store, payload.decode())
        steps = host.claim.followed(0.0) if host.claim else []
        return self._claimed(world, index, host, steps)

    def _begin_claim(self, world: World, index: int) -> World:
        host = world.hosts[index].copy()
        in_flight = self.bounds.in_flight
        host.claim = self.sabotage.claim(host.reader, host.claimed, in_flight=in_flight)
        next_ = world._replace(claims=world.claims + 1)
        return self._claimed(next_, index, host, host.claim.begin(0.0))

    def _claim_steps(
        self, world: World, index: int, host: Host, claim: Claim
    ) -> Iterator[tuple[str, World]]:
        if host.asks is None and claim.wakes_s is not None:
            other = host.copy()
            assert other.claim is not None
            yield "wake", self._claimed(world, index, other, other.claim.woken(0.0))
        if claim._published is None:
            return
        number = claim._published + 1
        if world.log[number - 1 : number] == (claim._data,):
            other = host.copy()
            assert other.claim is not None
            yield "ack", self._claimed(world, index, other, other.claim.acked(number, 0.0))
        other = host.copy()
        assert other.claim is not None
        yield "refuse", self._claimed(world, index, other, other.claim.refused(number, 0.0))

    def _claimed(self, world: World, index: int, host: Host, steps: list[ClaimStep]) -> World:
        """Return the world behind what a claim wants, or a standby has read."""
        for step in steps:
            match step:
                case Publish(expected, data):
                    world = world._replace(sent=world.sent | {(expected, data)})
                case Ask():
                    host.asks = step
                case CatchUp():
                    pass  # it reads anyway
                case Beaten():
                    host.claim = host.asks = None
                case Won(epoch, data):
                    host.claim = host.asks = None
                    host.writer = self.sabotage.writer(epoch, data, in_flight=self.bounds.in_flight)
                    who = f"{host.name}{host.life}"
                    world = world._replace(won=(*world.won, (epoch, who)))
        return self._checked(with_host(world, index, host))

    # -------------------------------------------------------------------------------------- owners

    def _owner_steps(
        self, world: World, index: int, host: Host, writer: Writer
    ) -> Iterator[tuple[str, World]]:
        # Messages differ by nothing but their names: so none is sent before those named before it.
        # One that an owner has is acked again, which is right as long as its store is (C3).
        for begun, message in enumerate(self.bounds.messages[: world.begun + 1], start=1):
            if message not in (*host.store, *host.pending) and writer.has_room:
                next_ = world._replace(begun=max(world.begun, begun))
                yield f"send {message} to", self._append(next_, index, message)
        for number in range(writer.committed + 1, writer.last_number + 1):
            data = writer._window[number - writer.committed - 1].data
            is_stored = world.log[number - 1 : number] == (data,)
            if number in writer._acked:
                continue
            if is_stored or self.sabotage.acks_what_is_not_stored:
                yield f"ack {number} of", self._acked(world, index, number)
        if writer.wakes_s is not None:
            yield "wake", self._wrote(world, index, host.copy(), lambda w: w.woken(0.0))
        if host.asks is None and writer.wakes_s is None:
            yield "suspect", self._wrote(world, index, host.copy(), lambda w: w.suspect(0.0))

    def _append(self, world: World, index: int, message: str) -> World:
        host = world.hosts[index].copy()
        host.pending = (*host.pending, message)
        return self._wrote(world, index, host, lambda w: w.append(message.encode(), 0.0))

    def _acked(self, world: World, index: int, number: int) -> World:
        return self._wrote(world, index, world.hosts[index].copy(), lambda w: w.acked(number, 0.0))

    def _wrote(
        self, world: World, index: int, host: Host, act: Callable[[Writer], list[Step]]
    ) -> World:
        """Return the world behind what happens to an owner."""
        writer = host.writer
        assert writer is not None
        try:
            steps = act(writer)
        except Fenced:
            return self._restarted(world, index)
        except LogLostData as error:
            host.is_dead = True
            if self.sabotage == Sabotage():
                return world._replace(wrong=f"a false alarm: {error}")
            return with_host(world, index, host)
        for step in steps:
            match step:
                case Publish(expected, data):
                    world = world._replace(sent=world.sent | {(expected, data)})
                case Ask():
                    host.asks = step
        if writer._asked is None:
            host.asks = None
        done = len(host.pending) - (
            writer.last_number - min(writer.last_number, self.sabotage.effects_up_to(writer))
        )
        if done > 0:
            acked = world.acked | set(host.pending[:done])
            host.store = (*host.store, *host.pending[:done])
            host.pending = host.pending[done:]
            world = world._replace(acked=acked)
        return self._checked(with_host(world, index, host))

    def _restarted(self, world: World, index: int) -> World:
        """Return the world in which a process has died, and its next life has its store."""
        old = world.hosts[index]
        reader = self.sabotage.reader(old.number)
        for number in range(max(reader.first, world.first), min(old.number, len(world.log)) + 1):
            reader.learn(number, world.log[number - 1])
        return self._checked(
            with_host(world, index, Host(old.name, old.life + 1, reader, old.store))
        )

    def _trimmed(self, world: World) -> Iterator[tuple[str, World]]:
        for host in world.hosts:
            if host.writer is None:
                continue
            trim = trimming.Trimming()
            trim.note(len(world.log), 0.0)
            applied = [other.number for other in world.hosts]
            up_to = trim.up_to(self.sabotage.trims_up_to([*applied]), 0.0, copied=None)
            if up_to >= world.first:
                next_ = world._replace(first=up_to + 1, trims=world.trims + 1)
                yield f"trim up to {up_to} by {host.name}", self._checked(next_)

    # ------------------------------------------------------------------------------------- checks

    def _checked(self, world: World) -> World:
        if world.wrong:
            return world
        return world._replace(wrong=wrong_with(world))


def with_host(world: World, index: int, host: Host) -> World:
    return world._replace(hosts=(*world.hosts[:index], host, *world.hosts[index + 1 :]))


@lru_cache(maxsize=4096)
def meaning(log: tuple[bytes, ...]) -> list[tuple[int, str]]:
    """Return what a log says, by the simplest reading: what is written in an epoch that holds."""
    said = []
    epoch = 0
    for number, data in enumerate(log, start=1):
        record = decode(data)
        if record.kind is Kind.EPOCH:
            epoch = number
        elif record.epoch == epoch:
            said.append((number, record.body.decode()))
    return said


@lru_cache(maxsize=4096)
def void(log: tuple[bytes, ...]) -> list[tuple[int, int]]:
    """Return the records that are behind another's epoch, and in which they were written."""
    records = [(number, decode(data)) for number, data in enumerate(log, start=1)]
    epochs = [number for number, record in records if record.kind is Kind.EPOCH]
    return [
        (number, record.epoch)
        for number, record in records
        if record.kind is not Kind.EPOCH and any(record.epoch < at < number for at in epochs)
    ]


def wrong_with(world: World) -> str:
    """Return which invariant does not hold; empty: all do."""
    said = meaning(world.log)
    messages = [message for _, message in said]
    if len(messages) != len(set(messages)):
        return f"a message is there twice: {messages}"
    if lost := world.acked.difference(messages):
        return f"C1: {sorted(lost)} acked, and not in the log"
    if len({epoch for epoch, _ in world.won}) != len(world.won):
        return f"C6: an epoch has two owners: {world.won}"
    won = [epoch for epoch, _ in world.won]
    for number, written in void(world.log):
        if any(written < epoch < number for epoch in won):
            return f"C2: record {number} of epoch {written} is behind an epoch of {won}"
    for host in world.hosts:
        applied = [message for number, message in said if number <= host.number]
        if list(host.store) != applied and not host.is_dead:
            return f"C3: {host.name} has {host.store}, and the log {applied} up to {host.number}"
        if host.writer is not None and host.reader.number < host.writer.epoch:
            return f"C7: {host.name} owns since {host.writer.epoch}, had up to {host.reader.number}"
    return ""
