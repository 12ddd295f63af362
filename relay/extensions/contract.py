"""What an extension is: one module, whose `EXTENSION` says all that the relay must know of it.

A request that the tag table names comes to the extension's half in the front, or goes on to its
half in the worker that owns a user or group. The two halves speak through three envelopes, whose
bodies are the extension's own: `Ask` (front to worker), `Tell` (worker to front) and `Carry`
(worker to worker, durable). What it keeps lies in trees of its own, in the same batches as
everything else.

A desk is how a half reaches the relay: an extension imports neither the front nor the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from relay.bus.envelopes import GroupCopy, SendToGroup, SendToUser, Seq
from relay.disk.groupfile import Group
from relay.errors import MailboxFull
from relay.protocol.request import Correlation, Decode, RequestKey
from relay.settings.rows import Table
from relay.settings.tables import Settings, extension_settings

Send = SendToUser | SendToGroup
# A message on its way into one user's mailbox; a group's names several members.
Incoming = SendToUser | GroupCopy

# The core's steps in the pipeline of sends, in order (PROTOCOL 2.3.2); first failure wins: a repeat
# (R20), group 404 and 403, recipient 404, quota 507, store 500.
STEPS: Final = ("known", "group", "recipient", "quota", "store")
# What a step of an extension may come behind; before all of them, where it is empty.
PLACES: Final = ("", *STEPS[:-1])


class Asker(NamedTuple):
    """Who asked, and what the answer must repeat (E2).

    `session` is its number at its front. `user` is its local part, empty before login. `front` is
    the front's identity on the bus; at the front itself it is empty.
    """

    session: int
    user: str
    correlation: Correlation
    front: bytes = b""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request: how it is read, when it may come, and who answers it.

    `decode` is given the frame's elements as raw JSON and returns the body; it raises `FrameError`.
    `worker_of` is given the asking user and the body, and returns the user or group whose worker
    answers; the body is sent there as msgpack. Without it the half in the front answers. One that
    `only_reads` is answered there too while the store has no room, when others get error 500.
    """

    decode: Decode
    before_login: bool = False
    worker_of: Callable[[str, Any], str] | None = None
    only_reads: bool = False


class TreeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tree of an extension: its items belong to users or groups, and move with them.

    `name` is unique within the extension. `grows` says that every key ends in 8 bytes of a sequence
    number that is higher than all before it, as of a history.
    """

    name: str
    grows: bool = False


class Refuse(NamedTuple):
    """A step's verdict: the send is not stored; its author gets this error (PROTOCOL section 5)."""

    code: int
    reason: str


class Suppress(NamedTuple):
    """A step's verdict: the author gets ack 1, a repeat is recognised, and nobody gets the message.

    For a group: none of its members.
    """


Verdict = Refuse | Suppress


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an extension in the pipeline of sends (PROTOCOL 2.3.2).

    It comes right behind the step `after` of the core, or before all of them where that is empty.
    `judge` is given the worker half and the send, and returns None to let it go on. It must only
    look: while the store takes no sends they are judged all the same, and nothing of it is kept.
    """

    after: str
    judge: Callable[[Any, Send], Verdict | None]


class ExtensionTree(Protocol):
    """A tree, as its extension sees it: items of users and groups that this worker owns.

    What is written is part of the open batch: durable before anything that it says leaves (I1).
    """

    def get(self, owner: str, key: bytes) -> bytes | None:
        """Return the value of `key` of `owner`, None where there is none."""

    def put(self, owner: str, key: bytes, value: bytes) -> None:
        """Set it.

        Raises:
            ValueError: owner and key have over 508 bytes together, or the tree grows and the number
                is none that this worker gave out (`ShardDesk.next_seq`).
        """

    def pop(self, owner: str, key: bytes) -> bytes | None:
        """Remove it and return what it was."""

    def scan(self, owner: str, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of `owner` in order of keys, from the key `first` on.

        Do not write to what is still to come while iterating.
        """

    def items(self, after: tuple[str, bytes] | None = None) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (owner, key, value) of all owners in the tree's own order, behind `after`.

        As `scan`, do not write to what is still to come; nor is there a bound but the caller's.
        """


class FrontDesk(Protocol):
    """What the half of an extension in a front may do."""

    @property
    def settings(self) -> Settings:
        """The relay's settings as they are now."""

    @property
    def table(self) -> Any:
        """The extension's own settings as they are now; None where it has none."""

    @property
    def capabilities(self) -> Sequence[str]:
        """What a login may be granted (E1)."""

    def now_ms(self) -> int:
        """Return the time since 1970 in ms."""

    def answer(self, asker: Asker, frame: bytes) -> None:
        """Write the answer to a request; `relay.protocol.request` makes frames that repeat tags."""

    def refuse(self, asker: Asker, code: int, reason: str) -> None:
        """Answer with an `error` frame."""

    def write(self, session: int, frame: bytes) -> None:
        """Write a frame to a session, behind its `q`; nothing happens where it has gone."""

    def ask(self, asker: Asker, owner: str, body: object, *, only_reads: bool = False) -> None:
        """Have the half in the worker that owns `owner` asked, with `body` as msgpack.

        Asked again of the worker's successor if it dies: what it does must bear a repeat. While the
        store has no room it is answered with error 500, unless it `only_reads`.
        """

    def count(self, what: str, times: int = 1) -> None:
        """Count something, as `NAME.what` in the front's counters."""


class ShardDesk(Protocol):
    """What the half of an extension in a worker may do, within the open batch.

    While a half is being made no batch is open: it has its settings then, and nothing else.
    """

    @property
    def settings(self) -> Settings:
        """The relay's settings as they are now."""

    @property
    def table(self) -> Any:
        """The extension's own settings as they are now; None where it has none."""

    @property
    def refusal(self) -> str:
        """Why nothing more should be stored, for people; empty while there is room."""

    def now_ms(self) -> int:
        """Return the batch's time since 1970 in ms."""

    def next_seq(self) -> Seq:
        """Return a number higher than any that this worker gave out before."""

    def tree(self, name: str) -> ExtensionTree:
        """Return one of the trees that the extension has named."""

    def owns(self, local: str) -> bool:
        """Tell whether this worker owns a user or group."""

    def members(self, group: str) -> Sequence[str]:
        """Return the members of a group that this worker owns; empty where there is no such."""

    def groups(self) -> Mapping[str, Group]:
        """Return the groups that this worker owns, by local part: another object once changed."""

    def serves(self, user: str) -> bool:
        """Tell whether a user of this worker has a session."""

    def waiting(self, user: str) -> int:
        """Return how many messages wait for a user of this worker."""

    def answer(self, asker: Asker, frame: bytes) -> None:
        """Write the answer to a request, once the batch is committed."""

    def refuse(self, asker: Asker, code: int, reason: str) -> None:
        """Answer with an `error` frame."""

    def tell(self, user: str, body: object) -> bool:
        """Tell the half in the front that holds the user's session; False where he has none."""

    def carry(self, owner: str, body: object) -> None:
        """Have the half in the worker that owns `owner` do something durable, once.

        It is kept until that worker has stored what it did (`WorkerHalf.carried`).
        """

    def count(self, what: str, times: int = 1) -> None:
        """Count something, as `NAME.what` in the worker's counters."""


class FrontHalf:
    """The half of an extension in a front; it keeps nothing that must last."""

    def __init__(self, desk: FrontDesk) -> None:
        self.desk = desk

    def requested(self, asker: Asker, body: Any) -> None:
        """Answer a request that came for this half."""
        raise NotImplementedError(f"{type(self).__name__} takes no requests")

    def told(self, session: int, body: bytes) -> None:
        """Take what the half in a worker said, msgpack as it packed it."""
        raise NotImplementedError(f"{type(self).__name__} is told nothing")

    def opened(self, session: int, user: str, caps: Sequence[str]) -> None:
        """A login has succeeded, perhaps a repeated one; `caps` are what it was granted (E1).

        A session without a capability is to get nothing that it did not ask for (PROTOCOL 2.1).
        """

    def closed(self, session: int, user: str) -> None:
        """A session that was opened has ended."""


class WorkerHalf:
    """The half of an extension in a worker. What it does is part of the worker's batches.

    It must bear repeats, and no state of it may be in memory alone that cannot be lost.
    """

    def __init__(self, desk: ShardDesk) -> None:
        self.desk = desk

    def asked(self, asker: Asker, body: bytes) -> None:
        """Answer a request, whose body is msgpack."""
        raise NotImplementedError(f"{type(self).__name__} takes no requests")

    def carried(self, owner: str, body: bytes) -> None:
        """Do what a half in another worker, or this one, has sent for `owner`; once."""
        raise NotImplementedError(f"{type(self).__name__} is sent nothing")

    def opened(self, user: str) -> None:
        """A user's session is served from here on; also after the worker was restarted."""

    def closed(self, user: str) -> None:
        """A user has no session any more."""

    def stored(self, send: Send) -> None:
        """A message was stored; a group's by the worker that owns the group."""

    def queued(self, user: str, message: Incoming) -> None:
        """A message was put into the mailbox of a user who has no session, in this batch.

        For a group's this is called once for each such member.
        """

    def overfull(self, user: str, message: Incoming, error: MailboxFull) -> None:
        """A message was not put into a user's mailbox, which has no room for it.

        Of a 1-1 message it must only look where `refusal` is not empty, as a step does.
        """

    def acked(self, author: str, group: str, message_id: str, acker: str, level: int) -> None:
        """A recipient's level has risen; `group` is empty for a 1-1 message."""

    def swept(self) -> None:
        """Once a second, for what must expire; a bounded piece of work."""


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """All that the relay knows of an extension.

    `name` is lower case; it is its table in the settings and the prefix of its counters and trees.
    `grants` are the capabilities of E1 that it makes possible. `settings` is its table.
    """

    name: str
    grants: tuple[str, ...] = ()
    requests: Mapping[RequestKey, Request] = msgspec.field(default_factory=dict)
    front: Callable[[FrontDesk], FrontHalf] | None = None
    worker: Callable[[ShardDesk], WorkerHalf] | None = None
    trees: tuple[TreeSpec, ...] = ()
    steps: tuple[Step, ...] = ()
    settings: type[Table] | None = None

    def table_of(self, settings: Settings) -> Any:
        """Return the extension's own settings within the relay's; None where it has none."""
        if self.settings is None:
            return None
        return extension_settings(settings, self.name, self.settings)
