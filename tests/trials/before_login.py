"""What a connection may cost that never logs in: its frames, and half of a frame."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import ClassVar, Final

from .attack import Attack, claim_memory
from .numbers import numbers
from .raw import HANDSHAKE, chunk_of
from .stage import Stage, option

DEAR: Final = "dear frames"
HALF: Final = "half-sent frames"
HEADER: Final = b"\x81\xff" + (262_144).to_bytes(8) + bytes(4)
HALF_BYTES: Final = 262_100


@dataclass(frozen=True, kw_only=True)
class BeforeLogin(Attack):
    """Clients send dear frames, and the better part of a frame, without ever logging in."""

    name: ClassVar[str] = "before-login"

    clients: int = option(4, "clients who send dear frames")
    seconds: float = option(8.0, "seconds for which they do; whoever is cut off comes back")
    halves: int = option(3000, "connections that send 262,100 of 262,144 bytes of a frame")
    within_s: float = option(15.0, "seconds that this may take")
    kib: float = option(16.0, "KiB of a front's memory that each of them may take")

    async def play(self, stage: Stage) -> None:
        """First their time, then their memory."""
        await stage.calm()
        dear = chunk_of(numbers())
        async with self.attack(stage, DEAR) as attackers:
            with stage.progress(DEAR, self.seconds):
                await asyncio.gather(
                    *(
                        attackers.press(itertools.repeat(dear), seconds=self.seconds)
                        for _ in range(self.clients)
                    )
                )
        if not stage.is_harmed:
            await self._hold(stage)
        findings = await stage.finish()
        claim_memory(findings, self.halves, self.kib)

    async def _hold(self, stage: Stage) -> None:
        async with self.attack(stage, HALF) as attackers:
            with stage.progress(HALF, self.within_s):
                await attackers.hold(
                    self.halves, HANDSHAKE, HEADER + bytes(HALF_BYTES), within_s=self.within_s
                )
