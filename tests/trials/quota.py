"""One author who writes to users that there are not, until the disk is full."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from .attack import Attack
from .memory import MIB
from .raw import Chunk, chunk_of
from .stage import Stage, option

LARGE: Final = "large messages"
TINY: Final = "tiny messages"
BLOCK_BYTES: Final = 512  # what st_blocks counts


@dataclass(frozen=True, kw_only=True)
class Quota(Attack):
    """One client sends as fast as it can to users who never logged in."""

    name: ClassVar[str] = "quota"

    seconds: float = option(6.0, "seconds of large messages, and as many of tiny ones")
    large_bytes: int = option(62_000, "of the text of a large message")
    a_frame: int = option(4, "large messages of a frame")
    disk_mib: float = option(256.0, "MiB of disk that one author may fill")

    async def play(self, stage: Stage) -> None:
        """Fill the disk, then what remembers ids."""
        await stage.calm()
        data = stage.relay.directory / "data"
        before = disk_bytes(data)
        numbers = itertools.count()
        answers: dict[str, Counter[str]] = {}
        large = b'{"conversation":"' + b"x" * self.large_bytes + b'"}'
        for load, message, count in ((LARGE, large, self.a_frame), (TINY, b'{"a":1}', 256)):
            async with self.attack(stage, load) as attackers:
                with stage.progress(load, self.seconds):
                    await attackers.press(
                        sends(numbers, message, count), user="97", seconds=self.seconds
                    )
            answers[load] = attackers.tally.answers
            if stage.is_harmed:
                break
        filled = disk_bytes(data) - before
        findings = await stage.finish()
        for load, counts in answers.items():
            refused = counts["429"] + counts["507"]
            findings.claim(
                f"one author is refused at some point ({load})",
                refused > 0,
                f"{counts['ack 1']:,} acked, {refused:,} refused in {self.seconds:g} s",
            )
        findings.claim(
            "one author does not fill the disk",
            filled <= self.disk_mib * MIB,
            f"{filled / MIB:.0f} MiB of at most {self.disk_mib:g}",
        )


def sends(numbers: Iterator[int], message: bytes, count: int) -> Iterator[Chunk]:
    """Yield actions of `count` messages, each to somebody else and with an id of its own."""
    element = b'{"key":{"remoteJid":"95%d@s.whatsapp.com","fromMe":true,"id":"QUOTA-%d"},"message":'
    while True:
        elements = (
            element % (number, number) + message + b',"messageTimestamp":"1566970629"}'
            for number in itertools.islice(numbers, count)
        )
        yield chunk_of(b'["action",{"add":"relay"},[' + b",".join(elements) + b"]]")


def disk_bytes(directory: Path) -> int:
    """Return what the files below take on the disk."""
    return sum(
        path.stat().st_blocks * BLOCK_BYTES for path in directory.rglob("*") if path.is_file()
    )
