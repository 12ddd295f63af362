"""Handshakes that never end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from .attack import Attack, claim_memory
from .raw import HEADERS_BEGIN
from .stage import Stage, option

LOAD: Final = "unfinished headers"
VALUE_BYTES: Final = 8100  # of each header; the longest line that servers take is of 8 KiB


@dataclass(frozen=True, kw_only=True)
class Headers(Attack):
    """Connections send as many and as long headers as there may be, and never the last."""

    name: ClassVar[str] = "headers"

    connections: int = option(1500, "connections")
    headers: int = option(127, "headers of 8.1 kB on each of them, and no end")
    within_s: float = option(20.0, "seconds that this may take")
    kib: float = option(16.0, "KiB of a front's memory that each of them may take")

    async def play(self, stage: Stage) -> None:
        """Send, and stay."""
        await stage.calm()
        lines = (b"X-%03d: %b\r\n" % (n, b"x" * VALUE_BYTES) for n in range(self.headers))
        opening = HEADERS_BEGIN + b"".join(lines)
        async with self.attack(stage, LOAD) as attackers:
            with stage.progress(LOAD, self.within_s):
                await attackers.hold(self.connections, opening, within_s=self.within_s)
        findings = await stage.finish()
        claim_memory(findings, self.connections, self.kib)
