"""One process's part of a run: its users, their sessions, and what they have in common."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from random import Random
from typing import Final
from urllib.parse import urlsplit

from relay.loadgen import tally as names
from relay.loadgen.frames import Delivered
from relay.loadgen.ledger import Ledger, Sent, Stream
from relay.loadgen.plan import Phase, Plan, sessions_of
from relay.loadgen.session import Session
from relay.loadgen.tally import Tally
from relay.loadgen.texts import Texts
from relay.loadgen.timer import Timer

RECONNECT_S: Final = (0.05, 0.5)
# A source address has some 28,000 ports towards one server. On loopback there are more addresses.
_SESSIONS_AN_ADDRESS: Final = 20_000
_STREAMS_A_SHARE: Final = 1 << 18  # 64 processes share the six digits of an id


class Target:
    """Where to connect to."""

    def __init__(self, url: str, ca_file: str = "") -> None:
        parts = urlsplit(url)
        self.host: Final = parts.hostname or ""
        self.port: Final = parts.port or (443 if parts.scheme == "wss" else 80)
        self.tls: Final = (
            ssl.create_default_context(cafile=ca_file or None) if parts.scheme == "wss" else None
        )
        self.is_loopback: Final = self.host.startswith("127.")


class Traffic:
    """What a scenario does at each event; the base does nothing."""

    def begin(self, phase: Phase) -> None:
        """A phase begins."""

    def is_done(self) -> bool:
        """Whether a phase without a length is over, as far as this process goes."""
        return True

    def logged_in(self, session: Session) -> None:
        """A session has its first q."""

    def stored(self, sent: Sent) -> None:
        """Ack 1 came."""

    def delivered(self, session: Session, element: Delivered, sent: Sent) -> None:
        """A message came for the first time to this recipient, and was acked."""

    def completed(self, sent: Sent) -> None:
        """Ack 1 and all receipts are there."""


class Share:
    """Sessions, ledger and tally of one process; `traffic` is set by whoever makes it."""

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
    ) -> None:
        self.plan = plan
        self.index = index
        self.random = Random(plan.seed * 1_000_003 + index)  # noqa: S311 - reproducible
        self.tally = Tally()
        self.ledger = Ledger(run, self.tally, first_stream=index * _STREAMS_A_SHARE)
        self.sessions: dict[str, Session] = {}  # those logged in, by user
        self.host = f"{target.host}:{target.port}"
        self.is_measuring = False
        self.is_over = False
        self.last_trouble = ""  # the latest reason for which a connection failed or ended
        self._texts = Texts(seed=plan.seed, size=plan.size, rich=rich_texts)
        self._target = target
        self._tokens = tokens or {}
        self._loop = asyncio.get_running_loop()
        self._opened = 0
        self._coming: set[str] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._time_s = int(time.time())  # of messages; a tick brings it up to date

    def tick(self) -> None:
        """Bring the clock that messages carry up to date; about once a second."""
        self._time_s = int(time.time())

    def token_of(self, user: str) -> str:
        """Return what the user proves its identity with, if anything."""
        return self._tokens.get(user, "")

    # -- messages ---------------------------------------------------------------------------------

    def post(self, stream: Stream, intended_ns: int) -> bool:
        """Send the stream's next message, if its author is there."""
        session = self.sessions.get(stream.author.user)
        if session is None:
            return False
        sent = self.ledger.send(
            stream,
            self._texts.message,
            time_s=self._time_s,
            intended_ns=intended_ns,
            is_measured=self.is_measuring,
        )
        session.send(sent)
        return True

    # -- connections ------------------------------------------------------------------------------

    def connect(self, user: str, *, intended_ns: int | None = None) -> None:
        """Begin to log `user` in, unless it is in or coming; try again until it works."""
        if self.is_over or user in self.sessions or user in self._coming:
            return
        self._coming.add(user)
        task = self._loop.create_task(
            self._connect(user, time.monotonic_ns() if intended_ns is None else intended_ns)
        )
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, user: str, began_ns: int) -> None:
        while not self.is_over:
            session = Session(self, self.ledger.party(user), intended_ns=began_ns)
            try:
                await self._loop.create_connection(
                    lambda session=session: session,
                    self._target.host,
                    self._target.port,
                    ssl=self._target.tls,
                    local_addr=self._next_source(),
                )
            except OSError as error:
                self.tally.counts.failed_connects += 1
                self.last_trouble = str(error)
                await asyncio.sleep(self.random.uniform(*RECONNECT_S))
            else:
                return

    def _next_source(self) -> tuple[str, int] | None:
        if not self._target.is_loopback or sessions_of(self.plan.scenario) < _SESSIONS_AN_ADDRESS:
            return None
        self._opened += 1
        return f"127.0.{1 + self.index}.{1 + self._opened // _SESSIONS_AN_ADDRESS}", 0

    def logged_in(self, session: Session, *, began_ns: int, now_ns: int) -> None:
        """Take a session that has its q: it is open for messages, and sends what was un-acked."""
        user = session.party.user
        self.sessions[user] = session
        self._coming.discard(user)
        self.tally.counts.logins += 1
        if self.is_measuring:
            self.tally.latencies[names.LOGIN].append((now_ns - began_ns) // 1000)
        if session.party.logins > 1:
            for sent in self.ledger.resend(user):
                session.send(sent)
            session.flush()
        self.traffic.logged_in(session)

    def session_ended(self, session: Session, code: int, reason: str) -> None:
        """Let a session go that the relay ended, and come back."""
        if session.is_leaving or self.is_over:
            return
        self.forget(session)
        self.tally.counts.disconnects += 1
        self.last_trouble = f"closed with {code} {reason}".rstrip()
        self._loop.call_later(self.random.uniform(*RECONNECT_S), self.connect, session.party.user)

    def forget(self, session: Session) -> None:
        """Count a session as gone; from now on its user can log in again."""
        user = session.party.user
        self._coming.discard(user)
        if self.sessions.get(user) is session:
            del self.sessions[user]

    async def leave(self) -> None:
        """Close every connection."""
        self.is_over = True
        for task in self._connecting:
            task.cancel()
        for session in list(self.sessions.values()):
            session.leave(goodbye=True)
        await asyncio.sleep(0)  # lets the transports write


class Logins:
    """Logs users in: some at once, or one every so often."""

    def __init__(self, share: Share, users: list[str], *, at_once: int, rate: float = 0.0) -> None:
        self._share = share
        self._waiting = deque(users)
        self._at_once = at_once
        self._interval_ns = int(1e9 / rate) if rate else 0
        self._expected = len(users)
        self._done = 0
        self._due_ns = 0
        self._timer: Timer | None = None

    @property
    def are_done(self) -> bool:
        """Whether all have logged in."""
        return self._done >= self._expected

    def begin(self) -> None:
        """Start."""
        if self._interval_ns:
            self._due_ns = time.monotonic_ns()
            self._timer = Timer(self._begin_due)
            self._timer.at(self._due_ns)
            return
        for _ in range(min(self._at_once, len(self._waiting))):
            self._share.connect(self._waiting.popleft())

    def one_is_in(self) -> None:
        """Note a login, the next may begin."""
        self._done += 1
        if self._waiting and not self._interval_ns:
            self._share.connect(self._waiting.popleft())

    def _begin_due(self) -> None:
        now_ns = time.monotonic_ns()
        while self._waiting and self._due_ns <= now_ns:
            self._share.connect(self._waiting.popleft(), intended_ns=self._due_ns)
            self._due_ns += self._interval_ns
        if self._timer is not None:
            if self._waiting:
                self._timer.at(self._due_ns)
            else:
                self._timer.close()
