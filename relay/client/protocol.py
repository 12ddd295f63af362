"""What a client of the relay must remember, without a socket: frames in, events and frames out.

`relay.client.Client` feeds it and writes what it asks for. All decisions are here:

* **A send** is kept until ack 1 or an error names its id, and is put on the wire again by every
  new login. The relay answers a repeated id with the same ack and delivers nothing twice (R20).
* **A message** is acked once the application has taken it, never on arrival, so a crash of the
  application redelivers it. One that comes again is acked again and not shown again.
* **Nothing grows without bound, and reading never stops for a slow application**, because the ack
  that the application awaits may stand behind the messages it has not taken. Messages beyond
  `Limits.held_messages` are left un-acked at the relay; once the held ones are taken, a repeated
  `auth` has everything sent again in order (PROTOCOL 2.2, rule 7). Of all other events the newest
  `Limits.held_notices` are kept.

Time comes in as arguments: `now_s` is the wall clock, `uptime_s` any monotonic one.
"""

import re
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum, auto
from typing import Any, Final, Literal, TypeVar

import msgspec

from relay.errors import JidError, RelayError
from relay.protocol.jid import group_jid, parse_chat, parse_user, user_com, user_cus

# Sends that failed for a reason that may pass: the same id may be tried again.
RETRYABLE_CODES: Final = frozenset({429, 500, 503, 507})
# A login refused with one of these is tried again; every other refusal is final.
_RETRYABLE_LOGINS: Final = frozenset({429, 500, 503})
_CLOSED_TOO_BIG: Final = 1009
_CLOSED_AUTH: Final = 4401
_CLOSED_REPLACED: Final = 4409
_MAX_RETRY_AFTER_S: Final = 300.0  # however long the relay asks for
_STABLE_S: Final = 10.0  # a login that held this long starts the backoff afresh
_MAX_NESTING: Final = 32  # of a frame; a body stands inside three levels of it
_BODY_LEVEL: Final = 3
_MESSAGE_ID: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")


class ClientError(RelayError):
    """Base of what a client raises for reasons outside the calling program."""


class LoginRefused(ClientError):
    """The relay does not accept this login; the client has stopped, trying again is pointless.

    `code` is one of PROTOCOL section 5, or the close code 4401.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"login refused: {reason or 'no reason given'} ({code})")
        self.code = code
        self.reason = reason


class Replaced(ClientError):
    """The same user logged in elsewhere and took this session over; the client has stopped.

    It does not reconnect, or the two would throw each other out for ever.
    """

    def __init__(self) -> None:
        super().__init__("replaced: the same user logged in elsewhere")


class SendRefused(ClientError):
    """The relay refused a send; nobody got it.

    With `retryable`, sending again with the same `message_id` may succeed later, after
    `retry_after_s` where the relay named a time.
    """

    def __init__(self, failure: "SendFailed") -> None:
        super().__init__(f"send refused: {failure.reason} ({failure.code})")
        self.message_id = failure.id
        self.code = failure.code
        self.reason = failure.reason
        self.retry_after_s = failure.retry_after_s
        self.retryable = failure.retryable


class SendUnconfirmed(ClientError):
    """No ack 1 came in time. The relay may or may not have the message.

    Sending again with the same `message_id` and message is always safe: it goes on waiting for
    the send that is under way, or starts it again.
    """

    def __init__(self, message_id: str, waited_s: float) -> None:
        super().__init__(f"send {message_id} not confirmed within {waited_s:g} s")
        self.message_id = message_id


class ClientClosed(ClientError):
    """The client was left or closed before the relay answered."""


class Level(IntEnum):
    """How far a message got at one recipient; it only ever rises."""

    DELIVERED = 2
    READ = 3
    PLAYED = 4


class Connected(msgspec.Struct, frozen=True, tag=True):
    """Logged in; what waited at the relay follows."""


class Disconnected(msgspec.Struct, frozen=True, tag=True):
    """The connection was lost or could not be made; the next attempt is in `retry_in_s`.

    `code` is the WebSocket close code, or None where there was no connection to close.
    """

    code: int | None
    reason: str
    retry_in_s: float


class Message(msgspec.Struct, frozen=True, tag=True):
    """A message for this user.

    `chat` is where an answer goes: the sender's local part, or the group's jid (`...@g.us`).
    `sender` is always a user's local part. `body` is the sender's `message` object, unchecked.
    `t` is the sender's clock in seconds, 0 where unreadable.
    """

    id: str
    chat: str
    sender: str
    body: dict[str, Any]
    t: int

    @property
    def is_group(self) -> bool:
        """Whether it was sent to a group."""
        return self.chat.endswith("@g.us")

    @property
    def text(self) -> str:
        """The text of a plain text message, or an empty string."""
        text = self.body.get("conversation")
        if text is None and isinstance(extended := self.body.get("extendedTextMessage"), dict):
            text = extended.get("text")
        return text if isinstance(text, str) else ""


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """Ack 1: the relay stores the message `id` and will deliver it, whatever crashes."""

    id: str
    chat: str
    t: int


class Receipt(msgspec.Struct, frozen=True, tag=True):
    """`user` got, read or played the message `id` that this user sent to `chat`.

    Given once for each rise of the level; READ may come without DELIVERED and implies it.
    """

    id: str
    chat: str
    user: str
    level: Level
    t: int


class SendFailed(msgspec.Struct, frozen=True, tag=True):
    """The relay refused the message `id`; the client has given it up."""

    id: str
    chat: str
    code: int
    reason: str
    retry_after_s: float | None = None

    @property
    def retryable(self) -> bool:
        """Whether the same id may be accepted later."""
        return self.code in RETRYABLE_CODES


class Refused(msgspec.Struct, frozen=True, tag=True):
    """An error frame that is about no send under way."""

    code: int
    reason: str
    tag: str
    id: str


Event = Connected | Disconnected | Message | Accepted | Receipt | SendFailed | Refused


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one client, and the pace of its reconnects.

    The defaults hold everything that a relay with default limits keeps for one user, so that
    nothing has to be fetched twice.
    """

    unacked_sends: int = 1_000
    held_messages: int = 10_000
    held_bytes: int = 64 * 1024 * 1024
    held_notices: int = 10_000
    # Messages whose repeat is recognised, acks that wait for a connection, and receipts whose
    # repeat is recognised: the oldest are forgotten first.
    remembered: int = 20_000
    frame_bytes: int = 256 * 1024  # the relay's own limit; a larger frame costs the connection
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 30.0


class _Phase(Enum):
    OFFLINE = auto()
    LOGGING_IN = auto()
    ONLINE = auto()
    ENDING = auto()  # the login was refused; the connection is to be closed


# (chat, sender, id): what a message is recognised by when it comes again.
_MessageKey = tuple[str, str, str]
_Value = TypeVar("_Value")


class _Pending(msgspec.Struct, frozen=True):
    chat: str
    message: Mapping[str, Any]
    frame: str


class _Held(msgspec.Struct, frozen=True):
    seq: int
    size: int
    message: Message


class _PendingAck(msgspec.Struct, frozen=True):
    level: Level
    t: int


# The parts of the relay's frames that are read here. Unknown keys are skipped.
class _AuthReply(msgspec.Struct, rename={"retry_after": "retryAfter"}):
    status: Literal["success", "failure"]
    code: int = 0
    reason: str = ""
    retry_after: float | None = None


class _Queue(msgspec.Struct):
    data: str


class _Ack(msgspec.Struct, rename={"sender": "from"}):
    id: str
    ack: int
    to: str
    sender: str
    participant: str = ""
    t: int | str = 0


class _ActionKind(msgspec.Struct):
    add: Literal["relay"]


class _Key(msgspec.Struct):
    id: str
    remoteJid: str
    fromMe: bool = False


class _Element(msgspec.Struct):
    key: _Key
    message: msgspec.Raw
    messageTimestamp: int | str = 0
    participant: str = ""


class _ErrorReport(msgspec.Struct, rename={"retry_after": "retryAfter"}):
    code: int
    reason: str = ""
    tag: str = ""
    id: str = ""
    retry_after: float | None = None


class _Notice(msgspec.Struct, rename={"retry_after": "retryAfter"}):
    kind: str = ""
    retry_after: float | None = None


_TAG = msgspec.json.Decoder(str)
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_BODY = msgspec.json.Decoder(dict[str, Any])
_AUTH_REPLY = msgspec.json.Decoder(_AuthReply)
_QUEUE = msgspec.json.Decoder(_Queue)
_ACK = msgspec.json.Decoder(_Ack)
_ACTION_KIND = msgspec.json.Decoder(_ActionKind)
_ELEMENT = msgspec.json.Decoder(_Element)
_ERROR_REPORT = msgspec.json.Decoder(_ErrorReport)
_NOTICE = msgspec.json.Decoder(_Notice)
_ENCODER = msgspec.json.Encoder()

# What a frame of a relay that is newer, or not well, can make the decoders raise. It costs that
# frame alone. RecursionError is msgspec's answer to nesting beyond Python's own limit.
_NOT_UNDERSTOOD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, JidError, IndexError)


def new_message_id() -> str:
    """Return an id of the customary form, as `3EB0A1ED1B05362823BC`; 64 random bits."""
    return "3EB0" + secrets.token_hex(8).upper()


def chat_name(text: str) -> str:
    """Return the one spelling of a chat that events use: a local part, or a group's jid.

    Raises:
        JidError: neither a user nor a group.
    """
    local, is_group = parse_chat(text)
    return group_jid(local) if is_group else local


def reconnect_delay_s(attempt: int, limits: Limits, jitter: float) -> float:
    """Return how long to wait before attempt number `attempt` (from 0).

    Doubles up to `limits.reconnect_max_s`; `jitter` in [0, 1) spreads it over its upper half, so
    that the clients of a relay that restarts do not all come back in the same moment.
    """
    # 2**20 times any sane minimum is above any sane maximum; more would overflow a float one day.
    longest_s = min(limits.reconnect_max_s, limits.reconnect_min_s * 2.0 ** min(attempt, 20))
    return longest_s * (0.5 + 0.5 * jitter)


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
        self.failure: ClientError | None = None
        self.ignored_frames = 0  # frames, or message elements, that made no sense
        self.dropped_notices = 0
        self.retry_in_s = 0.0  # how long to wait now before connecting again
        self._phase = _Phase.OFFLINE
        self._attempt = 0
        self._opened_at_s = 0.0
        self._refusal: _AuthReply | None = None
        self._notice: _Notice | None = None
        # What to write, in this order of precedence.
        self._auth_due = False
        self._acks: OrderedDict[_MessageKey, _PendingAck] = OrderedDict()
        self._unwritten: deque[str] = deque()  # ids of `_unacked`, for this connection
        self._writing: Callable[[], None] | None = None  # what `frame_sent` has to do
        self._unacked: dict[str, _Pending] = {}
        # What to hand to the application. Both are read in order of their sequence numbers.
        self._next_seq = 0
        self._messages: deque[_Held] = deque()
        self._message_keys: set[_MessageKey] = set()
        self._message_bytes = 0
        self._notices: deque[tuple[int, Event]] = deque()
        self._left_behind = False  # messages were left at the relay, to be fetched again
        self._taken: OrderedDict[_MessageKey, Level] = OrderedDict()
        self._ticks: OrderedDict[_MessageKey, Level] = OrderedDict()

    # -- the connection --------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """Whether the login is accepted on the present connection."""
        return self._phase is _Phase.ONLINE

    @property
    def connection_useless(self) -> bool:
        """Whether the connection is to be closed, the login on it having been refused."""
        return self._phase is _Phase.ENDING

    def connection_opened(self, *, uptime_s: float) -> None:
        """A WebSocket is open: log in on it."""
        self._phase = _Phase.LOGGING_IN
        self._opened_at_s = uptime_s
        self._auth_due = True

    def connection_lost(
        self, code: int | None, reason: str, *, uptime_s: float, jitter: float
    ) -> list[Event]:
        """The connection is gone, or could not be opened; return what happened.

        Afterwards either `failure` is set, or `retry_in_s` says when to connect again.
        """
        if self.online and uptime_s - self._opened_at_s >= _STABLE_S:
            self._attempt = 0
        refusal, notice = self._refusal, self._notice
        self._phase = _Phase.OFFLINE
        self._refusal = self._notice = self._writing = None
        self._auth_due = self._left_behind = False  # the next login sends everything anyway
        if code == _CLOSED_REPLACED or (notice is not None and notice.kind == "replaced"):
            self.failure = Replaced()
            return []
        if refusal is not None and refusal.code not in _RETRYABLE_LOGINS:
            self.failure = LoginRefused(refusal.code, refusal.reason)
            return []
        if code == _CLOSED_AUTH:
            self.failure = LoginRefused(code, reason)
            return []
        events: list[Event] = []
        if code == _CLOSED_TOO_BIG and self._unacked:
            # This relay takes less than `limits.frame_bytes`. It does not say which frame it
            # meant; sending all of them again would lose the connection again, for ever.
            largest = max(self._unacked, key=lambda id_: len(self._unacked[id_].frame))
            events.append(self._send_failed(largest, 413, "frame too big for this relay"))
        asked_s = max(
            (part.retry_after or 0.0 for part in (refusal, notice) if part is not None), default=0.0
        )
        self.retry_in_s = max(
            reconnect_delay_s(self._attempt, self.limits, jitter), min(asked_s, _MAX_RETRY_AFTER_S)
        )
        self._attempt += 1
        if refusal is not None:
            reason = f"login refused: {refusal.reason} ({refusal.code})"
        events.append(Disconnected(code, reason, self.retry_in_s))
        for event in events:
            self._hold_notice(event)
        return events

    def next_frame(self) -> str | None:
        """Return the frame to write now, or None. It stays the next one until `frame_sent`."""
        self._writing = None
        if self._auth_due:
            self._writing = self._auth_sent
            return self._auth_frame()
        if not self.online:
            return None
        if self._acks:
            key, ack = next(iter(self._acks.items()))
            self._writing = lambda: self._ack_sent(key, ack)
            return self._ack_frame(key, ack)
        while self._unwritten:
            message_id = self._unwritten[0]
            if pending := self._unacked.get(message_id):
                self._writing = self._send_sent
                return pending.frame
            self._unwritten.popleft()  # answered, or given up, before it was written
        if self._left_behind and not self._messages:
            self._phase = _Phase.LOGGING_IN
            self._auth_due = True
            return self.next_frame()
        return None

    def frame_sent(self) -> None:
        """The frame that `next_frame` returned last was written.

        What was written may still be lost with the connection: a send is then written again, a
        delivery ack is repeated when the message comes again, a read ack is lost.
        """
        if self._writing is not None:
            self._writing()
            self._writing = None

    def _auth_sent(self) -> None:
        self._auth_due = False

    def _ack_sent(self, key: _MessageKey, ack: _PendingAck) -> None:
        if self._acks.get(key) is ack:  # it may have risen meanwhile
            del self._acks[key]

    def _send_sent(self) -> None:
        self._unwritten.popleft()

    def _auth_frame(self) -> str:
        return _frame("auth", {"type": "new"}, {"remoteJid": user_com(self.user)})

    def _ack_frame(self, key: _MessageKey, ack: _PendingAck) -> str:
        chat, sender, message_id = key
        author, me, t = user_cus(sender), user_cus(self.user), str(ack.t)
        body: dict[str, Any] = {"from": author, "ack": int(ack.level), "cmd": "ack"}
        if chat.endswith("@g.us"):
            return _frame(
                "MsgInfo", body | {"to": chat, "participant": me, "id": message_id, "t": t}
            )
        return _frame("Msg", body | {"to": me, "id": message_id, "t": t})

    # -- what the application asks for -----------------------------------------------------------

    @property
    def unacked(self) -> int:
        """How many sends the relay has not answered yet."""
        return len(self._unacked)

    @property
    def has_room(self) -> bool:
        """Whether another send may be submitted."""
        return len(self._unacked) < self.limits.unacked_sends

    def is_unacked(self, message_id: str) -> bool:
        """Whether the send `message_id` is under way."""
        return message_id in self._unacked

    def submit(self, to: str, message: Mapping[str, Any], message_id: str, *, now_s: int) -> None:
        """Take a send over; it is written to this and each later connection until answered.

        The caller looks at `has_room` first. Repeating a send that is under way changes nothing.

        Raises:
            JidError: `to` is no user and no group.
            ValueError: what no relay would take: the id, an empty, too deep or too large message,
                text that is no Unicode, or an id that is under way with another message.
        """
        chat = chat_name(to)
        if not _MESSAGE_ID.fullmatch(message_id):
            raise ValueError(
                f"an id is 1 to 128 characters, none of them a control character: {message_id!a}"
            )
        if not message:
            raise ValueError("the message is empty")
        if (pending := self._unacked.get(message_id)) is not None:
            if pending.chat == chat and pending.message == message:
                return
            raise ValueError(f"the id {message_id} is under way with another message")
        if (nesting := _nesting(message) + _BODY_LEVEL) > _MAX_NESTING:
            raise ValueError(f"frame of {nesting} nested levels exceeds {_MAX_NESTING}")
        key = {
            "remoteJid": chat if chat.endswith("@g.us") else user_com(chat),
            "fromMe": True,
            "id": message_id,
        }
        element = {"message": message, "key": key, "messageTimestamp": str(now_s)}
        frame = _frame("action", {"add": "relay"}, [element])
        if (size := len(frame.encode())) > self.limits.frame_bytes:
            raise ValueError(f"frame of {size} bytes exceeds frame_bytes={self.limits.frame_bytes}")
        self._unacked[message_id] = _Pending(chat, message, frame)
        self._unwritten.append(message_id)

    def acknowledge(self, message: Message, level: Level, *, now_s: int) -> None:
        """Note that the application took `message` (or read it); the ack is written in time.

        A level that was reached before changes nothing.
        """
        key = (message.chat, message.sender, message.id)
        if self._messages and _key_of(self._messages[0].message) == key:
            self._message_bytes -= self._messages.popleft().size
            self._message_keys.discard(key)
        if level > self._taken.get(key, 0):
            _remember(self._taken, key, level, self.limits.remembered)
            self._ack_again(key, now_s)

    def next_event(self) -> Event | None:
        """Return the next event, or None.

        A `Message` stays the next event until `acknowledge`; every other one is gone.
        """
        if self._messages and (not self._notices or self._messages[0].seq < self._notices[0][0]):
            return self._messages[0].message
        return self._notices.popleft()[1] if self._notices else None

    # -- frames of the relay ---------------------------------------------------------------------

    def receive(self, frame: str | bytes, *, now_s: int) -> list[Event]:
        """Take one frame; return the events in it, which `next_event` will give as well.

        Never raises for anything a relay may send: what makes no sense is counted in
        `ignored_frames`, and what no client of this kind asks for is skipped.
        """
        try:
            events = self._dispatch(_PARTS.decode(frame), now_s)
        except _NOT_UNDERSTOOD:
            self.ignored_frames += 1
            return []
        return events

    def _dispatch(self, frame: list[msgspec.Raw], now_s: int) -> list[Event]:
        match _TAG.decode(frame[0]):
            case "auth":
                return self._on_auth(_AUTH_REPLY.decode(frame[1]))
            case "q":
                return self._on_queue(_QUEUE.decode(frame[1]), now_s)
            case "action":
                _ACTION_KIND.decode(frame[1])
                return self._on_messages(_PARTS.decode(frame[2]), now_s)
            case "Msg" | "MsgInfo":
                return self._on_ack(_ACK.decode(frame[1]))
            case "error":
                return self._on_error(_ERROR_REPORT.decode(frame[1]))
            case "Cmd":
                self._notice = _NOTICE.decode(frame[1])
        return []

    def _on_auth(self, reply: _AuthReply) -> list[Event]:
        if self._phase is not _Phase.LOGGING_IN:
            return []
        if reply.status == "failure":
            self._refusal = reply
            self._phase = _Phase.ENDING
            return []
        self._phase = _Phase.ONLINE
        if self._left_behind:  # the same connection: its sends are still being answered on it
            self._left_behind = False
            return []
        self._unwritten = deque(self._unacked)
        connected = Connected()
        self._hold_notice(connected)
        return [connected]

    def _on_queue(self, queue: _Queue, now_s: int) -> list[Event]:
        events: list[Event] = []
        for entry in _PARTS.decode(queue.data)[1:]:  # element 0 is a constant
            try:
                frame = _PARTS.decode(entry)
                if _TAG.decode(frame[0]) in ("action", "Msg", "MsgInfo"):
                    events += self._dispatch(frame, now_s)
            except _NOT_UNDERSTOOD:
                self.ignored_frames += 1
        return events

    def _on_messages(self, elements: list[msgspec.Raw], now_s: int) -> list[Event]:
        events: list[Event] = []
        for raw in elements:
            try:
                element = _ELEMENT.decode(raw)
                chat = chat_name(element.key.remoteJid)
                sender = parse_user(element.participant) if chat.endswith("@g.us") else chat
                body = _BODY.decode(element.message)
            except _NOT_UNDERSTOOD:
                self.ignored_frames += 1
                continue
            if element.key.fromMe:
                continue  # a copy of an own send; only sessions that ask for them get these
            t = _seconds(element.messageTimestamp)
            message = Message(element.key.id, chat, sender, body, t)
            if self._hold_message(message, len(bytes(raw)), now_s):
                events.append(message)
        return events

    def _hold_message(self, message: Message, size: int, now_s: int) -> bool:
        key = _key_of(message)
        if key in self._message_keys:
            return False
        if key in self._taken:
            self._ack_again(key, now_s)  # the first ack was lost
            return False
        limits = self.limits
        full = len(self._messages) >= limits.held_messages or (
            self._messages and self._message_bytes + size > limits.held_bytes
        )
        if self._left_behind or full:
            self._left_behind = True
            return False
        self._messages.append(_Held(self._seq(), size, message))
        self._message_keys.add(key)
        self._message_bytes += size
        return True

    def _on_ack(self, ack: _Ack) -> list[Event]:
        if parse_user(ack.sender) != self.user:
            return []
        chat = chat_name(ack.to)
        if ack.ack == 1:
            pending = self._unacked.get(ack.id)
            if pending is None or pending.chat != chat:
                return []
            del self._unacked[ack.id]
            event: Event = Accepted(ack.id, chat, _seconds(ack.t))
        else:
            if ack.ack not in tuple(Level):
                return []
            user = parse_user(ack.participant) if chat.endswith("@g.us") else chat
            key, level = (chat, user, ack.id), Level(ack.ack)
            if level <= self._ticks.get(key, 0):
                return []
            _remember(self._ticks, key, level, self.limits.remembered)
            event = Receipt(ack.id, chat, user, level, _seconds(ack.t))
        self._hold_notice(event)
        return [event]

    def _on_error(self, report: _ErrorReport) -> list[Event]:
        event: Event
        if report.tag in ("", "action") and report.id in self._unacked:
            event = self._send_failed(report.id, report.code, report.reason, report.retry_after)
        else:
            event = Refused(report.code, report.reason, report.tag, report.id)
        self._hold_notice(event)
        return [event]

    # -- bookkeeping -----------------------------------------------------------------------------

    def _send_failed(
        self, message_id: str, code: int, reason: str, retry_after_s: float | None = None
    ) -> SendFailed:
        chat = self._unacked.pop(message_id).chat
        return SendFailed(message_id, chat, code, reason, retry_after_s)

    def _ack_again(self, key: _MessageKey, now_s: int) -> None:
        # Beyond the bound the oldest ack is forgotten: its message comes again and is acked then.
        _remember(self._acks, key, _PendingAck(self._taken[key], now_s), self.limits.remembered)

    def _hold_notice(self, event: Event) -> None:
        if len(self._notices) >= self.limits.held_notices:
            self._notices.popleft()
            self.dropped_notices += 1
        self._notices.append((self._seq(), event))

    def _seq(self) -> int:
        self._next_seq += 1
        return self._next_seq


def _key_of(message: Message) -> _MessageKey:
    return message.chat, message.sender, message.id


def _remember(
    memory: "OrderedDict[_MessageKey, _Value]", key: _MessageKey, value: _Value, limit: int
) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > limit:
        memory.popitem(last=False)


def _frame(*parts: object) -> str:
    try:
        return _ENCODER.encode(parts).decode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text that is no Unicode: {error.reason}") from error


def _seconds(t: int | str) -> int:
    try:
        return int(t)
    except ValueError:
        return 0


def _nesting(value: object) -> int:
    """Return how deep containers are nested in `value`; the value itself counts as one."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        if deepest > _MAX_NESTING:
            break
        children: list[object] = []
        for item in level:
            if isinstance(item, Mapping):
                children += item.values()
            elif isinstance(item, list | tuple):
                children += item
        level = [child for child in children if isinstance(child, Mapping | list | tuple)]
    return deepest
