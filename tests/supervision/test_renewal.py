"""Another program in the supervisor's process: when it is executed, and when that is given up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import pytest

from relay import signals
from relay.process.control import KeysWanted
from relay.supervision import renewal as renewal_module
from relay.supervision.events import Event, NotRenewed, StopAsked
from relay.supervision.handover import Handover
from relay.supervision.renewal import Renewal
from tests.supervision.course_harness import CourseHarness

HANDOVER = cast(Handover, object())  # nobody here reads it


class Relay:
    """One that serves; `executed` is what the next program was given."""

    def __init__(self) -> None:
        self.harness = CourseHarness()
        self.harness.serve()
        self.executed: list[Handover] = []
        self.collected = 0
        self.told: list[Event] = []
        self.renewal = Renewal(
            self.harness.course,
            self.harness.children,
            collect_exits=self._collect_exits,
            handover=lambda: HANDOVER,
        )
        happened = self.harness.course.happened

        def noted(event: Event) -> bool:
            self.told.append(event)
            return happened(event)

        self.harness.course.happened = noted  # type: ignore[method-assign]

    def _collect_exits(self) -> None:
        self.collected += 1

    def execute(self, handover: Handover) -> None:
        """As if there were none, which cannot return: it goes on here."""
        self.executed.append(handover)


Body = Callable[[Relay], Coroutine[Any, Any, None]]


@pytest.fixture
def renewing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Body], None]]:
    monkeypatch.setattr(renewal_module, "RENEW_AFTER_S", 0.001)
    monkeypatch.setattr(renewal_module, "RENEW_WITHIN_S", 0.05)

    def run(body: Body) -> None:
        async def inner() -> None:
            relay = Relay()
            monkeypatch.setattr(renewal_module, "execute", relay.execute)
            try:
                await body(relay)
            finally:
                relay.harness.close()

        asyncio.run(inner())

    yield run
    signals.release()


def held() -> bool:
    return set(signals.HELD) <= signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_it_executes_the_code_once_nothing_is_on_its_way(
    renewing: Callable[[Body], None],
) -> None:
    async def body(relay: Relay) -> None:
        relay.renewal.begin()
        assert held()
        assert relay.executed == []  # a signal that has come before is still heeded

        await relay.harness.until(lambda: relay.executed)

        assert relay.executed == [HANDOVER]
        assert relay.collected == 1
        assert held()  # the next program releases them

    renewing(body)


def test_what_a_child_has_said_is_heard_before(renewing: Callable[[Body], None]) -> None:
    async def body(relay: Relay) -> None:
        front = relay.harness.roles["front"]
        relay.renewal.begin()
        relay.harness.ends[front].send(KeysWanted())

        await relay.harness.until(lambda: relay.executed)

        assert (front, KeysWanted()) in relay.harness.heard

    renewing(body)


def test_it_is_given_up_where_a_process_closes_its_channel_and_does_not_end(
    renewing: Callable[[Body], None],
) -> None:
    async def body(relay: Relay) -> None:
        relay.harness.ends[relay.harness.roles["front"]].close()
        relay.renewal.begin()

        await relay.harness.until(lambda: relay.told)

        reason = "a process has closed its channel, and has not ended"
        assert relay.told == [NotRenewed(reason)]
        assert relay.executed == []
        assert not held()

    renewing(body)


def test_it_is_given_up_where_the_code_cannot_be_executed(
    renewing: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Handover) -> None:
        raise OSError("no such file")

    async def body(relay: Relay) -> None:
        monkeypatch.setattr(renewal_module, "execute", refused)
        relay.renewal.begin()

        await relay.harness.until(lambda: relay.told)

        assert relay.told == [NotRenewed("the code in place cannot be executed: no such file")]
        assert not held()

    renewing(body)


def test_a_stop_that_was_asked_for_before_counts(renewing: Callable[[Body], None]) -> None:
    async def body(relay: Relay) -> None:
        relay.harness.course.happened(StopAsked("SIGTERM"))
        relay.renewal.begin()
        assert held()

        await relay.harness.until(lambda: not held())

        assert relay.executed == []

    renewing(body)


def test_a_trial_that_cannot_begin_says_why(
    renewing: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Handover) -> None:
        raise OSError("no memory")

    async def body(relay: Relay) -> None:
        monkeypatch.setattr(renewal_module, "Rehearsal", refused)

        rehearsed = relay.renewal.rehearse()

        assert rehearsed is not None
        assert rehearsed.refusal == "the code that is in place cannot be started: no memory"
        assert relay.renewal.process is None

    renewing(body)
