"""Everything that crosses the bus, as tagged msgpack arrays (field order is the wire format).

A batch is one ZeroMQ message: what a front gathered in one loop turn for one worker, what a worker
decided in one transaction for one front or peer. Frames inside are opaque bytes: JSON is neither
read nor written behind the front.

Jids are bare local parts. `session` numbers are unique within a front, `request` numbers too.
`seq` orders everything that one relay ever stored: microseconds since 1970, made strictly
increasing, so it also tells when an entry was stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NewType, final

import msgspec

# Plain integers on the wire, told apart by mypy alone.
Seq = NewType("Seq", int)
RequestNumber = NewType("RequestNumber", int)

NO_SEQ: Final = Seq(0)  # before every entry, and in place of one
VOID: Final = 0  # in place of a batch's number: the worker knows nothing of this link, begin anew

# ----------------------------------------------------------------------------- front -> worker

# How far a session is when its worker first hears of it. LOGIN is a client's login; the others
# re-announce a session of a worker that was restarted.
LOGIN = 0
QUEUE = 1
LIVE = 2


class OpenSession(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A session of `user` is to be served from behind entry `cursor` on (0: from the start).

    `asked_ms` tells when the client of an announced session logged in: of two the later stays.
    """

    session: int
    user: str
    phase: int
    cursor: Seq
    asked_ms: int = 0


class CloseSession(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """The session's connection is gone; what it did not ack stays queued."""

    session: int


class Ready(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """The session has written everything up to `cursor` and can take the next page.

    `pages` counts the pages that it got since it was opened; where the worker has sent more, one
    crossed with this and `cursor` is out of date.
    """

    session: int
    cursor: Seq
    pages: int


class Pause(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=4):
    """The session's reader is slow: keep its entries in the mailbox until it is ready.

    Everything up to `cursor` was written to it; of what was sent behind that nothing will be.
    """

    session: int
    cursor: Seq


@final
class SendToUser(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=5):
    """A 1-1 message, for the worker that owns `chat`."""

    request: RequestNumber
    author: str
    chat: str
    message_id: str
    time_s: int
    digest: bytes
    frame: bytes


@final
class SendToGroup(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=6):
    """A group message, for the worker that owns the group `chat`."""

    request: RequestNumber
    author: str
    chat: str
    message_id: str
    time_s: int
    digest: bytes
    frame: bytes


@final
class Acked(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    """`acker` says how far messages got, for the worker that owns `acker`.

    `author` and `chat` are the frame's `from` and `to`. `time_s` is -1 where the client gave none.
    """

    acker: str
    message_ids: list[str]
    level: int
    author: str
    author_is_group: bool
    chat: str
    chat_is_group: bool
    time_s: int


class Confirmed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=8):
    """The session's client is known to have all entries up to `seq` (R7).

    Its receipts up to there go. Messages stay until they are acked, and may be evicted (2.7.5).
    """

    session: int
    seq: Seq


@final
class Ask(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=9):
    """A request of a client for the half of `extension` in a worker.

    `body` is the extension's own msgpack; `prefix` and `name` are how the request named itself.
    Unless it `only_reads` it is refused while the worker takes no sends.
    """

    session: int
    user: str
    extension: str
    body: bytes
    prefix: str = ""
    name: str = ""
    only_reads: bool = False


@final
class AckedByMany(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """`ackers` say the same of one message of `author` in a group, each at one of the times.

    For the worker that owns them. Times are -1 where a client gave none.
    """

    message_id: str
    level: int
    author: str
    group: str
    ackers: list[str]
    times_s: list[int]

    def singly(self) -> Iterator[Acked]:
        """Yield what each of them says."""
        for acker, time_s in zip(self.ackers, self.times_s, strict=True):
            yield self.of(acker, time_s)

    def of(self, acker: str, time_s: int) -> Acked:
        """Return what one of them says."""
        ids = [self.message_id]
        return Acked(acker, ids, self.level, self.author, False, self.group, True, time_s)


# ----------------------------------------------------------------------------- worker -> front


class SessionOpened(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=20):
    """The login succeeded; pages of the queue follow."""

    session: int


class SessionRefused(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=21):
    """The login failed; a session that was open before stays as it was."""

    session: int
    code: int
    reason: str
    retry_after_s: int


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One queued frame. `receipt_for` is the message id of a receipt, empty for a message.

    Several receipts may have one `seq`: then they are in one page.
    """

    seq: Seq
    receipt_for: str
    frame: bytes


class Page(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """A stretch of a mailbox in order. The worker sends the next one when the session is `Ready`.

    `queue` says that the entries belong into `q` frames, `last` that the queue ends with them.
    `more` asks for a `Ready`: something waits behind this page.
    """

    session: int
    entries: list[Entry]
    queue: bool
    last: bool
    more: bool


@final
class Deliver(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=23):
    """A live frame for one session. `seq` 0: not stored, lost if it cannot be written (R19 b)."""

    session: int
    seq: Seq
    receipt_for: str
    frame: bytes


@final
class DeliverToMany(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """The same live frame for many sessions; it is entry `seq` of each one's mailbox."""

    sessions: list[int]
    seq: Seq
    frame: bytes


@final
class DeliverReceipts(msgspec.Struct, frozen=True, array_like=True, tag=29):
    """Live receipts for one session; all of them are its mailbox's entry `seq`.

    `receipt_for` are the ids of their messages, or the one of all.
    """

    session: int
    seq: Seq
    receipt_for: list[str]
    frames: list[bytes]


@final
class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=25):
    """The send `request` is on stable storage; its ack 1 carries `time_s`."""

    request: RequestNumber
    time_s: int


class Refused(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=26):
    """The send `request` is not stored, and why."""

    request: RequestNumber
    code: int
    reason: str


class EndSession(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=27):
    """The user logged in elsewhere with the same device; close this one (R27)."""

    session: int


@final
class Tell(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=28):
    """What an extension in a worker says to its half in the front that holds `session`.

    An empty `extension` makes the body a frame that the client gets as it is.
    """

    session: int
    extension: str
    body: bytes


# ----------------------------------------------------------------------------- worker -> worker


class GroupCopy(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """A group message for the members whose mailboxes the receiving worker owns."""

    author: str
    group: str
    message_id: str
    time_s: int
    members: list[str]
    frame: bytes


class Receipt(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=41):
    """What `acker` said of a message, for the worker that owns its `author`.

    `group` is empty for a 1-1 message.
    """

    author: str
    group: str
    message_id: str
    acker: str
    level: int
    time_s: int


class StrayAck(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """An ack that matches no delivery, on its way to its author past every worker (R19).

    Best effort, never stored. `route` lists the workers that have yet to say that they do not
    know the message; the author's own comes last.
    """

    route: list[int]
    author: str
    group: str
    message_id: str
    acker: str
    level: int
    time_s: int


@final
class Carry(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=45):
    """What an extension has to do for `owner`, a user or group of the receiving worker."""

    extension: str
    owner: str
    body: bytes


# What one worker has another store.
Content = GroupCopy | Receipt | Carry


@final
class Durable(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=43):
    """What is to be stored, from the sender's outbox, where it is entry `seq`."""

    seq: Seq
    content: Content


class Applied(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=44):
    """Every outbox entry up to `seq` is on this peer's stable storage: remove it."""

    seq: Seq


ToWorker = (
    OpenSession
    | CloseSession
    | Ready
    | Pause
    | SendToUser
    | SendToGroup
    | Acked
    | AckedByMany
    | Confirmed
    | Ask
    | StrayAck
    | Durable
)
ToFront = (
    SessionOpened
    | SessionRefused
    | Page
    | Deliver
    | DeliverToMany
    | DeliverReceipts
    | Stored
    | Refused
    | EndSession
    | Tell
)
ToPeer = Applied


class WorkerBatch(msgspec.Struct, frozen=True, array_like=True):
    """A batch for the worker of `incarnation`, from a front or a peer (`WorkerAddress.life`).

    `number` counts the link's batches from 1, `received` confirms those of the other direction.
    `work` is how many decisions the items ask for: one each, an `Acked` one for each of its ids,
    an `AckedByMany` one for each who acks.
    """

    incarnation: int
    number: int
    received: int
    work: int
    items: list[ToWorker]


class FrontBatch(msgspec.Struct, frozen=True, array_like=True):
    """A batch from a worker to a front; `number` and `received` as in `WorkerBatch`.

    Of the batch behind `received` it confirms the first `begun` items. In a cluster the number may
    be `VOID`, of a batch of nothing else.
    """

    number: int
    received: int
    items: list[ToFront]
    begun: int = 0


class PeerBatch(msgspec.Struct, frozen=True, array_like=True):
    """The answer of a worker to a peer's batch."""

    items: list[ToPeer]


encode = msgspec.msgpack.Encoder().encode
decode_worker_batch = msgspec.msgpack.Decoder(WorkerBatch).decode
decode_front_batch = msgspec.msgpack.Decoder(FrontBatch).decode
decode_peer_batch = msgspec.msgpack.Decoder(PeerBatch).decode
