"""A worker that stands still for a while."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.outside.people import users_of_shard

from .people import message_of, numbered
from .stage import Stage, Trial, option

STEP_S: Final = 0.01
STOPPED: Final = 0
OTHER: Final = 1


@dataclass(frozen=True, kw_only=True)
class StoppedWorker(Trial):
    """A worker gets SIGSTOP and, before the supervisor takes it for hung, SIGCONT."""

    name: ClassVar[str] = "stopped-worker"
    is_steady: ClassVar[bool] = False
    pairs_shard: ClassVar[int | None] = OTHER

    stop_s: float = option(10.0, "seconds that the worker is stopped")
    senders: int = option(20, "users of that worker who go on writing")
    rate: float = option(400.0, "messages a second, of all senders together")
    message_bytes: int = option(2500, "of each message's text")

    async def play(self, stage: Stage) -> None:
        """Stop the worker under its writing users, and let it go on."""
        users = users_of_shard(STOPPED, workers=self.workers, prefix="94")
        names = list(itertools.islice(users, 2 * self.senders))
        senders = await stage.log_in_all(names[: self.senders])
        readers = await stage.log_in_all(names[self.senders :])
        await stage.calm()
        waits: list[float] = []
        for sender in senders:
            sender.on_stored = lambda _, sent_ns: waits.append(
                (time.monotonic_ns() - sent_ns) / 1e9
            )
        worker = stage.relay.children("worker")[STOPPED].process
        chats = itertools.cycle(zip(senders, readers, strict=True))
        ids, message = numbered("STOPPED"), message_of(self.message_bytes)
        async with stage.loaded():
            worker.suspend()
            try:
                began, sent = time.monotonic(), 0
                with stage.progress("the worker is stopped", self.stop_s) as done:
                    while (passed := time.monotonic() - began) < self.stop_s:
                        while sent < passed * self.rate:
                            sender, reader = next(chats)
                            sender.send(reader.user, next(ids), message)
                            sender.flush()
                            sent += 1
                        done(passed)
                        await asyncio.sleep(STEP_S)
                acked_meanwhile = sum(len(sender.stored) for sender in senders)
            finally:
                worker.resume()
            resumed = time.monotonic()
            await stage.until(lambda: not any(s.unanswered for s in senders), "every answer")
            caught_up_s = time.monotonic() - resumed
        stage.count(senders)
        stored: set[str] = set().union(*(sender.stored for sender in senders))
        await stage.until(
            lambda: stored <= set().union(*(reader.got for reader in readers)), "every delivery"
        )
        still_there = stage.relay.children("worker")[STOPPED].process.pid == worker.pid
        findings = await stage.finish()
        findings.figures["ack 1"] = (
            f"the longest wait {max(waits, default=0.0):.2f} s of {self.stop_s:g} s stopped;"
            f" all answered {caught_up_s:.2f} s after SIGCONT"
        )
        findings.claim(
            "the worker's users wait and lose nothing",
            findings.answers == {"ack 1": sent} and acked_meanwhile == 0,
            f"{sent:,} sent meanwhile, {findings.answers['ack 1']:,} acked, all delivered",
        )
        findings.claim(
            "nobody is disconnected and nothing restarted",
            not findings.closes and still_there,
            f"closes {dict(findings.closes) or 0}",
        )
