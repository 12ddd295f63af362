"""Acks of messages that never were, as fast as the socket takes them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.outside.frames import action, compact, element
from tests.outside.people import users_of_shard

from .attack import Attack
from .raw import Chunk, RawClients, chunk_of
from .report import counts_of
from .stage import Stage, option

WORKER: Final = 0
SAME_ID: Final = 10  # authors of one id
IDS: Final = 1000  # of a frame: as many as it may have
A_WRITE: Final = 50  # single acks
A_SEND: Final = 250  # messages of one action


@dataclass(frozen=True, kw_only=True)
class Acks(Attack):
    """One client acks what it never got: ids by the thousand, one by one, and of ten authors."""

    name: ClassVar[str] = "acks"
    pairs_shard: ClassVar[int | None] = WORKER

    seconds: float = option(5.0, "seconds of each kind")
    kinds: str = option("many,single,shared", "ids 1,000 a frame; one by one; each of ten authors")

    async def play(self, stage: Stage) -> None:
        """Have ten authors use the same ids; then ack."""
        users = users_of_shard(WORKER, workers=self.workers, prefix="97")
        acker, nobody, reader, *authors = itertools.islice(users, 3 + SAME_ID)
        async with RawClients(stage.relay.url) as clients:
            await asyncio.gather(*(self._send_all(clients, author, reader) for author in authors))
            answers = clients.tally.answers
            await stage.until(lambda: answers.total() >= SAME_ID * IDS, "the authors' answers")
        await stage.calm()
        names = [f"{number:03}" for number in range(IDS)]
        unknown = [f"U{name}" for name in names]
        loads = {
            "many": ("1,000 ids a frame", chunk_of(ack(unknown, acker, nobody))),
            "single": (
                f"single ids, {A_WRITE} a write",
                chunk_of(*(ack([name], acker, nobody) for name in unknown[:A_WRITE])),
            ),
            "shared": ("ids of ten authors", chunk_of(ack(names, acker, nobody))),
        }
        for kind in self.kinds.split(","):
            load, chunk = loads[kind]
            async with self.attack(stage, load) as attackers:
                with stage.progress(load, self.seconds):
                    await attackers.press(itertools.repeat(chunk), user=acker, seconds=self.seconds)
            if stage.is_harmed:
                break
        findings = await stage.finish()
        findings.claim(
            "ten authors used the same ids",
            answers == {"ack 1": SAME_ID * IDS},
            f"{counts_of(answers)}, of {SAME_ID * IDS:,} messages",
        )

    async def _send_all(self, clients: RawClients, author: str, reader: str) -> None:
        client = await clients.connect(author)
        for chunk in self._sends(reader):
            client.put(chunk)
            await client.answered()

    def _sends(self, reader: str) -> Iterator[Chunk]:
        for first in range(0, IDS, A_SEND):
            ids = (f"{number:03}" for number in range(first, first + A_SEND))
            yield chunk_of(compact(action(*(element(reader, each) for each in ids))))


def ack(ids: list[str], acker: str, author: str) -> bytes:
    """Return what `acker` sends to say that it got these messages of `author`."""
    body = {"id": ids, "ack": 2, "cmd": "acks", "to": f"{acker}@c.us", "from": f"{author}@c.us"}
    return compact(["Msg", body])
