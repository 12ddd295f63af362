"""The order in which a send is judged (PROTOCOL 2.3.2): one list, of the core's steps and others'.

A worker's steps begin where its front's end: shape, rate, id, jid and size are the front's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from relay.extensions.contract import PLACES, STEPS, Send, Verdict
from workers.shard.effects import Identity

# A step is given who sent, what, and the message's key in the store. It answers the send and
# returns True, or returns False to let the next one look at it.
Take = Callable[[Identity, Send, bytes], bool]


class Judge(NamedTuple):
    """A step of an extension, ready to be asked; it comes right behind the core's step `after`.

    It only looks: what it writes is lost where sends are refused, which are judged all the same.
    """

    extension: str
    after: str
    ask: Callable[[Send], Verdict | None]


class PipelineStep(NamedTuple):
    """A step in its place; `name` is one of STEPS, or an extension's name."""

    name: str
    take: Take


def arrange(
    core: Mapping[str, Take], judges: Sequence[Judge], take_of: Callable[[Judge], Take]
) -> tuple[PipelineStep, ...]:
    """Return the steps of one kind of send in order: those of STEPS that are in `core`, and judges.

    Behind one step judges keep their order, which is that in which extensions are loaded. Each
    comes behind one of PLACES, which the registry makes sure of.
    """
    steps: list[PipelineStep] = []
    for place, name in zip(PLACES, STEPS, strict=True):
        steps += [
            PipelineStep(judge.extension, take_of(judge))
            for judge in judges
            if judge.after == place
        ]
        if name in core:
            steps.append(PipelineStep(name, core[name]))
    return tuple(steps)
