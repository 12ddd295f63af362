"""What a connection does with what its session notes for extensions, whatever they do then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NoReturn, cast

import pytest

from relay.front.connection import Connection
from relay.front.output import Closed, Note, Opened
from relay.front.session import Session
from relay.protocol.request import NO_CORRELATION
from relay.protocol.stanza import ExtensionRequest

from .front_harness import FakeLoop, front_on, let_in
from .test_reading import FakeLog, FakeTransport

REQUEST = ExtensionRequest("echo", ("echo", ""), None, NO_CORRELATION, True, True)


class Extensions:
    """Notes what it is told, and fails at every request."""

    def __init__(self) -> None:
        self.seen: list[Note] = []

    def take(self, session: Session, note: Note) -> None:
        self.seen.append(note)
        if isinstance(note, ExtensionRequest):
            raise RuntimeError("a bug")


class Scene:
    def __init__(self, connection: Connection, extensions: Extensions, log: FakeLog) -> None:
        self.connection = connection
        self.session = connection.session
        self.extensions = extensions
        self.log = log


@pytest.fixture
def scene() -> Iterator[Scene]:
    loop = FakeLoop()
    with front_on(loop) as front:
        log, extensions = FakeLog(), Extensions()
        front.hub.log = cast("Any", log)
        front.hub.extensions = extensions
        connection = Connection(front.hub, let_in())
        connection.connection_made(cast("asyncio.Transport", FakeTransport()))
        yield Scene(connection, extensions, log)


def test_i7_a_fault_at_a_request_keeps_no_other_note_from_being_taken(scene: Scene) -> None:
    scene.session.out.note(Opened("Asha", ()))
    scene.session.out.note(REQUEST)
    scene.session.out.note(Closed("Asha"))

    scene.connection.take()

    assert scene.extensions.seen == [Opened("Asha", ()), REQUEST, Closed("Asha")]
    assert scene.log.faults == ["connection.failed"]
    assert not scene.session.is_read


@pytest.mark.of_source
def test_what_a_lost_session_wants_done_is_done_though_its_end_has_failed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> NoReturn:
        scene.session.out.note(Closed("Asha"))
        raise RuntimeError("a bug")

    monkeypatch.setattr(Session, "lost", lambda _, **given: fail(**given))

    scene.connection.connection_lost(None)

    assert scene.extensions.seen == [Closed("Asha")]
    assert scene.log.faults == ["connection.failed"]
