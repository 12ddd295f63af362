"""How a child that lives in an event loop ends where a callback or a task of the loop fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Work = Callable[[asyncio.AbstractEventLoop], Coroutine[Any, Any, None]]


def begin_task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin a task of the running loop that nobody waits for: what it raises is of the process.

    Otherwise the loop would hear of that only once the task is let go of.
    """
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_escape)
    return task


def _escape(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error  # in a callback of the loop, which `run_to_its_end` looks after


def run_to_its_end(run: Callable[[Coroutine[Any, Any, None]], None], work: Work) -> None:
    """Run `work` by `run`, such as `asyncio.run`; what fails in any callback ends it, and escapes.

    State may be half changed by then, so the process must not go on.
    """
    failure: list[BaseException] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()

        def crash(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
            error = context.get("exception")
            failure.append(
                error if isinstance(error, BaseException) else RuntimeError(str(context["message"]))
            )
            serving.cancel()

        loop.set_exception_handler(crash)
        serving = asyncio.ensure_future(work(loop))
        try:
            await serving
        except asyncio.CancelledError:
            if not failure:
                raise

    run(serve())
    if failure:
        raise failure[0]
