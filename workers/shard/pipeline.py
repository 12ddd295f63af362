"""The order in which a send is judged (PROTOCOL 2.3.2), and where extensions' steps come in it.

A worker's steps begin where its front's end: shape, rate, id, jid and size are the front's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from relay.extensions.contract import PLACES, STEPS, Send, Verdict

# The two kinds of sends each have those of STEPS that say something of them.
OF_USER: Final = ("known", "quota", "store")
OF_GROUP: Final = ("known", "group", "store")


class Judge(NamedTuple):
    """A step of an extension, ready to be asked; it comes right behind the core's step `after`.

    It only looks: what it writes is lost where sends are refused, which are judged all the same.
    """

    extension: str
    after: str
    ask: Callable[[Send], Verdict | None]


def arrange(judges: Sequence[Judge], core: Sequence[str]) -> Mapping[str, tuple[Judge, ...]]:
    """Return who comes before each of the steps `core` that one kind of send has, in order.

    Behind one step they keep their order, which is that in which extensions are loaded. Each comes
    behind one of PLACES, which the registry makes sure of.
    """
    before: dict[str, tuple[Judge, ...]] = {}
    waiting: list[Judge] = []
    for place, step in zip(PLACES, STEPS, strict=True):
        waiting += [judge for judge in judges if judge.after == place]
        if step in core:
            before[step] = tuple(waiting)
            waiting = []
    return before
