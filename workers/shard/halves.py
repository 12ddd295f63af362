"""The halves of extensions in a worker: found by name, and told of what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from relay.bus.envelopes import Ask, Carry, Tell
from relay.extensions.contract import (
    Asker,
    Extension,
    Send,
    ShardDesk,
    Verdict,
    WorkerHalf,
)
from relay.extensions.registry import Registry
from relay.protocol.request import Correlation
from workers.shard.effects import Identity
from workers.shard.pipeline import Judge
from workers.shard.turn import Turn

_Hook = TypeVar("_Hook", bound=Callable[..., None])


class Halves:
    """The half of each extension that has one here.

    A hook is a tuple of those that want to hear of it, empty where nobody does.
    """

    def __init__(
        self, turn: Turn, registry: Registry, desk_of: Callable[[Extension], ShardDesk]
    ) -> None:
        self._turn = turn
        self._halves: dict[str, WorkerHalf] = {}
        self.judges: list[Judge] = []
        for name, extension in registry.extensions.items():
            if extension.worker is not None:
                half = self._halves[name] = extension.worker(desk_of(extension))
                self.judges += _judges_of(extension, half)
        halves = self._halves.values()
        self.opened = _heard((half.opened for half in halves), WorkerHalf.opened)
        self.closed = _heard((half.closed for half in halves), WorkerHalf.closed)
        self.stored = _heard((half.stored for half in halves), WorkerHalf.stored)
        self.queued = _heard((half.queued for half in halves), WorkerHalf.queued)
        self.overfull = _heard((half.overfull for half in halves), WorkerHalf.overfull)
        self.acked = _heard((half.acked for half in halves), WorkerHalf.acked)
        self.swept = _heard((half.swept for half in halves), WorkerHalf.swept)

    def asked(self, front: Identity, ask: Ask) -> None:
        """Have a request answered."""
        half = self._halves.get(ask.extension)
        if self._turn.refusal and not ask.only_reads:
            self.refuse(front, ask, 500, self._turn.refusal)
            return
        if half is None:
            reason = f"no extension {ask.extension} is loaded that answers this"
            self.refuse(front, ask, 400, reason)
            return
        correlation = Correlation(ask.prefix, ask.name)
        half.asked(Asker(ask.session, ask.user, correlation, front), ask.body)

    def find(self, extension: str) -> WorkerHalf | None:
        """Return the half of an extension, None where it has none here or is not loaded."""
        return self._halves.get(extension)

    def has(self, extension: str) -> bool:
        """Tell whether the extension is loaded and has a half here."""
        return extension in self._halves

    def carried(self, carry: Carry) -> None:
        """Have done what a half, here or in another worker, has sent.

        Raises:
            LookupError: the extension is not loaded here, though it was where this was sent.
        """
        half = self._halves.get(carry.extension)
        if half is None:
            raise LookupError(
                f"something for {carry.owner} is of the extension {carry.extension}, which is not"
                " loaded here"
            )
        half.carried(carry.owner, carry.body)

    def refuse(self, front: Identity, ask: Ask, code: int, reason: str) -> None:
        """Answer a request with an `error` frame."""
        self._turn.counters[f"asks_refused_{code}"] += 1
        frame = Correlation(ask.prefix, ask.name).error(code, reason)
        self._turn.to_fronts[front].append(Tell(ask.session, "", frame))


def _judges_of(extension: Extension, half: WorkerHalf) -> Iterable[Judge]:
    for step in extension.steps:
        judge: Callable[[Send], Verdict | None] = partial(step.judge, half)
        yield Judge(extension.name, step.after, judge)


def _heard(hooks: Iterable[_Hook], ignored: Callable[..., None]) -> tuple[_Hook, ...]:
    """Return those of `hooks`, bound methods, that are not the one that does nothing."""
    return tuple(hook for hook in hooks if getattr(hook, "__func__", hook) is not ignored)
