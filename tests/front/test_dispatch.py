"""A front hands what its workers say to the sessions, and lets no fault at one end the others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from relay.bus.envelopes import Page, ToFront
from tests import plain
from tests.front.front_harness import front_on


class FakeConnection:
    """A connection whose session fails at what it is told, or notes it."""

    def __init__(self, *, fails: bool) -> None:
        self.failed = False
        self.told = 0

        def take(*_: object, **__: object) -> None:
            self.told += 1
            if fails:
                raise RuntimeError("a bug")

        self.deliver = take
        self.session = SimpleNamespace(stored=take, page=take)

    def take(self) -> None:
        pass

    def fail(self) -> None:
        self.failed = True


@pytest.mark.of_source
@pytest.mark.parametrize(
    ("item", "next_item"),
    [
        (plain.stored(1 << 32, 1000), plain.stored(2 << 32, 1000)),
        (
            Page(1, [], queue=False, last=False, more=False),
            Page(2, [], queue=False, last=False, more=False),
        ),
    ],
)
def test_i7_a_fault_at_what_a_worker_says_ends_one_connection(
    item: ToFront, next_item: ToFront
) -> None:
    """Frames of the client may have waited for it."""

    async def live() -> None:
        with front_on(asyncio.get_running_loop()) as front:
            faulty, sound = FakeConnection(fails=True), FakeConnection(fails=False)
            connections: Any = {1: faulty, 2: sound}
            front.hub.clients = connections

            front.dispatch.receive(iter([item, next_item]), math.inf)

            assert faulty.failed
            assert (sound.told, sound.failed) == (1, False)

    asyncio.run(live())


def test_envelopes_are_handed_out_until_the_time_is_over_and_then_from_there_on() -> None:
    async def live() -> None:
        with front_on(asyncio.get_running_loop()) as front:
            connection = FakeConnection(fails=False)
            connections: Any = {2: connection}
            front.hub.clients = connections
            items: Iterator[ToFront] = iter(
                [plain.deliver(2, number, "", b"") for number in range(1, 4)]
            )

            # The time is over already: one is taken all the same.
            assert not front.dispatch.receive(items, 0.0)
            assert connection.told == 1
            assert front.dispatch.receive(items, math.inf)
            assert connection.told == 3

    asyncio.run(live())
