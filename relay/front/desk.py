"""The extensions' halves in a front: who gets which request, and what they may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, assert_never

import msgspec

from relay import clock
from relay.bus.envelopes import Ask
from relay.extensions.contract import Asker, Extension, FrontHalf, Request
from relay.front.hub import Hub
from relay.front.output import Closed, Note, Opened
from relay.front.session import Session
from relay.protocol.slots import slot_of
from relay.protocol.stanza import ExtensionRequest
from relay.settings.tables import Settings

_encode = msgspec.msgpack.Encoder().encode


class Desk:
    """What one extension's half may do (`relay.extensions.contract.FrontDesk`)."""

    def __init__(self, extension: Extension, hub: Hub) -> None:
        self._extension = extension
        self._hub = hub

    @property
    def settings(self) -> Settings:
        """The relay's settings as they are now."""
        return self._hub.settings

    @property
    def table(self) -> Any:
        """The extension's own settings as they are now; None where it has none."""
        return self._extension.table_of(self._hub.settings)

    @property
    def capabilities(self) -> Sequence[str]:
        """What a login may be granted (E1)."""
        return self._hub.registry.capabilities

    def now_ms(self) -> int:
        """Return the time since 1970 in ms."""
        return clock.now_ms()

    def answer(self, asker: Asker, frame: bytes) -> None:
        """Write the answer to a request."""
        self.write(asker.session, frame)

    def refuse(self, asker: Asker, code: int, reason: str) -> None:
        """Answer with an `error` frame."""
        self.write(asker.session, asker.correlation.error(code, reason))

    def write(self, session: int, frame: bytes) -> None:
        """Write a frame to a session, behind its `q`; nothing happens where it has gone."""
        client = self._hub.clients.get(session)
        if client is not None:
            client.session.deliveries.answer(frame)
            client.take()

    def ask(self, asker: Asker, owner: str, body: object, *, only_reads: bool = False) -> None:
        """Have the half in the worker that owns `owner` asked."""
        prefix, name = asker.correlation
        ask = Ask(
            asker.session,
            asker.user,
            self._extension.name,
            _encode(body),
            prefix,
            name,
            only_reads,
        )
        link = self._hub.links.link_of(slot_of(owner))
        link.request(ask, durable=True)
        client = self._hub.clients.get(asker.session)
        if client is not None:
            client.session.budget.take(1)
            link.tell_when_done(asker.session, 1)
            if link.is_full:
                self._hub.wait_for_room(client, link)

    def count(self, what: str, times: int = 1) -> None:
        """Count something."""
        self._hub.counters[f"{self._extension.name}.{what}"] += times


class Extensions:
    """The halves in one front, and what sessions have for them."""

    def __init__(self, hub: Hub) -> None:
        self._log = hub.log
        self._requests = hub.registry.requests
        self._desks: dict[str, Desk] = {}
        self._halves: dict[str, FrontHalf] = {}
        for name, extension in hub.registry.extensions.items():
            desk = self._desks[name] = Desk(extension, hub)
            if extension.front is not None:
                self._halves[name] = extension.front(desk)
        # Most halves take no note of sessions, and there may be a storm of logins.
        self._opening = _those_with(self._halves, "opened")
        self._closing = _those_with(self._halves, "closed")

    def take(self, session: Session, note: Note) -> None:
        """Tell the extensions what a session notes."""
        match note:
            case ExtensionRequest():
                self._request(session, note)
            case Opened(user, caps):
                for name, half in self._opening:
                    self._call(name, partial(half.opened, session.number, user, caps))
            case Closed(user):
                for name, half in self._closing:
                    self._call(name, partial(half.closed, session.number, user))
            case _:
                assert_never(note)

    def _call(self, name: str, hook: Callable[[], None]) -> None:
        """Call a hook; a fault in it is not its session's, which may be ending for one."""
        try:
            hook()
        except Exception:
            self._log.exception("extension.failed", extension=name)

    def _request(self, session: Session, stanza: ExtensionRequest) -> None:
        asker = Asker(session.number, session.login.user, stanza.correlation)
        request: Request = self._requests[stanza.key]
        if request.worker_of is not None:
            owner = request.worker_of(asker.user, stanza.body)
            desk = self._desks[stanza.owner]
            desk.ask(asker, owner, stanza.body, only_reads=request.only_reads)
        else:
            self._halves[stanza.owner].requested(asker, stanza.body)

    def told(self, extension: str, session: int, body: bytes) -> None:
        """Hand on what a half in a worker said; without an extension it is a frame."""
        if extension:
            self._halves[extension].told(session, body)


def _those_with(halves: Mapping[str, FrontHalf], hook: str) -> list[tuple[str, FrontHalf]]:
    """Return the halves that have made something of `hook`, by name."""
    return [
        (name, half)
        for name, half in halves.items()
        if getattr(type(half), hook) is not getattr(FrontHalf, hook)
    ]
