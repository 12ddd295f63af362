"""A stranger's flood for somebody who has stopped reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.outside.frames import action, compact, element
from tests.outside.people import users_of_shard

from .attack import Attack
from .people import message_of
from .raw import Chunk, chunk_of
from .stage import Stage, option

LOAD: Final = "a stranger's flood"
WORKER: Final = 0
A_SEND: Final = 250
TINY_BUFFER_BYTES: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Evict(Attack):
    """A stranger writes 12,000 tiny messages to one who is connected and reads nothing."""

    name: ClassVar[str] = "evict"
    pairs_shard: ClassVar[int | None] = WORKER

    messages: int = option(12_000, "messages of the stranger")
    friendly: int = option(20, "messages that a friend has sent before, all acked")
    max_entries: int = option(10_000, "mailbox.max_entries of the relay")
    within_s: float = option(20.0, "seconds that the flood may take")

    @property
    def config(self) -> str:
        """The mailbox's limit."""
        return f"[mailbox]\nmax_entries = {self.max_entries}\n"

    async def play(self, stage: Stage) -> None:
        """Flood the mailbox; then have its owner come back for what the friend had sent."""
        users = users_of_shard(WORKER, workers=self.workers, prefix="97")
        victim, friend, stranger = (next(users) for _ in range(3))
        reader = await stage.log_in(victim, receive_buffer_bytes=TINY_BUFFER_BYTES)
        reader.stop_reading()
        bob = await stage.log_in(friend)
        for number in range(self.friendly):
            bob.send(victim, f"FRIEND-{number}", message_of(1))
        bob.flush()
        await stage.until(lambda: not bob.unanswered, "the friend's acks")
        await stage.calm()
        async with self.attack(stage, LOAD) as attackers:
            with stage.progress(LOAD, self.within_s):
                await attackers.press(self._flood(victim), user=stranger, seconds=self.within_s)
            answers = attackers.tally.answers
            await stage.until(lambda: answers.total() >= self.messages, "the stranger's answers")
        await stage.hear()
        stage.leave(reader)
        stored = frozenset(bob.stored)
        returned = await stage.log_in(victim)
        await stage.drain(returned, bob)
        lost = len(stored - returned.got.keys())
        findings = await stage.finish()
        findings.claim(
            "nothing acked of a friend's is lost",
            len(stored) == self.friendly and not lost,
            f"{len(stored)} acked, {lost} of them lost;"
            f" {findings.counters['entries_evicted']:,} entries evicted",
        )

    def _flood(self, victim: str) -> Iterator[Chunk]:
        for first in range(0, self.messages, A_SEND):
            ids = (f"S{n}" for n in range(first, min(first + A_SEND, self.messages)))
            sends = (element(victim, message_id, {"a": 1}) for message_id in ids)
            yield chunk_of(compact(action(*sends)))
