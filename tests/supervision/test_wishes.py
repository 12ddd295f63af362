"""What operators wish: done when it can be, and answered to whoever has asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay import log
from relay.process.control import (
    AccordWanted,
    FromChild,
    GroupsChanged,
    Outcome,
    PeerGone,
    SettingsChanged,
    Wish,
)
from relay.settings.commandline import Sources
from relay.supervision import wishes as wishes_module
from relay.supervision.events import ChannelClosed, Claimed, Rehearsed, RollAsked, StopAsked
from relay.supervision.reload import InForce
from relay.supervision.wishes import Wishes
from tests.supervision.course_harness import CourseHarness
from tests.supervision.sharing_harness import Host

OTHER = "[limits]\nnesting = 33\n"
ADMIN = 99  # in a cluster, where the fleet has none before it serves


class Operator:
    """An operator of a relay that serves, and the files that are read again."""

    def __init__(self, directory: Path, lines: list[MutableMapping[str, Any]]) -> None:
        self.config, self.groups = directory / "relay.toml", directory / "groups.json"
        self.config.write_text("")
        self.groups.write_text("{}")
        self._lines = lines
        given = {"server.groups": str(self.groups), "server.data": str(directory / "data")}
        sources = Sources(self.config, given)
        self.in_force = InForce(sources, sources.load())
        self.in_force.load_groups()
        self.harness = CourseHarness()
        self.course, children = self.harness.course, self.harness.children
        self.wishes = Wishes(self.course, children, self.in_force, None)
        self.harness.hear = self._hear
        self.harness.serve()
        self.admin = self.harness.roles["admin"]
        for incarnation in self.harness.ends:
            self.harness.told(incarnation)  # what all are told at first

    def _hear(self, incarnation: int, message: FromChild | PeerGone) -> None:
        if isinstance(message, Wish):
            self.wishes.fulfil(incarnation, message)
        elif isinstance(message, PeerGone):
            self.course.happened(ChannelClosed(incarnation))

    async def wishes_for(self, wish: Wish) -> Outcome:
        """Have the admin say so; return the answer."""
        answers: list[Outcome] = []

        def is_answered() -> bool:
            told = self.harness.told(self.admin)
            answers.extend(each for each in told if isinstance(each, Outcome))
            return bool(answers)

        self.harness.ends[self.admin].send(wish)
        await self.harness.until(is_answered)
        [answer] = answers
        return answer

    def reloads(self) -> int:
        return sum(line["event"] == "settings.reloaded" for line in self._lines)


Body = Callable[[Operator], Coroutine[Any, Any, None]]


@pytest.fixture
def operating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Body], None]]:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(wishes_module, "RELOAD_AGAIN_S", 0.01)
    monkeypatch.setattr(log, "reconfigure", lambda *_: None)

    with capture_logs() as lines:

        def run(body: Body) -> None:
            async def inner() -> None:
                operator = Operator(tmp_path, lines)
                try:
                    await body(operator)
                finally:
                    operator.harness.close()

            asyncio.run(inner())

        yield run


def test_a_reload_is_told_to_the_children_and_answered(
    operating: Callable[[Body], None],
) -> None:
    async def body(operator: Operator) -> None:
        operator.config.write_text(OTHER)
        answer = await operator.wishes_for(Wish(5, "reload"))

        assert answer.number == 5
        assert answer.state == "done"
        assert "settings: 1 changed" in answer.detail
        [told] = operator.harness.told(operator.harness.roles["front"])
        assert isinstance(told, SettingsChanged)
        assert told.settings.limits.nesting == 33

    operating(body)


def test_a_file_that_is_refused_keeps_the_other_from_nothing(
    operating: Callable[[Body], None],
) -> None:
    async def body(operator: Operator) -> None:
        operator.config.write_text("nonsense")
        operator.groups.write_text('{"1-1@g.us": {"subject": "S", "participants": ["1@c.us"]}}')
        answer = await operator.wishes_for(Wish(5, "reload"))

        assert answer.state == "failed"
        assert answer.detail.startswith("the settings were refused: ")
        assert "groups: 1 added" in answer.detail
        assert operator.harness.told(operator.harness.roles["worker"]) == [GroupsChanged()]

    operating(body)


def test_only_the_groups_are_read_where_only_they_have_changed(
    operating: Callable[[Body], None],
) -> None:
    async def body(operator: Operator) -> None:
        operator.config.write_text(OTHER)
        answer = await operator.wishes_for(Wish(6, "groups"))

        assert (answer.number, answer.state) == (6, "done")
        assert operator.reloads() == 0

    operating(body)


def test_nothing_is_read_while_processes_are_of_two_versions(
    operating: Callable[[Body], None],
) -> None:
    async def body(operator: Operator) -> None:
        operator.course.happened(RollAsked())
        assert operator.course.fleet.is_rolling

        answer = await operator.wishes_for(Wish(5, "reload"))

        assert answer == Outcome(5, "failed", "it rolls or stops: try again after that")
        assert operator.reloads() == 0

    operating(body)


def test_nothing_is_read_while_it_stops(operating: Callable[[Body], None]) -> None:
    async def body(operator: Operator) -> None:
        operator.course.happened(StopAsked("SIGTERM"))

        answer = await operator.wishes_for(Wish(5, "groups"))

        assert answer == Outcome(5, "failed", "it rolls or stops: try again after that")

    operating(body)


def test_many_signals_at_once_are_one_reload(operating: Callable[[Body], None]) -> None:
    async def body(operator: Operator) -> None:
        for _ in range(3):
            operator.wishes.reload()
        await operator.harness.until(lambda: operator.course.is_idle)
        assert operator.reloads() == 1

        operator.wishes.reload()
        await operator.harness.until(lambda: operator.course.is_idle)
        assert operator.reloads() == 2

    operating(body)


def test_a_signal_that_comes_during_a_roll_is_heeded_after_it(
    operating: Callable[[Body], None],
) -> None:
    async def body(operator: Operator) -> None:
        operator.course.happened(RollAsked())
        operator.wishes.reload()
        await operator.harness.until(lambda: operator.course.is_idle)
        assert operator.reloads() == 0

        operator.course.happened(Rehearsed("the code is broken"))
        await operator.harness.until(operator.reloads)

        assert operator.reloads() == 1

    operating(body)


def test_another_number_of_workers_is_for_the_next_start(
    operating: Callable[[Body], None],
) -> None:
    async def body(operator: Operator) -> None:
        Path(operator.in_force.settings.server.data).mkdir()
        answer = await operator.wishes_for(Wish(8, "workers", index=3))

        assert (answer.number, answer.state) == (8, "done")
        assert "from the next start on 3" in answer.detail

    operating(body)


def test_an_admin_that_has_gone_is_not_answered(operating: Callable[[Body], None]) -> None:
    async def body(operator: Operator) -> None:
        operator.harness.ends[operator.admin].close()
        operator.harness.children.read()
        operator.config.write_text(OTHER)

        operator.wishes.fulfil(operator.admin, Wish(5, "reload"))

        assert operator.reloads() == 1

    operating(body)


# --- in a cluster ---


class Sharer:
    """An operator of one host of a cluster; the agent is the far end of its channel."""

    def __init__(self, host: Host) -> None:
        host.start()
        self.host = host
        self.harness = CourseHarness(host.in_force.settings)
        course, children = self.harness.course, self.harness.children
        self.wishes = Wishes(course, children, host.in_force, host.sharing)
        self.harness.add(ADMIN)

    def begin(self) -> int:
        """Have the children that are there first; return who is the agent."""
        self.harness.course.happened(Claimed(laid_out=True))
        return self.harness.roles["agent"]

    async def answer(self) -> Outcome:
        answers: list[Outcome] = []

        def is_answered() -> bool:
            told = self.harness.told(ADMIN)
            answers.extend(each for each in told if isinstance(each, Outcome))
            return bool(answers)

        await self.harness.until(is_answered)
        [answer] = answers
        return answer

    def asked(self, agent: int) -> AccordWanted:
        [asked] = [each for each in self.harness.told(agent) if isinstance(each, AccordWanted)]
        return asked


SharerBody = Callable[[Sharer], Coroutine[Any, Any, None]]


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Callable[[SharerBody], None]]:
    before = os.umask(0o077)
    with capture_logs() as lines:

        def run(body: SharerBody) -> None:
            async def inner() -> None:
                sharer = Sharer(Host(tmp_path, "a", lines))
                try:
                    await body(sharer)
                finally:
                    sharer.harness.close()

            asyncio.run(inner())

        yield run
    os.umask(before)


def test_what_all_hosts_take_holds_and_is_answered_then(
    sharing: Callable[[SharerBody], None],
) -> None:
    async def body(sharer: Sharer) -> None:
        agent = sharer.begin()
        sharer.host.write(OTHER)
        sharer.wishes.fulfil(ADMIN, Wish(5, "reload"))
        asked = sharer.asked(agent)
        assert sharer.harness.told(ADMIN) == []
        assert sharer.host.nesting != 33

        sharer.wishes.settle(asked.number, "")
        answer = await sharer.answer()

        assert (answer.number, answer.state) == (5, "done")
        assert "all hosts take it: settings 1" in answer.detail
        assert sharer.host.nesting == 33

        sharer.wishes.settle(asked.number, "it is late")
        assert sharer.harness.told(ADMIN) == []

    sharing(body)


def test_without_an_agent_nothing_is_shared(sharing: Callable[[SharerBody], None]) -> None:
    async def body(sharer: Sharer) -> None:
        sharer.host.write(OTHER)
        sharer.wishes.fulfil(ADMIN, Wish(5, "reload"))

        answer = await sharer.answer()

        assert (answer.number, answer.state) == (5, "failed")
        assert "there is no agent just now: try again" in answer.detail
        assert sharer.host.nesting != 33

    sharing(body)


def test_an_agent_that_says_nothing_is_not_waited_for_without_end(
    sharing: Callable[[SharerBody], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes_module, "SHARED_WITHIN_S", 0.01)

    async def body(sharer: Sharer) -> None:
        sharer.begin()
        sharer.host.write(OTHER)
        sharer.wishes.fulfil(ADMIN, Wish(5, "reload"))

        answer = await sharer.answer()

        assert (answer.number, answer.state) == (5, "failed")
        assert "no answer of the cluster in 0.01 s" in answer.detail

    sharing(body)


def test_a_second_reload_does_not_disturb_one_that_is_under_way(
    sharing: Callable[[SharerBody], None],
) -> None:
    async def body(sharer: Sharer) -> None:
        agent = sharer.begin()
        sharer.host.write(OTHER)
        sharer.wishes.fulfil(ADMIN, Wish(5, "reload"))
        asked = sharer.asked(agent)

        sharer.wishes.fulfil(ADMIN, Wish(6, "reload"))
        answer = await sharer.answer()
        assert (answer.number, answer.state) == (6, "failed")
        assert "another reload is under way" in answer.detail

        sharer.wishes.settle(asked.number, "")
        answer = await sharer.answer()
        assert (answer.number, answer.state) == (5, "done")

    sharing(body)
