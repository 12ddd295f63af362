"""Small frames that are answered with many errors."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import ClassVar, Final

from .attack import Attack
from .raw import chunk_of
from .stage import Stage, option

LOAD: Final = "refused elements"
FEW: Final = 8  # errors of one frame


@dataclass(frozen=True, kw_only=True)
class Refusals(Attack):
    """Clients send frames of nothing but refused elements, as fast as their sockets take them."""

    name: ClassVar[str] = "refusals"

    clients: int = option(5, "clients")
    elements: int = option(256, "refused elements of a frame")
    seconds: float = option(8.0, "seconds for which they do; whoever is cut off comes back")

    async def play(self, stage: Stage) -> None:
        """Send."""
        await stage.calm()
        chunk = chunk_of(b'["action",{"add":"relay"},[' + b",".join([b"1"] * self.elements) + b"]]")
        async with self.attack(stage, LOAD) as attackers:
            with stage.progress(LOAD, self.seconds):
                await asyncio.gather(
                    *(
                        attackers.press(
                            itertools.repeat(chunk), user=f"97{number}", seconds=self.seconds
                        )
                        for number in range(self.clients)
                    )
                )
        findings = await stage.finish()
        answered = findings.answers["400"]
        findings.claim(
            "a frame is answered with a few errors",
            answered <= FEW * findings.sent,
            f"{answered:,} for {findings.sent:,} frames",
        )
