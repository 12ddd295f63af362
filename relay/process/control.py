"""What the supervisor and each of its children say to each other, over relay.process.channel.

In order:

    supervisor -> child   TopologyChanged   at spawn, and at each change from then on
    child -> supervisor   ChildReady        once
    child -> supervisor   Heartbeat         at an interval, from ChildReady until the exit
    supervisor -> child   SettingsChanged   at each change from then on
    supervisor -> worker  GroupsChanged     at each change; the memo of them comes with it
    supervisor -> front   KeysChanged       at each change; the memo of them comes with it
    front -> supervisor   KeysWanted        whenever a token is signed by a key that it lacks
    admin -> supervisor   Wish             whenever an operator wants something done
    supervisor -> admin   Outcome           of each, once or with what it is about first; of a roll
                                            also to an admin that has not asked
    supervisor -> child   Stop              once; finish in order, then exit 0

The tags are for good: in a rolling upgrade a newer supervisor has older children.
"""

from typing import Literal

import msgspec

from relay.bus.topology import Topology
from relay.settings.tables import Settings


class ChildReady(msgspec.Struct, frozen=True, tag="ready"):
    """The child serves. A worker tells the ipc endpoint that it has bound; a front tells ""."""

    endpoint: str = ""


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat", omit_defaults=True):
    """The child's loop turns. The figures are a front's; the last two since its start."""

    sessions: int = 0  # that are logged in now
    logins: int = 0
    messages: int = 0  # that its clients have sent to users and groups


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
    what: Literal["reload", "groups", "roll", "drain", "workers"]
    role: Literal["worker", "front"] = "front"
    index: int = 0


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """What has become of a wish, in a line for people."""

    number: int
    state: Literal["running", "done", "failed"]
    detail: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish what is in flight and exit 0 within `deadline_s`, after which SIGKILL comes."""

    deadline_s: float


class PeerGone(msgspec.Struct, frozen=True):
    """The other end is closed: nothing can come any more. Never sent, only received."""


FromChild = ChildReady | Heartbeat | KeysWanted | Wish
FromSupervisor = TopologyChanged | SettingsChanged | GroupsChanged | KeysChanged | Outcome | Stop
