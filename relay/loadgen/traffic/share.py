"""One process's part of a run: its users, their visits, and what they have in common."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import Final

from relay.loadgen.traffic.dialler import Dialler
from relay.loadgen.traffic.plan import Plan, sessions_of
from relay.loadgen.traffic.signer import Signer
from relay.loadgen.traffic.socketwire import Target
from relay.loadgen.traffic.texts import Texts
from relay.loadgen.traffic.trouble import Trouble, shown
from relay.loadgen.traffic.visit import Traffic, Visit
from relay.loadgen.verify.ledger import Ledger
from relay.loadgen.verify.streams import Stream
from relay.loadgen.verify.tally import LOGIN_TIME, Tally

_STREAMS_A_SHARE: Final = 1 << 18  # 64 processes share the six digits of an id


class Share:
    """Visits, ledger and tally of one process; `traffic` is set by whoever makes it."""

    traffic: Traffic

    def __init__(
        self,
        plan: Plan,
        target: Target,
        *,
        run: str,
        index: int,
        rich_texts: bool = False,
        tokens: dict[str, str] | None = None,
        token_key: bytes = b"",
        trouble: Trouble | None = None,
    ) -> None:
        self.plan = plan
        self.random = Random(plan.seed * 1_000_003 + index)  # noqa: S311 - reproducible
        self.tally = Tally()
        self.ledger = Ledger(run, self.tally, first_stream=index * _STREAMS_A_SHARE)
        self.visits: dict[str, Visit] = {}  # those logged in, by user
        self.trouble = trouble or Trouble()
        self.is_measuring = False
        self.is_over = False
        self._dialler = Dialler(
            target,
            self.tally,
            self.trouble,
            self.random,
            index=index,
            sessions=sessions_of(plan.scenario),
        )
        self._texts = Texts(seed=plan.seed, size=plan.size, rich=rich_texts)
        self._tokens = tokens or {}
        self._signer = Signer(token_key) if token_key else None
        self._coming: set[str] = set()  # users whose login is under way
        self._time_s = int(time.time())  # of messages; a tick brings it up to date

    def tick(self) -> None:
        """Bring the clock that messages carry up to date; about once a second."""
        self._time_s = int(time.time())

    def token_of(self, user: str) -> str:
        """Return what the user proves its identity with, if anything."""
        token = self._tokens.get(user, "")
        return self._signer.token_of(user) if self._signer and not token else token

    # -- messages ---------------------------------------------------------------------------------

    def post(self, stream: Stream, intended_ns: int) -> bool:
        """Send the stream's next message, if its author is there."""
        visit = self.visits.get(stream.author.user)
        if visit is None:
            return False
        sent = self.ledger.send(
            stream,
            self._texts.message,
            time_s=self._time_s,
            intended_ns=intended_ns,
            is_measured=self.is_measuring,
        )
        visit.send(sent)
        return True

    # -- connections ------------------------------------------------------------------------------

    def connect(self, user: str, *, intended_ns: int | None = None) -> None:
        """Begin to log `user` in, unless it is in or coming; try again until it works."""
        if self.is_over or user in self.visits or user in self._coming:
            return
        self._coming.add(user)
        party = self.ledger.party(user)
        host = self._dialler.target.address
        began_ns = time.monotonic_ns() if intended_ns is None else intended_ns
        self._dialler.dial(lambda: Visit(self, party, host=host, intended_ns=began_ns))

    def logged_in(self, visit: Visit, *, began_ns: int, now_ns: int) -> None:
        """Take a visit that has its q: it is open for messages, and sends what was un-acked."""
        user = visit.party.user
        self.visits[user] = visit
        self._coming.discard(user)
        self.tally.counts.logins += 1
        if self.is_measuring:
            self.tally.latencies[LOGIN_TIME].append((now_ns - began_ns) // 1000)
        if visit.party.logins > 1:
            for sent in self.ledger.resend(user):
                visit.send(sent)
            visit.flush()
        self.traffic.logged_in(visit)

    def came_instead(self, visit: Visit, what: str) -> None:
        """Keep the first of what came where a login was expected."""
        self.trouble.came(f"{visit.party.user} {what}")

    def ended(self, visit: Visit, code: int, reason: str) -> None:
        """Let a visit go that the relay ended, and come back."""
        if visit.is_leaving or self.is_over:
            return
        self.forget(visit)
        self.tally.counts.disconnects += 1
        told = f"closed with {code} {shown(reason)}".rstrip()
        self.trouble.latest = told
        if not visit.is_logged_in:
            self.came_instead(visit, f"was {told}")
        loop = asyncio.get_running_loop()
        loop.call_later(self._dialler.pause_s(), self.connect, visit.party.user)

    def forget(self, visit: Visit) -> None:
        """Count a visit as over; from now on its user can log in again."""
        user = visit.party.user
        self._coming.discard(user)
        if self.visits.get(user) is visit:
            del self.visits[user]

    async def leave(self) -> None:
        """Close every connection."""
        self.is_over = True
        self._dialler.close()
        for visit in list(self.visits.values()):
            visit.leave(goodbye=True)
        await asyncio.sleep(0)  # lets the transports write
