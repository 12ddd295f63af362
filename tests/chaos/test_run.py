"""How a run ends where something has failed."""

import asyncio
from contextlib import suppress

import pytest

from . import run
from .fleet import FleetError
from .run import _end


async def swallows(count: int) -> None:
    for _ in range(count):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def begun(count: int) -> "asyncio.Task[None]":
    task = asyncio.create_task(swallows(count))
    await asyncio.sleep(0)
    return task


@pytest.mark.slow
def test_a_user_who_swallows_its_cancellation_is_cancelled_again() -> None:
    async def scene() -> bool:
        task = await begun(2)
        await _end({task})
        return task.done()

    assert asyncio.run(scene())


@pytest.mark.slow
def test_one_who_cannot_be_ended_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CANCELS", 2)

    async def scene() -> None:
        task = await begun(3)
        with pytest.raises(FleetError, match="cannot be cancelled"):
            await _end({task})

    asyncio.run(scene())
