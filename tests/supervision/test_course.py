"""What happens comes one after another, and what the fleet wants is done at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import Any

import pytest

from relay.settings.tables import ServerSettings, Settings
from relay.supervision.actions import Action, Announce, CloseListener, Log, StartResharding
from relay.supervision.course import Course
from relay.supervision.events import Claimed, Event, KeysTaken, Resharded, StopAsked
from relay.supervision.fleet import Fleet


def in_loop(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), 20))


def course(do: Callable[[Action], Event | None]) -> Course:
    settings = Settings(server=ServerSettings(workers=1, fronts=1))
    fleet = Fleet(settings, random=Random(1), oom_kills=0, now_s=0.0)
    return Course(fleet, do)


def nothing(_: Action) -> None:
    return None


def broken() -> None:
    raise KeyError("missing")


def test_calls_are_made_in_their_order_until_one_ends_it() -> None:
    async def body() -> None:
        here, made = course(nothing), list[int]()
        for number in range(3):
            here.soon(partial(made.append, number))
        here.soon(lambda: here.end(7))
        here.soon(lambda: made.append(99))

        assert await here.run() == 7

        assert made == [0, 1, 2]
        assert not here.is_idle

    in_loop(body)


def test_a_call_is_never_made_within_another() -> None:
    async def body() -> None:
        here, made = course(nothing), list[str]()

        def outer() -> None:
            here.soon(lambda: made.append("inner"))
            made.append("outer")

        here.soon(outer)
        here.later(0.0, lambda: here.end(0))

        assert await here.run() == 0
        assert made == ["outer", "inner"]

    in_loop(body)


def test_what_comes_of_an_action_is_handed_in_before_the_next_call() -> None:
    async def body() -> None:
        done: list[Action] = []

        def do(action: Action) -> Event | None:
            done.append(action)
            return Resharded(1, 0) if isinstance(action, StartResharding) else None

        here = course(do)
        assert here.happened(Claimed(laid_out=False))

        # It has failed, so the fleet has something to say of it.
        assert isinstance(done[0], StartResharding)
        assert any(isinstance(action, Log) for action in done[1:])

    in_loop(body)


def test_it_tells_whether_the_fleet_wanted_anything() -> None:
    async def body() -> None:
        here = course(nothing)

        assert not here.happened(KeysTaken())  # nobody is there to hear it
        assert here.happened(StopAsked("SIGTERM"))

    in_loop(body)


def test_the_actions_are_done_in_their_order() -> None:
    async def body() -> None:
        done: list[Action] = []
        here = course(done.append)

        here.carry_out([CloseListener(0), Announce(), CloseListener(1)])

        assert done == [CloseListener(0), Announce(), CloseListener(1)]

    in_loop(body)


def test_the_fleet_settles_once_nothing_further_has_happened() -> None:
    async def body() -> None:
        seen: list[bool] = []
        here = course(nothing)
        settle = here.fleet.settle

        def counted(*, now_s: float) -> list[Action]:
            seen.append(here.is_idle)
            return settle(now_s=now_s)

        here.fleet.settle = counted  # type: ignore[method-assign]
        for _ in range(3):
            here.soon(lambda: None)
        here.later(0.01, lambda: here.end(0))

        await here.run()

        assert seen == [True, True]  # after the three, and after the timer

    in_loop(body)


def test_an_exception_in_a_call_ends_it() -> None:
    async def body() -> None:
        here = course(nothing)
        here.soon(broken)

        with pytest.raises(KeyError, match="missing"):
            await here.run()

    in_loop(body)


def test_an_exception_in_the_loop_itself_ends_it() -> None:
    async def body() -> None:
        here = course(nothing)
        asyncio.get_running_loop().call_soon(broken)

        with pytest.raises(RuntimeError) as raised:
            await here.run()

        assert isinstance(raised.value.__cause__, KeyError)

    in_loop(body)
