"""What the supervisor and each of its children say to each other, over relay.process.channel.

In order:

    supervisor -> child   TopologyChanged   at spawn, and at each change from then on
    child -> supervisor   ChildReady        once
    child -> supervisor   Heartbeat         at an interval, from ChildReady until the exit
    supervisor -> child   SettingsChanged   the run directory's settings.json is another
    supervisor -> worker  GroupsChanged     the run directory's groups.json is another
    supervisor -> child   Stop              once; finish in order, then exit 0

The tags are for good: in a rolling upgrade an older supervisor starts newer children.
"""

import msgspec

from relay.bus.topology import Topology


class ChildReady(msgspec.Struct, frozen=True, tag="ready"):
    """The child serves. A worker tells the ipc endpoint that it has bound; a front tells ""."""

    endpoint: str = ""


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """The child's loop turns."""


class TopologyChanged(msgspec.Struct, frozen=True, tag="topology"):
    """The whole new topology, not the difference."""

    topology: Topology


class SettingsChanged(msgspec.Struct, frozen=True, tag="settings"):
    """The run directory's settings.json has been replaced: read it again."""


class GroupsChanged(msgspec.Struct, frozen=True, tag="groups"):
    """The run directory's groups.json has been replaced: read it again."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish what is in flight and exit 0 within `deadline_s`, after which SIGKILL comes."""

    deadline_s: float


class PeerGone(msgspec.Struct, frozen=True):
    """The other end is closed: nothing can come any more. Never sent, only received."""


FromChild = ChildReady | Heartbeat
FromSupervisor = TopologyChanged | SettingsChanged | GroupsChanged | Stop
