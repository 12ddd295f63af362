"""A callback of an event loop that fails ends the process's work, and is what escapes."""

from __future__ import annotations

import asyncio

import pytest

from relay.process.eventloop import run_to_its_end


def test_work_that_ends_is_the_end() -> None:
    done = []

    async def work() -> None:
        done.append(True)

    run_to_its_end(asyncio.run, lambda _: work())

    assert done == [True]


def test_a_callback_that_fails_ends_the_work_and_escapes() -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    async def work(loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(fail)
        await asyncio.Event().wait()

    with pytest.raises(ZeroDivisionError, match="a bug"):
        run_to_its_end(asyncio.run, work)


def test_what_work_itself_raises_escapes() -> None:
    async def work() -> None:
        raise OSError("no port")

    with pytest.raises(OSError, match="no port"):
        run_to_its_end(asyncio.run, lambda _: work())
