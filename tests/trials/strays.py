"""Acks of messages that somebody never sent, and what that somebody gets of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.outside.people import users_of_shard

from .acks import IDS, ack
from .attack import Attack
from .memory import MIB
from .raw import RawClients, chunk_of
from .stage import Stage, option

LOAD: Final = "acks for a victim"
WORKER: Final = 0


@dataclass(frozen=True, kw_only=True)
class Strays(Attack):
    """One client acks messages that its victim never sent."""

    name: ClassVar[str] = "strays"
    pairs_shard: ClassVar[int | None] = WORKER

    mib: float = option(1.1, "MiB of acks, 1,000 short ids a frame")
    seconds: float = option(
        8.0, "seconds over which they are spread; all at once, most are dropped"
    )
    amplification: float = option(1.0, "bytes that the victim may get for each that was sent")

    async def play(self, stage: Stage) -> None:
        """Send them all, and see what the victim gets."""
        users = users_of_shard(WORKER, workers=self.workers, prefix="9170698528")
        acker, victim = next(users), next(users)
        chunk = chunk_of(ack([str(number) for number in range(IDS)], acker, victim))
        frames = int(self.mib * MIB / len(chunk.data))
        async with RawClients(stage.relay.url) as victims:
            reader = await victims.connect(victim)
            assert reader.is_ready, "the victim could not log in"
            await stage.calm()
            async with self.attack(stage, LOAD) as attackers:
                with stage.progress(LOAD, self.seconds):
                    await attackers.press(
                        itertools.repeat(chunk, frames),
                        user=acker,
                        seconds=3 * self.seconds,
                        every_s=self.seconds / frames,
                    )
            findings = await stage.finish()
            sent, got = attackers.tally.sent_bytes, victims.tally
            findings.figures["victim"] = (
                f"{got.answers['receipt']:,} receipts, {got.received_bytes / MIB:.1f} MiB,"
                f" for {sent / MIB:.1f} MiB sent"
            )
            findings.claim(
                "the victim gets no more than was sent",
                got.received_bytes <= self.amplification * sent,
                f"{got.received_bytes / max(sent, 1):.2f} times, of at most {self.amplification:g}",
            )
