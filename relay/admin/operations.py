"""What operators have asked for that takes a while, and what became of it.

The supervisor does some of it, which an admin wishes of it; tools do the rest, which end with the
admin that has started them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from relay.process.control import Outcome, Wish

# Those that are remembered: whoever asks does so at once.
MAX_KEPT: Final = 100
# Of a roll, whichever admin was asked for it: the one that tells of its end is another.
ROLL: Final = "roll"


class Operation(msgspec.Struct, frozen=True):
    """One of them; `detail` is a line for people."""

    id: str
    what: str
    state: Literal["running", "done", "failed"]
    detail: str
    counts: dict[str, int] = {}  # of what a tool has done


class Operations:
    """The one of an admin. `send` hands a wish to the supervisor, which is that of one host."""

    def __init__(self, incarnation: int, send: Callable[[Wish], object], *, host: str = "") -> None:
        """`host` is its name in a cluster."""
        self._incarnation = incarnation
        self._send = send
        self._on_host = f" on host {host}" if host else ""
        self._number = 0
        self._known: dict[str, Operation] = {}
        self._told = asyncio.Event()

    def reload(self) -> Operation:
        """Have the files read again."""
        self._number += 1
        return self._begin("reload", Wish(self._number, "reload"))

    def take_groups(self) -> Operation:
        """Have the groups read again, and nothing else."""
        self._number += 1
        return self._begin("groups", Wish(self._number, "groups"))

    def drain(self, role: Literal["worker", "front"], index: int) -> Operation:
        """Have a process renewed, whose clients go a few at a time."""
        self._number += 1
        wish = Wish(self._number, "drain", role, index)
        return self._begin(f"drain {role} {index}", wish)

    def want_workers(self, workers: int) -> Operation:
        """Have so many workers from the next start on."""
        self._number += 1
        return self._begin(f"workers {workers}", Wish(self._number, "workers", index=workers))

    def roll(self) -> Operation:
        """Have every process renewed; the one that runs already goes on."""
        running = self._known.get(ROLL)
        if running is not None and running.state == "running":
            return running
        return self._begin("roll", Wish(0, "roll"))

    def begin(self, what: str) -> Operation:
        """Note that the admin itself does something; `tell` says how it goes."""
        self._number += 1
        return self._keep(Operation(self._name(self._number), what, "running", "it begins"))

    def tell(
        self,
        operation: Operation,
        detail: str,
        state: Literal["running", "done", "failed"] = "running",
        counts: dict[str, int] | None = None,
    ) -> None:
        """Note how something is that `begin` began."""
        self._keep(Operation(operation.id, operation.what, state, detail, counts or {}))
        self._told.set()

    def find(self, operation: str) -> Operation | None:
        """Return the one of that id, None where it is not known: to another admin, or long ago."""
        return self._known.get(operation)

    async def wait(self, operation: Operation, within_s: float) -> Operation:
        """Return what has become of it, as soon as it has ended, or in that time."""
        try:
            async with asyncio.timeout(within_s):
                while self._known[operation.id].state == "running":
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            pass
        return self._known.get(operation.id, operation)

    def heard(self, outcome: Outcome) -> None:
        """Take what the supervisor says of one, which an admin before may have asked for."""
        name = self._name(outcome.number)
        before = self._known.get(name)
        if before is None and name != ROLL:
            return
        what = f"roll{self._on_host}" if before is None else before.what
        self._keep(Operation(name, what, outcome.state, outcome.detail))
        self._told.set()

    def _begin(self, what: str, wish: Wish) -> Operation:
        what += self._on_host
        operation = Operation(self._name(wish.number), what, "running", "asked for")
        self._keep(operation)
        self._send(wish)
        return operation

    def _name(self, number: int) -> str:
        return f"{self._incarnation}-{number}" if number else ROLL

    def _keep(self, operation: Operation) -> Operation:
        self._known[operation.id] = operation
        while len(self._known) > MAX_KEPT:
            self._known.pop(next(iter(self._known)))
        return operation
