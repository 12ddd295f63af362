"""The extensions' halves in a front: what they are told, and what their faults end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, cast

import pytest

from relay.bus.envelopes import Ask
from relay.extensions.contract import Asker, Extension, FrontDesk, FrontHalf, Request, WorkerHalf
from relay.extensions.registry import Registry
from relay.front.desk import Extensions
from relay.front.hub import Hub
from relay.front.output import Closed, Hold, Opened
from relay.protocol.request import Correlation
from relay.protocol.stanza import ExtensionRequest
from relay.settings.tables import Settings

from .front_harness import FakeLoop


class Echo(FrontHalf):
    """Answers with what it was asked, and fails at whatever is named Eve."""

    def __init__(self, desk: FrontDesk) -> None:
        super().__init__(desk)
        self.seen: list[tuple[str, int]] = []

    def requested(self, asker: Asker, body: bytes) -> None:
        self.desk.count("asked")
        self.desk.answer(asker, body)

    def told(self, session: int, body: bytes) -> None:
        self.desk.write(session, body)

    def opened(self, session: int, user: str, caps: Sequence[str]) -> None:
        self._see(f"opened {(*caps,)}", session, user)

    def closed(self, session: int, user: str) -> None:
        self._see("closed", session, user)

    def _see(self, what: str, session: int, user: str) -> None:
        if user == "Eve":
            raise RuntimeError("a bug")
        self.seen.append((what, session))


HALVES: list[Echo] = []


def echo(desk: FrontDesk) -> Echo:
    HALVES.append(Echo(desk))
    return HALVES[-1]


EXTENSION = Extension(
    name="echo",
    requests={
        ("echo", ""): Request(decode=lambda _: b"[]"),
        ("echo", "far"): Request(decode=lambda _: 7, worker_of=lambda user, _: user),
    },
    front=echo,
    worker=WorkerHalf,
)


class FakeLink:
    index = 0

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.told: list[tuple[int, int]] = []
        self.is_full = False

    def request(self, ask: Ask, *, durable: bool) -> None:
        assert durable
        self.asked.append(ask)

    def tell_when_done(self, session: int, units: int) -> None:
        self.told.append((session, units))

    def link_of(self, slot: int) -> FakeLink:
        return self


class FakeLog:
    def __init__(self) -> None:
        self.failed: list[Any] = []

    def exception(self, event: str, **more: object) -> None:
        self.failed.append((event, more["extension"]))


class FakeClient:
    """A client of a session; whatever is written to it is in `frames`."""

    def __init__(self, hub: Hub) -> None:
        self.session = hub.make_session()
        self.session.login.user = "917069852821"
        self.frames: list[bytes] = []
        self.holds = 0
        hub.clients[self.session.number] = cast("Any", self)

    def take(self) -> None:
        self.frames += self.session.out.frames
        self.session.out.frames.clear()

    def hold(self, why: int) -> None:
        self.holds |= why


class Scene:
    def __init__(self) -> None:
        HALVES.clear()
        self.link, self.log = FakeLink(), FakeLog()
        self.hub = Hub(Settings(), Registry([EXTENSION]), cast("Any", FakeLoop()))
        self.hub.log = cast("Any", self.log)
        self.hub.links = cast("Any", self.link)
        self.extensions = Extensions(self.hub)
        self.client = FakeClient(self.hub)

    def asks(self, kind: str, correlation: Correlation = Correlation()) -> None:  # noqa: B008
        key = ("echo", kind)
        body = EXTENSION.requests[key].decode(())
        request = ExtensionRequest("echo", key, body, correlation, False, True)
        self.extensions.take(self.client.session, request)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_request_is_answered_by_the_half_in_the_front(scene: Scene) -> None:
    scene.asks("")

    assert scene.client.frames == [b"[]"]
    assert scene.hub.counters["echo.asked"] == 1


def test_a_request_for_a_worker_goes_there_with_its_name(scene: Scene) -> None:
    scene.asks("far", Correlation("x1", "b1"))

    number = scene.client.session.number
    assert scene.link.asked == [Ask(number, "917069852821", "echo", b"\x07", "x1", "b1")]
    assert not scene.client.holds


def test_i6_who_asks_a_worker_that_is_behind_waits(scene: Scene) -> None:
    scene.link.is_full = True

    scene.asks("far")

    assert scene.client.holds == Hold.LINK


def test_what_a_worker_says_comes_to_the_half_or_to_the_client(scene: Scene) -> None:
    scene.extensions.told("echo", scene.client.session.number, b"hello")
    scene.extensions.told("echo", 999, b"to nobody")

    assert scene.client.frames == [b"hello"]


def test_a_half_sees_sessions_come_and_go(scene: Scene) -> None:
    number = scene.client.session.number

    scene.extensions.take(scene.client.session, Opened("Asha", ("notes",)))
    scene.extensions.take(scene.client.session, Closed("Asha"))

    assert HALVES[0].seen == [("opened ('notes',)", number), ("closed", number)]


@pytest.mark.parametrize("note", [Opened("Eve", ()), Closed("Eve")])
def test_i7_a_fault_in_that_ends_nobodys_session(scene: Scene, note: Opened | Closed) -> None:
    scene.extensions.take(scene.client.session, note)

    assert scene.log.failed == [("extension.failed", "echo")]


def test_a_fault_at_a_request_is_its_connections(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("a bug")

    monkeypatch.setattr(HALVES[0], "requested", fail)

    with pytest.raises(RuntimeError, match="a bug"):
        scene.asks("")
