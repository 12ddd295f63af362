"""A recipient that stops reading while messages keep coming for it."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.outside.people import users_of_shard

from .people import Person, message_of, numbered
from .stage import NO_QUOTAS, Stage, Trial, option

STEP_S: Final = 0.01
TINY_BUFFER_BYTES: Final = 4096


@dataclass(frozen=True, kw_only=True)
class SlowReader(Trial):
    """One recipient stops reading; several senders go on writing to it, at a steady pace."""

    name: ClassVar[str] = "slow-reader"

    messages: int = option(1_000_000, "messages for the reader")
    rate: float = option(5000.0, "messages a second, of all senders together")
    senders: int = option(10, "users who write to the reader")
    message_bytes: int = option(100, "of each message's text")
    max_entries: int = option(10_000, "mailbox.max_entries of the relay")
    write_blocked_s: float = option(30.0, "flow.write_blocked_s of the relay")

    @property
    def config(self) -> str:
        """The mailbox's limit and the reader's patience."""
        return (
            f"[mailbox]\nmax_entries = {self.max_entries}\n"
            f"[flow]\nwrite_blocked_s = {self.write_blocked_s}\n{NO_QUOTAS}"
        )

    async def play(self, stage: Stage) -> None:
        """Overload the mailbox; then have its owner come back for what is in it."""
        user = next(users_of_shard(0, workers=self.workers, prefix="94"))
        reader = await stage.log_in(user, receive_buffer_bytes=TINY_BUFFER_BYTES)
        senders = await stage.log_in_all(f"95{number}" for number in range(self.senders))
        await stage.calm()
        reader.stop_reading()
        async with stage.loaded():
            await self._write(stage, senders, reader)
        stage.count(senders)

        reader.read_on()
        if self.messages / self.rate > self.write_blocked_s:
            await stage.until(lambda: reader.close_code is not None, "the slow reader's close")
        stored: set[str] = set().union(*(sender.stored for sender in senders))
        returned = await stage.log_in(user)
        await stage.drain(returned, senders[0])
        missing = stored - reader.got.keys() - returned.got.keys()
        findings = await stage.finish()
        evicted = findings.counters["entries_evicted"]
        findings.figures["mailbox"] = (
            f"stored {len(stored):,}  read before it stopped or from the kernel "
            f"{reader.got.total():,}  in q {returned.got.total():,}  evicted {evicted:,}"
        )
        findings.claim(
            "what is refused is refused with 507",
            findings.answers.keys() <= {"ack 1", "507"} and not any(s.unanswered for s in senders),
            f"{findings.sent:,} sent, each answered with ack 1 or 507",
        )
        findings.claim(
            "nothing acked is lost but what a full mailbox evicts",
            len(missing) <= evicted,
            f"{len(stored):,} acked, {len(missing):,} neither read nor in q; {evicted:,} were"
            " evicted",
        )

    async def _write(self, stage: Stage, senders: list[Person], reader: Person) -> None:
        """Send at the rate, behind which a slow machine may fall."""
        turns = itertools.cycle(senders)
        ids, message = numbered("SLOW"), message_of(self.message_bytes)
        sent, began = 0, time.monotonic()
        most_unanswered = max(1.0, self.rate / 4)
        with stage.progress(f"{self.messages:,} messages", self.messages) as done:
            while sent < self.messages:
                due = min(self.messages, int((time.monotonic() - began) * self.rate) + 1)
                room = most_unanswered - sum(len(sender.unanswered) for sender in senders)
                for _ in range(min(due - sent, int(room))):
                    next(turns).send(reader.user, next(ids), message)
                    sent += 1
                for sender in senders:
                    sender.flush()
                done(sent)
                await asyncio.sleep(STEP_S)
            await stage.until(lambda: not any(s.unanswered for s in senders), "every answer")
        stage.findings.figures["pace"] = f"{sent / (time.monotonic() - began):,.0f} sends/s"
