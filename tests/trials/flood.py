"""A sender as fast as its socket takes it."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import ClassVar, Final

from .people import message_of, numbered
from .stage import NO_QUOTAS, Stage, Trial, option

BURST: Final = 100  # sends between two looks at the socket


@dataclass(frozen=True, kw_only=True)
class Flood(Trial):
    """One sender writes to many as fast as the relay takes it."""

    name: ClassVar[str] = "flood"

    seconds: float = option(60.0, "length of the flood")
    targets: int = option(100, "users who are written to in turns")
    online: int = option(10, "of them online, reading and acking")
    message_bytes: int = option(100, "of each message's text")
    frames_per_s: float = option(
        0.0, "limits.frames_per_s of the relay; 0: no limit, as by default"
    )

    @property
    def config(self) -> str:
        """The rate limit."""
        return f"[limits]\nframes_per_s = {self.frames_per_s}\n{NO_QUOTAS}"

    async def play(self, stage: Stage) -> None:
        """Flood; then have every target read what it is owed."""
        users = [f"96{number}" for number in range(self.targets)]
        readers = await stage.log_in_all(users[: self.online])
        [flooder] = await stage.log_in_all(["97"])
        await stage.calm()
        ids, message = numbered("FLOOD"), message_of(self.message_bytes)
        targets = itertools.cycle(users)
        began = time.monotonic()
        async with stage.loaded():
            with stage.progress("flood", self.seconds) as done:
                while (passed := time.monotonic() - began) < self.seconds:
                    for _ in range(BURST):
                        flooder.send(next(targets), next(ids), message)
                    await flooder.room()
                    await asyncio.sleep(0)
                    done(passed)
            await stage.until(lambda: not flooder.unanswered, "every answer")
        took_s = time.monotonic() - began
        stage.count([flooder])
        stage.findings.figures["pace"] = f"{stage.findings.sent / took_s:,.0f} sends/s"

        [asker] = await stage.log_in_all(["98"])
        # They do not ack: hundreds of thousands of receipts at once are another trial.
        readers += await stage.log_in_all(users[self.online :], acks=False)
        await asyncio.gather(*(stage.drain(reader, asker) for reader in readers))
        got = set().union(*(reader.got for reader in readers))
        missing = flooder.stored - got
        twice = sum(count > 1 for reader in readers for count in reader.got.values())
        findings = await stage.finish()
        findings.claim(
            "every send is answered",
            not flooder.unanswered
            and findings.answers.keys() <= {"ack 1", "507", "429"}
            and flooder.close_code in (None, 1006),
            f"{findings.sent:,} sent, with ack 1, 507 or 429",
        )
        evicted = findings.counters["entries_evicted"]
        findings.claim(
            "nothing acked is lost but what a full mailbox evicts",
            len(missing) <= evicted and not twice,
            f"{len(flooder.stored):,} acked, {len(missing):,} neither delivered nor in q,"
            f" {evicted:,} evicted, {twice:,} delivered twice",
        )
