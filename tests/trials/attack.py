"""What all attacks have in common: a few hostile clients, and others who must not feel them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.outside.people import users_of_shard

from .memory import MIB
from .people import message_of
from .raw import PAUSE_S, RawClients, Tally
from .report import Bound, Findings, counts_of
from .stage import Stage, Trial, option

KIB: Final = 1024
SETTLED_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Attack(Trial):
    """A trial whose load is an attack."""

    is_steady: ClassVar[bool] = False
    # It takes a tenth of a core; on a busy machine it would get less, and the relay an easy time.
    is_nice: ClassVar[bool] = False

    calm_s: float = option(5.0, "seconds of each calm phase, before the load and after it")
    latency_ratio: float = option(3.0, "times by which the others' p50 may grow")
    p99_ratio: float = option(5.0, "times by which the others' p99 may grow")
    p99_ms: float = option(25.0, "ms to which the others' p99 may grow in any case")
    limit_s: float = option(150.0, "seconds that the whole trial may take")
    addresses: int = option(1, "addresses that the attack comes from; the others have another")

    @property
    def bounds(self) -> Sequence[Bound]:
        """How long the others may wait; below `p99_ms` nobody sees it."""
        return [
            Bound("p50", self.latency_ratio),
            Bound("p99", self.p99_ratio, self.p99_ms),
        ]

    @asynccontextmanager
    async def attack(self, stage: Stage, load: str) -> AsyncIterator[RawClients]:
        """What its clients do in here is a load; what became of it goes into the findings.

        The load lasts until they are gone and what the relay had still to do for them is done.
        Where that takes too long a claim has failed: no further load can be told from this one.
        """
        async with stage.loaded(load):
            async with RawClients(stage.relay.url, addresses=self.addresses) as clients:
                yield clients
            await self._settle(stage, load)
        _note(stage.findings, load, clients.tally)

    async def _settle(self, stage: Stage, load: str) -> None:
        """Wait until a message to a user of each worker goes through again."""
        began, trouble = time.monotonic(), "no answer"
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_S):
                while trouble:
                    try:
                        await self._probe(stage, load)
                        trouble = ""
                    except OSError as error:  # nobody listens, or the front is being renewed
                        trouble = str(error)
                        await asyncio.sleep(PAUSE_S)
        stage.findings.claim(
            f"the relay has caught up soon ({load})",
            not trouble,
            f"{trouble or 'a message went through'} {time.monotonic() - began:.2f} s after the end"
            f" of the attack, of at most {SETTLED_S:g}",
        )

    async def _probe(self, stage: Stage, load: str) -> None:
        prober = await stage.log_in("98", acks=False)
        for worker in range(self.workers):
            user = next(users_of_shard(worker, workers=self.workers, prefix="981"))
            prober.send(user, f"AFTER-{load}-{worker}", message_of(1))
        prober.flush()
        while prober.unanswered:
            if prober.close_code is not None:
                raise ConnectionError(f"closed with {prober.close_code}")
            await asyncio.sleep(PAUSE_S)
        stage.leave(prober)


def _note(findings: Findings, load: str, tally: Tally) -> None:
    findings.sent += tally.frames
    findings.answers += tally.answers
    findings.closes += tally.closes
    findings.figures[load] = (
        f"{tally.connections:,} connections sent {tally.frames:,} frames,"
        f" {tally.sent_bytes / MIB:.1f} MiB, and got {tally.received_bytes / MIB:.1f} MiB:"
        f" {counts_of(tally.answers)}; closed {counts_of(tally.closes)}"
    )


def claim_memory(findings: Findings, connections: int, kib: float) -> None:
    """Claim that each of these connections cost the fronts little, and that it was given back."""
    fronts = [use for seat, use in findings.memory.items() if seat.startswith("front")]
    grew = sum(use.growth for use in fronts)
    kept = sum(use.after - use.before for use in fronts)
    findings.claim(
        "a connection takes a few KiB until it has logged in",
        grew <= connections * kib * KIB,
        f"{grew / connections / KIB:.1f} of at most {kib:g} KiB, {connections:,} connections",
    )
    findings.claim(
        "their memory is given back",
        kept <= connections * kib * KIB / 2,
        f"{kept / connections / KIB:.1f} KiB of each are left, of at most {kib / 2:g}",
    )
