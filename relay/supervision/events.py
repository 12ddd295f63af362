"""What happens to the fleet, as the supervisor tells it; relay.supervision.fleet decides on it.

`incarnation` is the number of a process (relay.supervision.seats). One that is dead is unknown to
the fleet, which overlooks what is still said of it.
"""

from typing import assert_never

import msgspec

from relay.process.control import (
    AccordWanted,
    ChildReady,
    ClusterTold,
    Heartbeat,
    KeysWanted,
    LogLost,
    PeerGone,
    Standing,
)
from relay.settings.tables import Settings
from relay.supervision.seats import Role

# --- the start ---


class Claimed(msgspec.Struct, frozen=True, tag=True):
    """Data, port and run directory are ours. `laid_out`: the stores are for as many workers."""

    laid_out: bool
    # How many incarnations have been: in a cluster none may come again after a restart.
    numbers: int = 0


class Resharded(msgspec.Struct, frozen=True, tag=True):
    """The re-sharding has ended; `returncode` and `oom_kills` as in `Exited`."""

    returncode: int
    oom_kills: int


class Seated(msgspec.Struct, frozen=True):
    """A process that serves, or is about to, as a successor of the supervisor finds it."""

    role: Role
    index: int
    incarnation: int
    pid: int
    started_s: float
    endpoint: str | None  # None: it is not ready yet
    tcp: str = ""
    epoch: int = 0
    standing: int | None = None


class TookOver(msgspec.Struct, frozen=True, tag=True):
    """A newer supervisor has taken over what serves, and is to renew all of it.

    `numbers` incarnations have been, and the topology has had so many epochs.
    """

    children: tuple[Seated, ...]
    numbers: int
    epoch: int
    cluster: ClusterTold | None = None  # what the agent has told last
    lost: tuple[int, ...] = ()  # ranges whose log has less than was acked


# --- the processes ---


class Spawned(msgspec.Struct, frozen=True, tag=True):
    """The process that `Spawn` asked for runs, and its channel is open."""

    incarnation: int
    pid: int


class SpawnFailed(msgspec.Struct, frozen=True, tag=True):
    """The process that `Spawn` asked for could not be started."""

    incarnation: int
    reason: str


class Served(msgspec.Struct, frozen=True, tag=True):
    """It is ready; a worker listens at `endpoint`, a front tells "". The rest is as it says it."""

    incarnation: int
    endpoint: str
    tcp: str = ""
    epoch: int = 0


class StoodBy(msgspec.Struct, frozen=True, tag=True):
    """A worker of a cluster is a standby, and has its log up to there."""

    incarnation: int
    applied: int


class FoundLoss(msgspec.Struct, frozen=True, tag=True):
    """A worker of a cluster has found that its log has less than was acked, and is about to end."""

    incarnation: int


class Beat(msgspec.Struct, frozen=True, tag=True):
    """A sign of life, and what the process has told with it."""

    incarnation: int
    told: Heartbeat = Heartbeat()


class ChannelClosed(msgspec.Struct, frozen=True, tag=True):
    """It has closed its channel, or its end has: it can neither be told anything nor be heard."""

    incarnation: int


class WentDeaf(msgspec.Struct, frozen=True, tag=True):
    """It has read nothing for so long that a message of `Instruct` could not be queued."""

    incarnation: int


class Exited(msgspec.Struct, frozen=True, tag=True):
    """It is dead, and its channel closed.

    `returncode` is negative for a signal, as `subprocess` has it; `oom_kills` is how many processes
    the kernel's OOM killer has killed on this machine so far.
    """

    incarnation: int
    returncode: int
    oom_kills: int


class ClusterSeen(msgspec.Struct, frozen=True, tag=True):
    """The agent tells of the cluster."""

    incarnation: int
    told: ClusterTold


# --- what an operator asks for ---


class StopAsked(msgspec.Struct, frozen=True, tag=True):
    """`signal` is SIGTERM or SIGINT; a second SIGINT asks to hurry."""

    signal: str


class Asker(msgspec.Struct, frozen=True):
    """Whoever is to hear what became of a wish: which admin, and its number of it."""

    incarnation: int
    number: int


class RollAsked(msgspec.Struct, frozen=True, tag=True):
    """Renew every process, one after another, while the others serve; None: by a signal."""

    by: Asker | None = None


class DrainAsked(msgspec.Struct, frozen=True, tag=True):
    """Renew the process of one seat, whose clients go a few at a time."""

    role: Role
    index: int
    by: Asker


class Rehearsed(msgspec.Struct, frozen=True, tag=True):
    """The code that is in place was tried; `refusal` says in a line what is wrong with it."""

    refusal: str  # "": nothing is


class NotRenewed(msgspec.Struct, frozen=True, tag=True):
    """The supervisor's own program could not be executed again; it goes on as it is."""

    reason: str


class SettingsTaken(msgspec.Struct, frozen=True, tag=True):
    """Other settings hold; these are all of them."""

    settings: Settings


class GroupsTaken(msgspec.Struct, frozen=True, tag=True):
    """Other groups hold."""


class AccordAsked(msgspec.Struct, frozen=True, tag=True):
    """The agent is to have what the files say be the next accord; nothing is done without one."""

    wanted: AccordWanted


class KeysTaken(msgspec.Struct, frozen=True, tag=True):
    """Other keys of tokens were fetched."""


class KeysAsked(msgspec.Struct, frozen=True, tag=True):
    """A front has seen a key that it lacks."""


# --- timers, as the fleet has set them ---


class RestartDue(msgspec.Struct, frozen=True, tag=True):
    """The backoff of a seat is over."""

    role: Role
    index: int


class BootDue(msgspec.Struct, frozen=True, tag=True):
    """By now everything must have served once."""


class WatchDue(msgspec.Struct, frozen=True, tag=True):
    """The next look at who gives signs of life; `turn` tells a timer that another one replaced."""

    turn: int


class KillDue(msgspec.Struct, frozen=True, tag=True):
    """The patience with one process is over."""

    incarnation: int


class StopDue(msgspec.Struct, frozen=True, tag=True):
    """The patience of a stop with all processes of a role is over."""

    role: Role


Due = RestartDue | BootDue | WatchDue | KillDue | StopDue

OfChild = (
    Spawned
    | SpawnFailed
    | Served
    | StoodBy
    | FoundLoss
    | ClusterSeen
    | Beat
    | ChannelClosed
    | WentDeaf
    | Exited
    | KillDue
)

Event = (
    OfChild
    | Claimed
    | Resharded
    | StopAsked
    | TookOver
    | RollAsked
    | DrainAsked
    | Rehearsed
    | NotRenewed
    | SettingsTaken
    | GroupsTaken
    | AccordAsked
    | KeysTaken
    | KeysAsked
    | RestartDue
    | BootDue
    | WatchDue
    | StopDue
)


def event_of(
    incarnation: int,
    message: ChildReady | Heartbeat | KeysWanted | PeerGone | Standing | LogLost | ClusterTold,
) -> Event:
    """Return what it means to the fleet that a process has said `message`."""
    match message:
        case ChildReady(endpoint, tcp, epoch):
            return Served(incarnation, endpoint, tcp, epoch)
        case Standing(applied):
            return StoodBy(incarnation, applied)
        case LogLost():
            return FoundLoss(incarnation)
        case ClusterTold():
            return ClusterSeen(incarnation, message)
        case Heartbeat():
            return Beat(incarnation, message)
        case KeysWanted():
            return KeysAsked()
        case PeerGone():
            return ChannelClosed(incarnation)
        case _:
            assert_never(message)
