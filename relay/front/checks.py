"""Logins that are being checked, and those that a list or a file no longer lets stand."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Coroutine, Mapping
from contextlib import suppress
from threading import Thread
from typing import Any, Protocol

from relay import clock, log
from relay.auth.contract import Authenticator, Credentials, Denied, Granted, Peer, Verdict
from relay.front.session import Session


class Client(Protocol):
    """A connection, as far as its login goes."""

    session: Session

    def take(self) -> None:
        """Do what the session wants done, after something was fed to it."""

    def fail(self) -> None:
        """End after a fault, inside an except block."""

    def log_out(self) -> None:
        """End the session, whose login is no longer good."""


class Checks:
    """Those of one front; `clients` are its connections by the number of their session."""

    def __init__(
        self,
        authenticator: Authenticator | None,
        clients: Mapping[int, Client],
        loop: asyncio.AbstractEventLoop,
        banned: Container[str] = frozenset(),
        *,
        rest_ms: int | None = 0,
    ) -> None:
        """Check by `authenticator`; None: nobody checks logins in this mode.

        `banned` are those whose logins it checks in mode "open" too. Between two looks at what has
        changed `look` lets so much time pass; None: it never looks.
        """
        self.banned = banned
        self._rest_ms = rest_ms
        self._due_ms = 0
        self._authenticator = authenticator
        self._clients = clients
        self._loop = loop
        self._is_reading = False
        self._read_again = False  # what has changed meanwhile may have been looked at before
        self._under_way: set[asyncio.Task[None]] = set()  # the loop alone would not keep them

    def begin(self, session: Session, credentials: Credentials, peer: Peer) -> None:
        """Have a session hear whether it may log in, now or in a while."""
        assert self._authenticator is not None, "nobody checks logins in this mode"
        verdict = self._authenticator.check(credentials, peer, now_s=clock.now_ms() / 1000)
        if isinstance(verdict, Granted | Denied):
            session.judged(verdict, now_ms=clock.now_ms())
        else:
            task = self._loop.create_task(self._judge_later(session, verdict))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _judge_later(self, session: Session, check: Coroutine[Any, Any, Verdict]) -> None:
        """Wait for a verdict; a fault in finding it ends this connection and no other (I7)."""
        try:
            verdict = await check
            client = self._clients.get(session.number)
            if client is not None:
                session.judged(verdict, now_ms=clock.now_ms())
                client.take()
        except Exception:
            client = self._clients.get(session.number)
            if client is not None:
                client.fail()
            else:
                log.get_logger().exception("connection.failed", session=session.number)

    def take_keys(self, content: bytes) -> None:
        """Have logins checked by another set of keys, which was fetched."""
        if self._authenticator is not None:
            self._authenticator.take_keys(content)

    def look(self, clock_ms: int) -> None:
        """Do what `refresh` does, if that is due; call it at signs of life."""
        if self._rest_ms is not None and clock_ms >= self._due_ms:
            self._due_ms = clock_ms + self._rest_ms
            self.refresh()

    def refresh(self, *, at_once: bool = False) -> None:
        """Read keys and lists again that have changed; end sessions of who is let in no more.

        In a thread, and no two at a time: where a disk hangs, that thread hangs with it, and what
        was read before goes on to count. Who knows of a change, and asks `at_once`, is heard also
        where the thread may have looked before that change.
        """
        if self._is_reading:
            self._read_again |= at_once
        elif self._authenticator is not None:
            self._is_reading = True
            # A daemon: an executor's would keep the process from ending.
            Thread(target=self._read, args=(self._authenticator,), daemon=True).start()

    def _read(self, authenticator: Authenticator) -> None:
        changed = False
        try:
            changed = authenticator.refresh()
        except Exception:  # a bug of ours; what was read before counts
            log.get_logger().exception("auth.not_refreshed")
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._has_read, authenticator, changed)

    def _has_read(self, authenticator: Authenticator, changed: bool) -> None:
        self._is_reading = False
        if self._read_again:
            self._read_again = False
            self.refresh()
        if not changed:
            return
        for client in list(self._clients.values()):
            # One who was let in just before has yet to hear it from its worker.
            user, granted = client.session.login.claim
            if user and not authenticator.holds(user, granted):
                try:
                    client.log_out()
                except Exception:
                    client.fail()

    async def end(self) -> None:
        """Give up what is being checked, at the end."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._authenticator is not None:
            await self._authenticator.close()
