"""What the fleet wants done; the supervisor does it, in order, and tells what came of it."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from relay.process.control import FromSupervisor
from relay.supervision.events import Due
from relay.supervision.seats import Incarnation, Role


class StartResharding(msgspec.Struct, frozen=True, tag=True):
    """Have the stores laid out anew; `Resharded` tells the end."""


class KillResharding(msgspec.Struct, frozen=True, tag=True):
    """Kill the process that lays out the stores, which it is made for."""


class Spawn(msgspec.Struct, frozen=True, tag=True):
    """Start a process; `Spawned` or `SpawnFailed` tells how it went."""

    role: Role
    index: int
    incarnation: int


class Instruct(msgspec.Struct, frozen=True, tag=True):
    """Tell a process something; `WentDeaf` if it does not read."""

    incarnation: int
    message: FromSupervisor


class Abort(msgspec.Struct, frozen=True, tag=True):
    """SIGABRT to a process and all that it has started: faulthandler writes the stacks."""

    incarnation: int


class Kill(msgspec.Struct, frozen=True, tag=True):
    """SIGKILL to a process and all that it has started."""

    incarnation: int


class CloseListener(msgspec.Struct, frozen=True, tag=True):
    """Have the clients of a front's seat go to the others; its next process opens it again."""

    index: int


class Rehearse(msgspec.Struct, frozen=True, tag=True):
    """Try the code that is in place in a process of its own; `Rehearsed` tells how it went."""


class Renew(msgspec.Struct, frozen=True, tag=True):
    """Execute the supervisor's own program anew, which keeps all; `NotRenewed` if that fails."""


class FetchKeys(msgspec.Struct, frozen=True, tag=True):
    """Have the keys of tokens fetched as soon as may be; `KeysTaken` if others have come."""


class SetTimer(msgspec.Struct, frozen=True, tag=True):
    """Hand in `due` after `delay_s`."""

    delay_s: float
    due: Due


class Announce(msgspec.Struct, frozen=True, tag=True):
    """Everything serves: write the ready line."""


class Log(msgspec.Struct, frozen=True, tag=True):
    """Write a line; the fields are in their order."""

    level: Literal["info", "warning", "error"]
    event: str
    fields: Mapping[str, Any]


class Exit(msgspec.Struct, frozen=True, tag=True):
    """Nothing runs any more: exit."""

    exit_code: int


Action = (
    StartResharding
    | KillResharding
    | Spawn
    | Instruct
    | Abort
    | Kill
    | CloseListener
    | Rehearse
    | Renew
    | FetchKeys
    | SetTimer
    | Announce
    | Log
    | Exit
)


def instruct(children: Iterable[Incarnation], message: FromSupervisor) -> list[Action]:
    """Tell `message` to each of `children` that can still be told anything."""
    return [Instruct(child.number, message) for child in children if child.connected]


def kill(child: Incarnation) -> Action:
    """Kill `child`, and remember that it was us."""
    child.we_killed = True
    return Kill(child.number)
