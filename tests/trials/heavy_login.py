"""Logins on a mailbox with very many receipts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from tests.outside.frames import compact
from tests.outside.people import users_of_shard

from .attack import Attack
from .people import Person, message_of
from .raw import RawClients
from .stage import Stage, option

LOAD: Final = "logins"
WORKER: Final = 0
GROUP: Final = "970-1500000000@g.us"
PAUSE_S: Final = 0.05  # after a login that was refused
ACKERS_AT_ONCE: Final = 25


@dataclass(frozen=True, kw_only=True)
class HeavyLogin(Attack):
    """Clients log in to a mailbox of 99,000 receipts, read a frame and cut, again and again."""

    name: ClassVar[str] = "heavy-login"
    pairs_shard: ClassVar[int | None] = WORKER

    members: int = option(250, "members of a group, whose acks become the receipts")
    messages: int = option(396, "messages to that group; each member acks each")
    clients: int = option(4, "clients who log in")
    seconds: float = option(8.0, "seconds for which they do")

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The group."""
        return {GROUP: [self._author, *self._members]}

    @property
    def _author(self) -> str:
        return next(users_of_shard(WORKER, workers=self.workers, prefix="97"))

    @property
    def _members(self) -> list[str]:
        return [f"96{number}" for number in range(self.members)]

    async def play(self, stage: Stage) -> None:
        """Fill the author's mailbox; then log in to it."""
        await self._fill(stage)
        await stage.calm()
        logins = 0
        async with self.attack(stage, LOAD) as attackers:
            with stage.progress(LOAD, self.seconds):
                each = [self._log_in_on_and_on(attackers) for _ in range(self.clients)]
                logins = sum(await asyncio.gather(*each))
        stage.findings.figures["logins"] = f"{logins:,} got a first frame of the queue"
        await stage.hear()
        author = await stage.log_in(self._author)
        receipts = self.messages * self.members
        await stage.until(lambda: author.receipts >= receipts, "every receipt")
        findings = await stage.finish()
        findings.claim(
            "no receipt is lost",
            author.receipts == receipts,
            f"{author.receipts:,} of {receipts:,} are in the queue at the end",
        )

    async def _fill(self, stage: Stage) -> None:
        """Have the author write while nobody is there, and everybody ack while he is gone."""
        author = await stage.log_in(self._author)
        ids = [f"HEAVY-{number}" for number in range(self.messages)]
        for message_id in ids:
            author.send(GROUP, message_id, message_of(1))
        author.flush()
        await stage.until(lambda: not author.unanswered, "the acks of the group's messages")
        assert author.stored == set(ids), f"not all is stored: {author.answers}"
        stage.leave(author)
        members = self._members
        with stage.progress(f"{self.messages * self.members:,} receipts", self.members) as done:
            for first in range(0, self.members, ACKERS_AT_ONCE):
                await self._ack(stage, author, ids, members[first : first + ACKERS_AT_ONCE])
                done(first)

    async def _ack(self, stage: Stage, author: Person, ids: list[str], members: list[str]) -> None:
        people = await stage.log_in_all(members, acks=False)
        await stage.until(
            lambda: all(len(person.got) == len(ids) for person in people), "the group's messages"
        )
        for person in people:
            person.write(group_ack(ids, author=author.user, by=person.user))
            person.is_in.clear()
            person.ask_again()
        for person in people:
            await person.is_in.wait()  # so the acks before it were taken
            stage.leave(person)

    async def _log_in_on_and_on(self, attackers: RawClients) -> int:
        """Return how often it got in."""
        began, logins = time.monotonic(), 0
        try:
            async with asyncio.timeout(self.seconds):
                while time.monotonic() - began < self.seconds:
                    client = await attackers.connect(self._author)
                    got_in = client.is_ready
                    logins += got_in
                    attackers.leave(client)
                    await asyncio.sleep(0 if got_in else PAUSE_S)
        except TimeoutError:
            pass
        return logins


def group_ack(ids: list[str], *, author: str, by: str) -> bytes:
    """Return what a member sends to say that it got these messages."""
    return compact(
        [
            "MsgInfo",
            {
                "from": f"{author}@c.us",
                "ack": 2,
                "cmd": "acks",
                "to": GROUP,
                "participant": f"{by}@c.us",
                "id": ids,
            },
        ]
    )
