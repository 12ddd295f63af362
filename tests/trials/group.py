"""A large group of which some do not read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from .people import Person, message_of, numbered
from .stage import Stage, Trial, option

TINY_BUFFER_BYTES: Final = 4096
GROUP: Final = "990-1500000000@g.us"


@dataclass(frozen=True, kw_only=True)
class Group(Trial):
    """One member writes to a group; most read and ack, some have stopped reading."""

    name: ClassVar[str] = "group"

    members: int = option(1000, "members of the group")
    slow: int = option(100, "of them do not read")
    messages: int = option(200, "messages to the group")
    rate: float = option(3.0, "messages a second")
    message_bytes: int = option(6000, "of each message's text")

    @property
    def config(self) -> str:
        """Room for all members."""
        return f"[limits]\ngroup_members = {self.members}\n"

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The group."""
        return {GROUP: self._users}

    @property
    def _users(self) -> list[str]:
        return [f"99{number}" for number in range(self.members)]

    async def play(self, stage: Stage) -> None:
        """Write to the group; then have the slow ones read on, or come back."""
        users = self._users
        author, *readers = await stage.log_in_all(users[: -self.slow])
        slow = [
            await stage.log_in(user, receive_buffer_bytes=TINY_BUFFER_BYTES)
            for user in users[-self.slow :]
        ]
        await stage.calm()
        for person in slow:
            person.stop_reading()
        ids, message = numbered("GROUP"), message_of(self.message_bytes)
        began = time.monotonic()
        async with stage.loaded():
            with stage.progress(f"{self.messages:,} messages", self.messages) as done:
                for number in range(self.messages):
                    await asyncio.sleep(max(0.0, began + number / self.rate - time.monotonic()))
                    author.send(GROUP, next(ids), message)
                    author.flush()
                    done(number)
                await stage.until(lambda: not author.unanswered, "every answer")
                stored = frozenset(author.stored)
                await stage.until(
                    lambda: all(reader.got.keys() >= stored for reader in readers),
                    "the arrival at all who read",
                )
        took_s = time.monotonic() - began
        stage.count([author])
        deliveries = sum(reader.got.total() for reader in readers)
        stage.findings.figures["pace"] = f"{deliveries / took_s:,.0f} deliveries/s"

        behind = [len(person.got) for person in slow]
        stage.findings.figures["slow"] = (
            f"{self.slow} readers had taken {min(behind)} to {max(behind)} of {len(stored)}"
        )
        for person in slow:
            person.read_on()
        missing = sum(
            await asyncio.gather(*(self._missing(stage, person, author) for person in slow))
        )
        findings = await stage.finish()
        findings.claim(
            "every send is answered",
            findings.answers.keys() == {"ack 1"} and len(stored) == self.messages,
            f"{findings.sent:,} sent, {len(stored):,} acked",
        )
        findings.claim(
            "nothing acked is lost",
            missing == 0 and not findings.counters["group_copies_skipped"],
            f"{len(stored):,} acked for {self.members - 1:,} members, {missing:,} missing at the"
            f" slow ones",
        )
        closed = findings.counters["slow_readers_closed"]
        cut = findings.counters["dead_connections_cut"]
        findings.claim(
            "who reads stays connected",
            stage.closed <= set(slow) and closed + cut == len(stage.closed),
            f"of {self.slow} slow readers {closed} were closed as such (1013; 1006 for who does not"
            f" read even that), {cut} cut because they answered no ping; nobody else was",
        )

    async def _missing(self, stage: Stage, person: Person, author: Person) -> int:
        """Have a slow one read all, after a new login if need be; return how much it never gets."""
        stored = frozenset(author.stored)
        await stage.until(
            lambda: person.close_code is not None or person.got.keys() >= stored,
            "a slow reader's messages or close",
        )
        got = set(person.got)
        if person.close_code is not None:
            returned = await stage.log_in(person.user)
            await stage.drain(returned, author)
            got |= returned.got.keys()
        return len(stored - got)
