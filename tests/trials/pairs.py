"""Pairs of users who chat at a steady rate and time it, in a process of their own.

`python -m tests.trials.pairs URL` reads the names of phases from stdin, a line each, and at its end
prints what it saw. Apart from the load, because what keeps that busy must not count as latency. A
message counts from the time at which it was due, and to the phase in which that was. One that was
due under load and never came, be it that its author was cut off, counts as waited for to the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections import Counter
from types import TracebackType
from typing import Final, Self

import msgspec
import uvloop

from relay.loadgen.report.histogram import Histogram, Summary
from relay.loadgen.traffic.timer import Timer
from tests.outside.people import users_of_shard
from tests.outside.processes import REPOSITORY

from .people import Person, log_in, message_of

MESSAGE: Final = message_of(100)
CALM: Final = "calm"
LOADED: Final = "loaded"  # a phase of load; a trial with several of them names each itself
REST: Final = "rest"  # the phase that nobody asks about
SETTLE_S: Final = 20.0
START_S: Final = 30.0


class Phase(msgspec.Struct, frozen=True):
    """The latencies of the messages that were due in one phase."""

    ack: Summary  # to the ack 1 that the author gets
    delivery: Summary  # to the arrival at the reader


class Told(msgspec.Struct, frozen=True):
    """What the pairs saw."""

    phases: dict[str, Phase]
    sent: int
    answers: dict[str, int]
    closes: dict[str, int]
    lost: int  # acked, but never delivered
    unanswered: int


class _Chat:
    """All pairs; the authors send in turns."""

    def __init__(self, pairs: list[tuple[Person, Person]], every_ms: float) -> None:
        self._turns = itertools.cycle(pairs)
        self._people = [person for pair in pairs for person in pair]
        self._every_ns = int(every_ms * 1_000_000)
        self._phase = REST
        self._due: dict[str, tuple[str, int]] = {}  # message id: phase, when it was due
        self._micros: dict[str, tuple[list[int], list[int]]] = {}
        self._sent = 0
        for person in self._people:
            person.on_stored = self._stored
            person.on_got = self._got
        self._timer = Timer(self._send_due)
        self._next_ns = time.monotonic_ns()
        self._timer.at(self._next_ns)

    def enter(self, phase: str) -> None:
        """Count what is due from now on to `phase`."""
        self._phase = phase
        self._micros.setdefault(phase, ([], []))

    def _send_due(self) -> None:
        now_ns = time.monotonic_ns()
        while self._next_ns <= now_ns:
            author, reader = next(self._turns)
            self._sent += 1
            message_id = f"PAIR-{self._sent}"
            self._due[message_id] = self._phase, self._next_ns
            if author.is_open:
                author.send(reader.user, message_id, MESSAGE)
                author.flush()
            self._next_ns += self._every_ns
        self._timer.at(self._next_ns)

    def _stored(self, message_id: str, _: int) -> None:
        self._note(message_id, 0)

    def _got(self, message_id: str) -> None:
        self._note(message_id, 1)

    def _note(self, message_id: str, which: int) -> None:
        phase, due_ns = self._due.get(message_id, (REST, 0))
        if phase != REST:
            self._micros[phase][which].append((time.monotonic_ns() - due_ns) // 1000)

    async def end(self) -> Told:
        """Send no more, wait for what is under way, and tell."""
        self._timer.close()
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline and self._is_awaited():
            await asyncio.sleep(0.05)
        self._note_what_never_came()
        answers: Counter[str] = Counter()
        closes: Counter[str] = Counter()
        for person in self._people:
            answers.update(person.answers)
            if person.close_code is not None:
                closes[str(person.close_code)] += 1
        phases = {name: Phase(*map(_summary, both)) for name, both in self._micros.items()}
        return Told(
            phases, self._sent, dict(answers), dict(closes), self._missing(), self._unanswered()
        )

    def _is_awaited(self) -> bool:
        is_any_open = any(person.is_open for person in self._people)
        return is_any_open and bool(self._unanswered() or self._missing())

    def _note_what_never_came(self) -> None:
        """A lower bound; or those who were harmed most would not count at all."""
        stored: set[str] = set().union(*(person.stored for person in self._people))
        got: set[str] = set().union(*(person.got for person in self._people))
        for message_id, (phase, _) in self._due.items():
            if phase != CALM:
                for which, came in enumerate((stored, got)):
                    if message_id not in came:
                        self._note(message_id, which)

    def _unanswered(self) -> int:
        return sum(len(person.unanswered) for person in self._people)

    def _missing(self) -> int:
        stored = set().union(*(person.stored for person in self._people))
        return len(stored.difference(*(person.got for person in self._people)))


def _summary(micros: list[int]) -> Summary:
    histogram = Histogram()
    histogram.record(micros)
    return histogram.summary()


def users(pairs: int, *, shard: int | None, workers: int) -> list[tuple[str, str]]:
    """Return authors and readers; all at one worker, or each pair at the next one."""
    prefix = "93"
    lists = [
        users_of_shard(index, workers=workers, prefix=prefix)
        for index in (range(workers) if shard is None else [shard])
    ]
    return [(next(each), next(each)) for each, _ in zip(itertools.cycle(lists), range(pairs))]


async def _serve(url: str, given: argparse.Namespace) -> None:
    names = users(given.pairs, shard=given.shard, workers=given.workers)
    pairs = [(await log_in(url, author), await log_in(url, reader)) for author, reader in names]
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    chat = _Chat(pairs, given.every_ms)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while line := await orders.readline():
        chat.enter(line.decode().strip())
    told = await chat.end()
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")


def main(argv: list[str]) -> None:
    """Chat until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.trials.pairs")
    parser.add_argument("url")
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--every-ms", type=float, required=True)
    parser.add_argument("--shard", type=int)
    parser.add_argument("--workers", type=int, required=True)
    given = parser.parse_args(argv)
    uvloop.run(_serve(given.url, given))


class Pairs:
    """The process, seen from the trial that started it; as a context manager it is ended."""

    def __init__(
        self, url: str, *, pairs: int, every_ms: float, shard: int | None, workers: int
    ) -> None:
        command = [sys.executable, "-m", "tests.trials.pairs", url]
        command += [f"--pairs={pairs}", f"--every-ms={every_ms}", f"--workers={workers}"]
        command += [] if shard is None else [f"--shard={shard}"]
        self._process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # not in the load's, whose priority is low
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    async def started(self) -> None:
        """Return when they chat."""
        line = await asyncio.wait_for(asyncio.to_thread(self._read_line), START_S)
        assert line == b"ready\n", f"the pairs did not start: {line!r}"

    def _read_line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def enter(self, phase: str) -> None:
        """Let a phase begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(phase.encode() + b"\n")
        self._process.stdin.flush()

    async def end(self) -> Told:
        """Let them finish; return what they saw."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        line = await asyncio.wait_for(asyncio.to_thread(self._read_line), SETTLE_S + START_S)
        return msgspec.json.decode(line, type=Told)


if __name__ == "__main__":
    main(sys.argv[1:])
