"""Mailboxes at their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from .people import Person, message_of, numbered
from .stage import NO_QUOTAS, Stage, Trial, option

PING_S = 0.2


@dataclass(frozen=True, kw_only=True)
class FullMailbox(Trial):
    """One who is absent, one who never acks, and one whose messages are large."""

    name: ClassVar[str] = "full-mailbox"
    is_steady: ClassVar[bool] = False

    max_entries: int = option(10_000, "mailbox.max_entries of the relay")
    max_mib: int = option(64, "mailbox.max_bytes of the relay, in MiB")
    large_bytes: int = option(60_000, "of the text of a large message")
    window: int = option(50, "sends without an answer at a time")

    @property
    def config(self) -> str:
        """The limits, with which one author may fill a mailbox, no quota, and frequent pings."""
        return (
            f"[mailbox]\nmax_entries = {self.max_entries}\nmax_bytes = {self.max_mib * 2**20}\n"
            f"author_share = 1.0\n[keepalive]\nping_interval_s = {PING_S}\n{NO_QUOTAS}"
        )

    async def play(self, stage: Stage) -> None:
        """Send each twice what fits; then have each log in and compare."""
        [sender] = await stage.log_in_all(["95"])
        absent, hoarder, large = "941", "942", "943"
        [hoarding] = await stage.log_in_all([hoarder], acks=False)
        await stage.calm()
        twice = 2 * self.max_entries
        fits = self.max_mib * 2**20 // self.large_bytes
        async with stage.loaded():
            acked_absent = await self._fill(stage, sender, absent, twice, 100)
            acked_hoarder = await self._fill(
                stage, sender, hoarder, self.max_entries, 100, lambda: len(hoarding.got)
            )
            await hoarding.confirm(ping_s=PING_S)
            acked_hoarder += await self._fill(stage, sender, hoarder, self.max_entries, 100)
            await stage.until(lambda: len(hoarding.got) >= len(acked_hoarder), "what was sent live")
            acked_large = await self._fill(stage, sender, large, 2 * fits, self.large_bytes)
        stage.count([sender])
        findings = stage.findings
        findings.claim(
            "a full mailbox of which nothing was read refuses with 507",
            len(acked_absent) == self.max_entries
            and len(acked_large) <= fits
            and findings.answers.keys() == {"ack 1", "507"},
            f"absent: {len(acked_absent):,} of {twice:,} taken (limit {self.max_entries:,});"
            f" large: {len(acked_large):,} of {2 * fits:,} (limit {self.max_mib} MiB)",
        )
        findings.claim(
            "a full mailbox of which something was read evicts the oldest",
            len(acked_hoarder) == twice,
            f"who never acks: {len(acked_hoarder):,} of {twice:,} taken",
        )
        # Whoever never acked has read it all; its mailbox keeps the newest.
        missing_live = set(acked_hoarder) - hoarding.got.keys()
        stage.leave(hoarding)
        kept = await self._queue_of(stage, hoarder, self.max_entries)
        got = {
            user: await self._queue_of(stage, user, len(acked))
            for user, acked in ((absent, acked_absent), (large, acked_large))
        }
        findings = await stage.finish()
        findings.claim(
            "nothing acked is lost",
            got[absent] == acked_absent
            and got[large] == acked_large
            and not missing_live
            and kept == acked_hoarder[-self.max_entries :],
            f"in q, in order: {len(got[absent]):,} and {len(got[large]):,};"
            f" who never acks got all live and finds the newest {len(kept):,}",
        )
        evicted = findings.counters["entries_evicted"]
        findings.claim(
            "what is evicted is counted", evicted == twice - self.max_entries, f"{evicted:,}"
        )

    async def _fill(
        self,
        stage: Stage,
        sender: Person,
        user: str,
        count: int,
        size: int,
        taken: Callable[[], int] | None = None,
    ) -> list[str]:
        """Send `count` messages; return the ids that were acked, in order.

        `taken` tells how many a reader has got, which the sending then does not outrun.
        """
        ids = numbered(f"FULL-{user}-{len(sender.stored)}")
        message = message_of(size)
        acked: list[str] = []
        sender.on_stored = lambda message_id, _: acked.append(message_id)
        with stage.progress(f"{count:,} messages for {user}", count) as done:
            for number in range(count):
                sender.send(user, next(ids), message)
                if number % self.window == self.window - 1 or number == count - 1:
                    sender.flush()
                    await stage.until(lambda: not sender.unanswered, "the answers")
                    if taken is not None:
                        await stage.until(lambda: taken() >= len(acked), "what was sent live")
                    done(number)
        return acked

    async def _queue_of(self, stage: Stage, user: str, count: int) -> list[str]:
        person = await stage.log_in(user, acks=False)
        await stage.until(lambda: len(person.got) >= count, f"the queue of {user}")
        return list(person.got)
