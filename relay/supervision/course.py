"""The course of events: what happens to a supervisor, one thing after another.

Everything that happens (a signal, a death, a message, a timer) is queued as a call, and one loop
makes the calls one after another. So nothing interleaves, and an exception in any of them is ours:
it ends the supervisor, which kills every child on its way out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NoReturn

from relay.supervision.actions import Action
from relay.supervision.events import Event
from relay.supervision.fleet import Fleet


class Course:
    """Calls in their turn; the fleet hears what happens, and what it wants done is done at once."""

    def __init__(self, fleet: Fleet, do: Callable[[Action], Event | None]) -> None:
        """`do` carries out one action, and returns what came of it if the fleet is to know."""
        self.fleet = fleet  # to be asked; what happens it hears by `happened`
        self._do = do
        self._loop = asyncio.get_running_loop()
        self._calls: asyncio.Queue[Callable[[], object]] = asyncio.Queue()
        self._exit_code: int | None = None

    @property
    def now_s(self) -> float:
        """The time, of a clock that only grows."""
        return self._loop.time()

    @property
    def is_idle(self) -> bool:
        """Whether no call waits for its turn; timers do not count."""
        return self._calls.empty()

    def soon(self, call: Callable[[], object]) -> None:
        """Make `call` when it is its turn."""
        self._calls.put_nowait(call)

    def later(self, delay_s: float, call: Callable[[], object]) -> None:
        """Make `call` in its turn after that time."""
        self._loop.call_later(delay_s, self.soon, call)

    def happened(self, event: Event) -> bool:
        """Tell the fleet, and do what it wants done; return whether that was anything."""
        actions = self.fleet.handle(event, now_s=self.now_s)
        self.carry_out(actions)
        return bool(actions)

    def carry_out(self, actions: Iterable[Action]) -> None:
        """Do all of it in order, then what the fleet makes of what came of it."""
        to_do = deque(actions)
        while to_do:
            event = self._do(to_do.popleft())
            if event:
                to_do.extend(self.fleet.handle(event, now_s=self.now_s))

    def end(self, exit_code: int) -> None:
        """Have `run` return that, with no further call."""
        self._exit_code = exit_code

    async def run(self) -> int:
        """Make the calls until one says `end`; return the exit code."""
        self._loop.set_exception_handler(lambda _, context: self.soon(partial(_raise, context)))
        while self._exit_code is None:
            (await self._calls.get())()
            if self.is_idle:
                self.carry_out(self.fleet.settle(now_s=self.now_s))
        return self._exit_code


def _raise(context: dict[str, Any]) -> NoReturn:
    raise RuntimeError(context["message"]) from context.get("exception")
