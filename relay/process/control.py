"""What the supervisor and each of its children say to each other, over relay.process.channel.

In order:

    supervisor -> child   TopologyChanged   at spawn, and at each change from then on
    child -> supervisor   ChildReady        once
    child -> supervisor   Heartbeat         at an interval, from ChildReady until the exit
    supervisor -> child   SettingsChanged   at each change from then on
    supervisor -> worker  GroupsChanged     at each change; the memo of them comes with it
    supervisor -> front   KeysChanged       at each change; the memo of them comes with it
    front -> supervisor   KeysWanted        whenever a token is signed by a key that it lacks
    admin -> supervisor   Wish             whenever an operator wants something done; of an agent
                                            that other groups are there, or another accord
    supervisor -> admin   Outcome           of each, once or with what it is about first; of a roll
                                            also to an admin that has not asked
    supervisor -> child   Stop              once; finish in order, then exit 0

In a cluster besides, where a worker begins as a standby and may become the owner of its range:

    worker -> supervisor  Standing          as a standby, whenever it has applied more; Heartbeat
                                            comes from the first one on
    worker -> supervisor  LogLost           once, before it exits: nobody may own the range
    supervisor -> worker  Promote           to a standby; ChildReady answers it once it owns the
                                            range, Standing where it does not. An owner overlooks it
    supervisor -> worker  HandOver          once to an owner, in place of Stop
    agent -> supervisor   ClusterTold       whenever something in it has changed
    supervisor -> agent   HostState         at each change
    supervisor -> front   Isolated          at each change; False before the first
    supervisor -> agent   AccordWanted      at a reload; the memo of what all hosts are to have
                                            comes with it
    agent -> supervisor   AccordSettled     of each, once

The tags are for good: in a rolling upgrade a newer supervisor has older children.
"""

from typing import Literal

import msgspec

from relay.bus.topology import Topology, WorkerAddress
from relay.settings.tables import Settings


class ChildReady(msgspec.Struct, frozen=True, tag="ready", omit_defaults=True):
    """The child serves. A worker tells the ipc endpoint that it has bound; a front tells "".

    In a cluster a worker is ready as the owner of its range: it tells where other hosts find it,
    and the epoch, which is its incarnation on the bus.
    """

    endpoint: str = ""
    tcp: str = ""
    epoch: int = 0  # 0: without a cluster


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat", omit_defaults=True):
    """The child's loop turns. The figures are a front's; the second and third since its start.

    `synced` is of a worker in a cluster: up to which record of its range's log a power cut would
    leave everything in its store.
    """

    sessions: int = 0  # that are logged in now
    logins: int = 0
    messages: int = 0  # that its clients have sent to users and groups
    synced: int = 0
    lacking_s: int = 0  # for so long no worker of some range has been reached


class TopologyChanged(msgspec.Struct, frozen=True, tag="topology"):
    """The whole new topology, not the difference."""

    topology: Topology


class SettingsChanged(msgspec.Struct, frozen=True, tag="settings"):
    """Other settings hold; these are all of them."""

    settings: Settings


class GroupsChanged(msgspec.Struct, frozen=True, tag="groups"):
    """Other groups hold: the message carries the descriptor of their memo (`pack_groups`)."""


class KeysChanged(msgspec.Struct, frozen=True, tag="keys"):
    """Other keys of tokens were fetched: the message carries the descriptor of their memo."""


class KeysWanted(msgspec.Struct, frozen=True, tag="keys-wanted"):
    """A token names a key that the front lacks; it may have been published just now."""


class Wish(msgspec.Struct, frozen=True, tag="wish"):
    """What an operator wants of the supervisor; `role` and `index` are those of a drain.

    Of "workers" `index` is how many there are to be from the next start on.
    """

    number: int  # of the admin's; 0 for a roll
    what: Literal["reload", "groups", "accord", "roll", "drain", "workers"]
    role: Literal["worker", "front"] = "front"
    index: int = 0


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """What has become of a wish, in a line for people."""

    number: int
    state: Literal["running", "done", "failed"]
    detail: str


class Standing(msgspec.Struct, frozen=True, tag="standing"):
    """The worker is a standby of its range, and has its log up to a record of that number.

    Told again by one that was promoted and found another owner: it stays a standby.
    """

    applied: int


class LogLost(msgspec.Struct, frozen=True, tag="log-lost"):
    """The log of the range has less than was acked, so nobody may own the range; the worker ends.

    Told before its channel closes: whoever hears that the range has no owner knows why.
    """


class Promote(msgspec.Struct, frozen=True, tag="promote"):
    """Become the owner of the range, unless its log has a newer one."""


class HandOver(msgspec.Struct, frozen=True, tag="hand-over"):
    """Give the range to the standby on host `to`: finish, say so in the log, exit 0."""

    to: str


class Isolated(msgspec.Struct, frozen=True, tag="isolated"):
    """Whether this host has been without a majority for too long: then nobody is served here."""

    isolated: bool


class ClusterTold(msgspec.Struct, frozen=True, tag="cluster", omit_defaults=True):
    """What this host is to have and to do, and who serves on the others; all of it, as it is now.

    What stands in `promote` or `hand_over` is told until it has come about or holds no more.
    """

    workers: tuple[WorkerAddress, ...] = ()  # that own a range, of other hosts
    fronts: tuple[str, ...] = ()  # of other hosts, by identity
    seats: tuple[int, ...] = ()  # the ranges of which this host has a copy, in order
    promote: tuple[int, ...] = ()  # ranges whose standby here is to own them
    hand_over: tuple[tuple[int, str], ...] = ()  # ranges whose owner here gives them to a host
    isolated: bool | None = False  # None: an agent that has just started cannot know; as it was


class HostState(msgspec.Struct, frozen=True, tag="host-state", omit_defaults=True):
    """The standbys of this host, by range: up to which number each has the log.

    Owners are not in it: the topology has them. A range of `ClusterTold.seats` that is in neither
    has no process that could serve just now. `synced` is of both: what a power cut would leave.
    """

    standing: dict[int, int]
    lost: tuple[int, ...] = ()  # ranges whose log has less than was acked, as was found here
    synced: dict[int, int] = {}


class AccordWanted(msgspec.Struct, frozen=True, tag="accord"):
    """Have the accord be the one of the message's memo, if it is that of `before` now.

    `before` names the one that holds here: number, host, and milliseconds since 1970.
    """

    number: int  # of the supervisor's askings
    before: tuple[int, str, int]


class AccordSettled(msgspec.Struct, frozen=True, tag="accord-settled", omit_defaults=True):
    """A majority has the accord that was wanted, or why not."""

    number: int
    refusal: str = ""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish what is in flight and exit 0 within `deadline_s`, after which SIGKILL comes."""

    deadline_s: float


class PeerGone(msgspec.Struct, frozen=True):
    """The other end is closed: nothing can come any more. Never sent, only received."""


FromChild = (
    ChildReady | Heartbeat | KeysWanted | Wish | Standing | LogLost | ClusterTold | AccordSettled
)
FromSupervisor = (
    TopologyChanged
    | SettingsChanged
    | GroupsChanged
    | KeysChanged
    | Outcome
    | Stop
    | Promote
    | HandOver
    | Isolated
    | HostState
    | AccordWanted
)
