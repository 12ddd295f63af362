"""The order in which a send is judged (PROTOCOL 2.3.2), with the steps of extensions put in.

A worker's steps begin where its front's end: shape, rate, id, jid and size are the front's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from relay.bus.envelopes import SendToGroup, SendToUser
from relay.extensions.contract import Send, Verdict
from workers.shard.effects import Identity

# First failure wins: a repeat (R20), group 404 and 403, recipient 404, quota 507, store 500. A kind
# of send has those that say something of it.
STEPS: Final = ("known", "group", "recipient", "quota", "store")

_Send = TypeVar("_Send", SendToUser, SendToGroup)

# Given the front that sent it, the send and the key of its record. True: it is answered, and goes
# no further.
Work = Callable[[Identity, _Send, bytes], bool]


class Judge(NamedTuple):
    """A step of an extension, ready to be asked."""

    extension: str
    after: str
    ask: Callable[[Send], Verdict | None]


def check_places(judges: Sequence[Judge]) -> None:
    """Refuse a step that comes behind one that there is not, or behind the last.

    Raises:
        ValueError: names the extension, what it asked for and what there is.
    """
    places = ("", *STEPS[:-1])
    for judge in judges:
        if judge.after not in places:
            allowed = ", ".join(map(repr, places))
            raise ValueError(
                f"{judge.extension} has a step of sends after {judge.after!r}, not one of {allowed}"
            )


def arrange(
    core: Mapping[str, Work[_Send]],
    judges: Sequence[Judge],
    work_of: Callable[[Judge], Work[_Send]],
) -> tuple[Work[_Send], ...]:
    """Return the steps of one kind of send in order: the core's, each followed by what it drew.

    Steps of extensions behind the same one keep the order in which the extensions are loaded.
    "store" looks for itself whether there is room, so "quota" is left out where nothing follows it.
    """
    order = [work_of(judge) for judge in judges if not judge.after]
    for name in STEPS:
        drawn = [work_of(judge) for judge in judges if judge.after == name]
        if name in core and (drawn or name != "quota"):
            order.append(core[name])
        order += drawn
    return tuple(order)
