"""Logins that are being checked, and those that a list or a file no longer lets stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Coroutine, Mapping
from typing import Any, Final, Protocol

from relay import clock, log
from relay.auth.contract import Authenticator, Credentials, Denied, Granted, Peer, Verdict
from relay.front.lookout import Lookout
from relay.front.session import Session

# Sessions that are looked at before others have a turn of the loop: some 5 ms of them.
AT_ONCE: Final = 500


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
        self._lookout: Lookout | None = None
        if authenticator is not None:
            look, changed = authenticator.refresh, self._have_changed
            self._lookout = Lookout(loop, look, changed, fault="auth.not_refreshed")
        # By the number of their session, which has one at a time; the loop would not keep them.
        self._under_way: dict[int, asyncio.Task[None]] = {}

    def begin(self, session: Session, credentials: Credentials, peer: Peer) -> None:
        """Have a session hear whether it may log in, now or in a while."""
        assert self._authenticator is not None, "nobody checks logins in this mode"
        verdict = self._authenticator.check(credentials, peer, now_s=clock.now_ms() / 1000)
        if isinstance(verdict, Granted | Denied):
            session.judged(verdict, now_ms=clock.now_ms())
        else:
            task = self._loop.create_task(self._judge_later(session, verdict))
            self._under_way[session.number] = task
            task.add_done_callback(lambda _: self._has_ended(session.number, task))

    def _has_ended(self, number: int, task: asyncio.Task[None]) -> None:
        if self._under_way.get(number) is task:
            del self._under_way[number]

    def give_up(self, number: int) -> None:
        """Check no more who has gone: others wait for its place."""
        task = self._under_way.pop(number, None)
        if task is not None:
            task.cancel()

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

    def refresh(self, *, at_once: bool = False, then: Callable[[], None] | None = None) -> None:
        """Read keys and lists again that have changed; end sessions of who is let in no more.

        Beside the loop; `at_once`: somebody knows of a change, and hears by `then` that it counts
        (see `Lookout.look`).
        """
        if self._lookout is not None:
            self._lookout.look(at_once=at_once, then=then)
        elif then is not None:
            then()

    def _have_changed(self) -> None:
        self._look_through([*self._clients])

    def _look_through(self, numbers: list[int]) -> None:
        """End those sessions, of so many, that are let in no more; the last of them first.

        Who came later was checked by what counts now.
        """
        authenticator = self._authenticator
        assert authenticator is not None, "its files have changed"
        for number in numbers[-AT_ONCE:]:
            client = self._clients.get(number)
            if client is None:
                continue
            # One who was let in just before has yet to hear it from its worker.
            user, granted = client.session.login.claim
            if user and not authenticator.holds(user, granted):
                try:
                    client.log_out()
                except Exception:
                    client.fail()
        del numbers[-AT_ONCE:]
        if numbers:
            self._loop.call_soon(self._look_through, numbers)

    async def end(self) -> None:
        """Give up what is being checked, at the end."""
        under_way = list(self._under_way.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._authenticator is not None:
            await self._authenticator.close()
