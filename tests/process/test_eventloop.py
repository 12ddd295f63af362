"""A callback of an event loop that fails ends the process's work, and is what escapes."""

from __future__ import annotations

import asyncio

import pytest

from relay.process.eventloop import begin_task, run_to_its_end


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


def test_a_task_that_fails_ends_the_work_while_somebody_holds_it() -> None:
    kept = []

    async def fail() -> None:
        raise ZeroDivisionError("a bug")

    async def work(loop: asyncio.AbstractEventLoop) -> None:
        kept.append(begin_task(fail()))
        await asyncio.Event().wait()

    with pytest.raises(ZeroDivisionError, match="a bug"):
        run_to_its_end(asyncio.run, work)


def test_a_task_that_is_given_up_or_ends_is_no_fault() -> None:
    async def last() -> None:
        await asyncio.Event().wait()

    async def end() -> None: ...

    async def work(loop: asyncio.AbstractEventLoop) -> None:
        tasks = [begin_task(last()), begin_task(end())]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait(tasks)

    run_to_its_end(asyncio.run, work)
