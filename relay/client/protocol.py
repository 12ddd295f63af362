"""What a client of the relay must remember, without a socket: frames in, events and frames out.

`relay.client.RelayClient` feeds it and writes what it asks for. All decisions are here, and in the
machines that it is made of, one for each state:

* **A send** (`outbox`) is kept until ack 1 or a final error names its id, and is put on the wire
  again by every new login. The relay answers a repeated id with the same ack and delivers nothing
  twice (R20). Where the relay cannot take it now, it is sent again later.
* **A message** is acked (`acks`) once the application has taken it, never on arrival, so a crash of
  the application redelivers it. One that comes again is acked again and not shown again.
* **Nothing grows without bound, and reading never stops for a slow application** (`inbox`), because
  the ack that the application awaits may stand behind the messages it has not taken. Messages
  beyond `Limits.held_messages` are left un-acked at the relay; once the held ones are taken, a
  repeated `auth` has everything sent again in order (PROTOCOL 2.2, rule 7). Of all other events the
  newest `Limits.held_notices` are kept.
* **The connection** (`login`) says when to log in, and what a lost connection means.

Time and chance come in as arguments: see `Moment`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, assert_never

from relay.client import wire
from relay.client.acks import Acks
from relay.client.errors import Unreadable
from relay.client.events import (
    PASSING_CODES,
    Connected,
    Delayed,
    Event,
    Level,
    Message,
    MessageKey,
    Receipt,
    Refused,
)
from relay.client.inbox import Inbox
from relay.client.limits import Limits
from relay.client.login import ClientLogin, Ending, Phase, waiting_s
from relay.client.memory import Memory
from relay.client.moment import Moment
from relay.client.outbox import ClientOutbox
from relay.errors import ClientError
from relay.protocol.jid import parse_user

_CLOSED_TOO_BIG: Final = 1009


class RelayClock(NamedTuple):
    """What the relay's clock said, in seconds since 1970, when `Moment.up` was `up`."""

    wall: float
    up: float


class ClientProtocol:
    """One user's side of the protocol, over any number of connections.

    The caller reports `connection_opened`, `receive` for every frame, and `connection_lost`. It
    writes `next_frame()` while there is one and says `frame_sent()` after each. Events are read
    with `next_event`; a message stays the next event until it is acknowledged.

    After `failure` is set nothing more is to be done: no connection is to be opened.
    """

    def __init__(self, jid: str, *, limits: Limits | None = None) -> None:
        self.user: Final = parse_user(jid)
        self.limits: Final = limits or Limits()
        self.clock: RelayClock | None = None
        self.ignored_frames = 0  # frames, or message elements, that made no sense
        self.login: Final = ClientLogin(self.limits)
        self.outbox: Final = ClientOutbox(self.limits.unacked_sends)
        self._acks = Acks(self.limits.remembered)
        self._inbox = Inbox(self.limits)
        # The highest level told of each own message and recipient: (chat, recipient, id).
        self._receipts: Memory[MessageKey, Level] = Memory(self.limits.remembered)
        self._written: Callable[[], None] | None = None  # what `frame_sent` has to do
        self._is_again = False  # the login is a repeat on a connection that had one

    # -- the connection --------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """Whether the login is accepted on the present connection."""
        return self.login.phase is Phase.ONLINE

    @property
    def connection_useless(self) -> bool:
        """Whether the connection is to be closed, the login on it having been refused."""
        return self.login.phase is Phase.ENDING

    @property
    def failure(self) -> ClientError | None:
        """Why the client has ended for good, if it has."""
        return self.login.failure

    @property
    def retry_in(self) -> float:
        """How many seconds to wait, after a connection was lost, before connecting again."""
        return self.login.retry_in

    def login_again(self) -> None:
        """Log in once more on a connection that is online, with a newer token."""
        if self.online:
            self._is_again = True
            self.login.ask_again()

    def connection_opened(self, now: Moment) -> None:
        """A WebSocket is open: log in on it."""
        self.login.opened(up=now.up)

    def connection_lost(self, ending: Ending, now: Moment) -> list[Event]:
        """The connection is gone, or could not be opened; return what happened.

        Afterwards either `failure` is set, or `retry_in` says when to connect again.
        """
        self._written = None
        self._is_again = False
        self._inbox.left_behind = False  # the next login sends everything anyway
        lost = self.login.lost(ending, up=now.up, chance=now.chance)
        if lost is None:
            return []
        events: list[Event] = [lost]
        if ending.code == _CLOSED_TOO_BIG:
            # This relay takes less than `limits.frame_bytes`. It does not say which frame it
            # meant; sending all of them again would lose the connection again, for ever.
            failed = self.outbox.fail_largest(413, "frame too big for this relay")
            if failed is not None:
                events.insert(0, failed)
        for event in events:
            self._inbox.note(event)
        return events

    def next_frame(self, now: Moment) -> str | None:
        """Return the frame to write now, or None. It stays the next one until `frame_sent`."""
        self._written = None
        if self.online and not self.login.request_due:
            if ack := self._acks.next():
                self._written = lambda: self._acks.written(ack, up=now.up)
                return wire.ack_frame(self.user, ack.message, ack.level, t=ack.t)
            if (frame := self.outbox.next_frame(up=now.up)) is not None:
                self._written = self.outbox.written
                return frame
            if self._inbox.fetch_is_due:
                self.login_again()
        if self.login.request_due:
            self._written = self.login.written
            return wire.auth_frame(self.user, self.login.token)
        return None

    def frame_sent(self) -> None:
        """The frame that `next_frame` returned last was written.

        What was written may still be lost with the connection: a send is then written again, an
        ack is repeated when its message comes again, and one whose message does not is written
        again by the next login.
        """
        if self._written is not None:
            self._written()
            self._written = None

    # -- what the application asks for -----------------------------------------------------------

    @property
    def unacked(self) -> int:
        """How many sends the relay has not answered yet."""
        return len(self.outbox)

    @property
    def has_room(self) -> bool:
        """Whether another send may be submitted."""
        return self.outbox.has_room

    @property
    def dropped_notices(self) -> int:
        """How many events other than messages were given up for newer ones."""
        return self._inbox.dropped_notices

    def is_unacked(self, message_id: str) -> bool:
        """Whether the send `message_id` is under way."""
        return message_id in self.outbox

    def submit(self, to: str, message: Mapping[str, Any], message_id: str, now: Moment) -> None:
        """Take a send over; it is written to this and each later connection until answered.

        The caller looks at `has_room` first. Repeating a send that is under way changes nothing.

        Raises:
            JidError: `to` is no user and no group.
            ValueError: what no relay would take: the id, an empty, too deep or too large message,
                text that is no Unicode, or an id that is under way with another message.
        """
        chat = wire.chat_name(to)
        if self.outbox.repeats(message_id, chat, message):
            return
        frame = wire.send_frame(
            chat, message, message_id, now_s=now.wall, max_bytes=self.limits.frame_bytes
        )
        self.outbox.add(message_id, chat, message, frame)

    def acknowledge(self, message: Message, level: Level, now: Moment) -> None:
        """Note that the application took `message` (or read it); the ack is written in time.

        A level that was reached before changes nothing.
        """
        held = message.key in self._inbox
        self._inbox.take(message.key)
        self._acks.take(message.key, level, now_s=now.wall, held=held)

    def show(self, message: Message) -> None:
        """Note that the application has `message`, and acknowledges it later, or never."""
        self._inbox.take(message.key)
        self._acks.show(message.key)

    def next_event(self) -> Event | None:
        """Return the next event, or None.

        A `Message` stays the next event until `acknowledge` or `show`; every other one is gone.
        """
        return self._inbox.next()

    # -- frames of the relay ---------------------------------------------------------------------

    def receive(self, frame: str | bytes, now: Moment) -> list[Event]:
        """Take one frame; return the events in it, which `next_event` will give as well.

        Never raises for anything a relay may send: what makes no sense is counted in
        `ignored_frames`, and what no client of this kind asks for is skipped.
        """
        if self.online:
            self._acks.heard(up=now.up)
        try:
            read = wire.read(frame)
        except Unreadable:
            self.ignored_frames += 1
            return []
        match read:
            case wire.AuthReply():
                return self._on_auth(read)
            case wire.QueueFrame():
                return self._on_queue(read, now)
            case wire.DeliveredFrames():
                return self._on_deliveries(read, now)
            case wire.StoredAck() | wire.ReceiptAck():
                return self._on_ack(read)
            case wire.ErrorReport():
                return self._on_error(read, now)
            case wire.CloseNotice():
                self.login.noticed(read)
                return []
            case wire.SignOfLife():
                self.clock = RelayClock(read.wall, now.up)
                return []
            case None:
                return []
        assert_never(read)

    def _on_auth(self, reply: wire.AuthReply) -> list[Event]:
        if not self.login.replied(reply):
            return []
        is_again, self._is_again = self._is_again, False
        self._inbox.left_behind = False
        if is_again:  # the same connection: its sends are being answered on it
            return []
        self.outbox.start_again()
        self._acks.start_again()
        return self._noted(Connected())

    def _on_queue(self, queue: wire.QueueFrame, now: Moment) -> list[Event]:
        events: list[Event] = []
        for entry in queue.entries:
            try:
                read = wire.read(entry)
            except Unreadable:
                self.ignored_frames += 1
                continue
            if isinstance(read, wire.DeliveredFrames):
                events += self._on_deliveries(read, now)
            elif isinstance(read, wire.StoredAck | wire.ReceiptAck):
                events += self._on_ack(read)
        return events

    def _on_deliveries(self, action: wire.DeliveredFrames, now: Moment) -> list[Event]:
        self.ignored_frames += action.unreadable
        events: list[Event] = []
        for delivery in action.deliveries:
            message = delivery.message
            if message.key in self._inbox or self._acks.repeat(message.key, now_s=now.wall):
                continue
            if self._inbox.hold(message, delivery.size):
                events.append(message)
        return events

    def _on_ack(self, ack: wire.StoredAck | wire.ReceiptAck) -> list[Event]:
        if ack.author != self.user:
            return []
        if isinstance(ack, wire.StoredAck):
            accepted = self.outbox.accept(ack.id, ack.chat, t=ack.t)
            return [] if accepted is None else self._noted(accepted)
        key = (ack.chat, ack.user, ack.id)
        if ack.level <= (self._receipts.get(key) or 0):
            return []
        self._receipts.put(key, ack.level)
        return self._noted(Receipt(ack.id, ack.chat, ack.user, ack.level, ack.t))

    def _on_error(self, report: wire.ErrorReport, now: Moment) -> list[Event]:
        if report.tag not in ("", "action") or report.id not in self.outbox:
            return self._noted(Refused(report.code, report.reason, report.tag, report.id))
        if report.code not in PASSING_CODES:
            return self._noted(
                self.outbox.fail(report.id, report.code, report.reason, report.retry_after)
            )
        tries = self.outbox.tries_of(report.id) + 1
        retry_in = waiting_s(report.retry_after or 0.0, tries, self.limits, now.chance)
        self.outbox.delay(report.id, until=now.up + retry_in)
        chat = self.outbox.chat_of(report.id)
        return self._noted(Delayed(report.id, chat, report.code, report.reason, retry_in))

    def _noted(self, event: Event) -> list[Event]:
        self._inbox.note(event)
        return [event]
