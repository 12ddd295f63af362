"""A worker that is killed again and again."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.outside.people import users_of_shard

from .people import Person, message_of, numbered
from .stage import NO_QUOTAS, Stage, Trial, option

STEP_S: Final = 0.01
VICTIM: Final = 0
FILL_WINDOW: Final = 500


@dataclass(frozen=True, kw_only=True)
class Recovery(Trial):
    """Everybody is a user of the worker that is killed; some of them send all the time."""

    name: ClassVar[str] = "recovery"
    is_steady: ClassVar[bool] = False
    is_deadly: ClassVar[bool] = True

    workers: int = option(1, "worker processes; the first is killed, and has all sessions")
    pairs: int = option(0, "pairs of other users; they are users of the killed worker too")
    sessions: int = option(10_000, "sessions that stay open")
    queued: int = option(100_000, "un-acked messages in their mailboxes")
    kills: int = option(10, "SIGKILLs")
    pause_s: float = option(11.0, "seconds between two; from 10 on each restart is a first one")
    probes: int = option(16, "sessions that send every ten milliseconds, all the time")
    memory_mib: float = option(64.0, "MiB that each process may take beyond what it has before")
    median_s: float = option(1.0, "to the next ack 1, at the median")
    worst_s: float = option(3.0, "to the next ack 1, at worst")

    @property
    def config(self) -> str:
        """No quota: one author fills all the mailboxes."""
        return NO_QUOTAS

    async def play(self, stage: Stage) -> None:
        """Fill the mailboxes, kill, and see that everything is still there."""
        names = users_of_shard(VICTIM, workers=self.workers, prefix="94")
        people: list[Person] = []
        with stage.progress(f"{self.sessions:,} logins", self.sessions) as done:
            while len(people) < self.sessions:
                users = list(itertools.islice(names, min(500, self.sessions - len(people))))
                people += await stage.log_in_all(users, acks=False)
                done(len(people))
        senders = await stage.log_in_all(itertools.islice(names, self.probes))
        readers = await stage.log_in_all(itertools.islice(names, self.probes))
        await self._fill(stage, senders[0], people)
        await stage.calm()
        waits: list[float] = []
        async with stage.loaded():
            probing = asyncio.create_task(_probe(senders, readers))
            try:
                with stage.progress(f"{self.kills} kills", self.kills) as done:
                    for number in range(self.kills):
                        waits += await self._kill(stage, senders)
                        done(number + 1)
                        await asyncio.sleep(self.pause_s if number + 1 < self.kills else 0)
            finally:
                probing.cancel()
            await stage.until(lambda: not any(s.unanswered for s in senders), "every answer")
        stage.count(senders)
        stored: set[str] = set().union(*(sender.stored for sender in senders[1:]))
        await stage.until(
            lambda: stored <= set().union(*(reader.got for reader in readers)), "every delivery"
        )
        lost = await self._ask_again(stage, people)
        twice = sum(count > 1 for reader in readers for count in reader.got.values())
        findings = await stage.finish()
        waits.sort()
        median_s, worst_s = statistics.median(waits), waits[-1]
        findings.figures["ack 1"] = (
            f"after SIGKILL, {len(waits)} waits ({self.kills} kills, {self.probes} senders): median"
            f" {median_s:.3f} s  p90 {waits[int(0.9 * len(waits))]:.3f} s  worst {worst_s:.3f} s"
        )
        findings.claim(
            "the next ack 1 comes soon",
            median_s <= self.median_s and worst_s <= self.worst_s,
            f"median {median_s:.3f} s of {self.median_s:g}, worst {worst_s:.3f} s of"
            f" {self.worst_s:g}, {self.sessions:,} sessions, {self.queued:,} queued",
        )
        findings.claim(
            "sockets stay open", not findings.closes, f"closes {dict(findings.closes) or 0}"
        )
        findings.claim(
            "nothing acked is lost",
            not lost and not twice and findings.answers.keys() == {"ack 1"},
            f"{len(stored):,} acked while it was killed and all delivered, {twice} twice;"
            f" of {self.queued:,} queued {lost:,} missing",
        )

    async def _fill(self, stage: Stage, sender: Person, people: list[Person]) -> None:
        """Send everyone as many; nobody acks, so all of it stays."""
        ids, message = numbered("QUEUED"), message_of(100)
        with stage.progress(f"{self.queued:,} messages", self.queued) as done:
            for number in range(self.queued):
                sender.send(people[number % len(people)].user, next(ids), message)
                if number % FILL_WINDOW == 0:
                    sender.flush()
                    await stage.until(lambda: len(sender.unanswered) < FILL_WINDOW, "the answers")
                    done(number)
            sender.flush()
            await stage.until(lambda: not sender.unanswered, "the answers")
            await stage.until(
                lambda: sum(person.got.total() for person in people) == self.queued,
                "the deliveries",
            )

    async def _kill(self, stage: Stage, senders: list[Person]) -> list[float]:
        """Kill the worker; return how long each sender waited for the ack of something new."""
        waits: dict[str, float] = {}

        def watch(sender: Person) -> None:
            def stored(_: str, sent_ns: int) -> None:
                if sent_ns > killed_ns:
                    waits.setdefault(sender.user, (time.monotonic_ns() - killed_ns) / 1e9)

            sender.on_stored = stored

        worker = stage.relay.children("worker")[VICTIM].process
        killed_ns = time.monotonic_ns()
        worker.kill()
        for sender in senders:
            watch(sender)
        await stage.until(lambda: len(waits) == len(senders), "an ack 1 for every sender")
        return list(waits.values())

    async def _ask_again(self, stage: Stage, people: list[Person]) -> int:
        """Have everyone ask for the queue; return how many messages are not in it."""
        before = [person.got.copy() for person in people]
        for start in range(0, len(people), FILL_WINDOW):
            for person in people[start : start + FILL_WINDOW]:
                person.is_in.clear()
                person.ask_again()
            for person in people[start : start + FILL_WINDOW]:
                await asyncio.wait_for(person.is_in.wait(), self.limit_s)
        return sum(
            1
            for person, first in zip(people, before, strict=True)
            for message_id in first
            if person.got[message_id] == first[message_id]
        )


async def _probe(senders: list[Person], readers: list[Person]) -> None:
    """Have every sender send all the time, whatever is answered."""
    ids, message = numbered("PROBE"), message_of(100)
    while True:
        for sender, reader in zip(senders, readers, strict=True):
            sender.send(reader.user, next(ids), message)
            sender.flush()
        await asyncio.sleep(STEP_S)
