"""A session: one client's way from login to live traffic, without I/O.

Frames from the client and envelopes from its worker go in; frames, requests and closing go out
through a `Port`. What order clients see is decided here: the auth answer, then every `q`, then
live frames (2.2.2); acks 1 in the order of the sends, and no receipt before the ack 1 of its
message (2.3.4).
"""

from __future__ import annotations

import enum
import secrets
from collections import deque
from typing import Protocol, assert_never

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    QUEUE,
    Acked,
    CloseSession,
    Confirmed,
    Entry,
    OpenSession,
    Page,
    Pause,
    Ready,
    SendToGroup,
    SendToUser,
    ToWorker,
)
from relay.errors import FrameError
from relay.protocol import frames
from relay.protocol.codec import Codec
from relay.protocol.queueframe import QueuePacker
from relay.protocol.slots import slot_of
from relay.protocol.stanza import Ack, Action, Auth, InvalidAuth, Keepalive, Send
from relay.settings.tables import Settings

CLOSE_POLICY = 1008
CLOSE_INTERNAL = 1011
CLOSE_AUTH = 4401
CLOSE_REPLACED = 4409

# Sends without an answer of one session before no more of its frames are taken. Everyone else's
# wait behind them at the worker, so this is what a sender that floods costs the others (I7); and
# one worker that is away must not let the answers of the others pile up behind its own (I6). Enough
# to keep a worker busy during a commit: `python -m tests.trials flood` shows both sides.
MAX_PENDING_SENDS = 32
# What is held behind them until the client is not read any more.
MAX_HELD_BYTES = 256 * 1024
_HELD_OVERHEAD = 64  # of a frame in memory, so that tiny ones count
_SENDS_PER_SESSION = 1 << 32


class Hold(enum.Flag):
    """Why a connection is not read for now."""

    LOGIN = enum.auto()  # its login is being answered; what follows counts only after that
    WRITE = enum.auto()  # it does not read what it is sent
    LINK = enum.auto()  # a worker is behind
    PENDING = enum.auto()  # too much is held behind sends that wait for an answer
    DRAIN = enum.auto()  # the front is about to stop


class Port(Protocol):
    """What a session does to the world."""

    def write(self, frame: bytes) -> None:
        """Send a text frame, in the order of the calls."""

    def close(self, code: int, reason: str) -> None:
        """Send what was written, then a close frame; no more frames come in."""

    def request(self, slot: int, envelope: ToWorker, *, durable: bool) -> None:
        """Send an envelope to the worker of `slot`; again to the next one if it is `durable`."""

    def hold(self, why: Hold) -> None:
        """Stop reading from the client."""

    def release(self, why: Hold) -> None:
        """Read on, if no other reason to wait is left."""

    def receipt_written(self) -> None:
        """A receipt was written: ping soon, so that its pong confirms it."""

    def count(self, what: str) -> None:
        """Count something that was dropped."""


class State(enum.Enum):
    """How far a session is."""

    NEW = enum.auto()  # not logged in
    LOGGING_IN = enum.auto()  # the worker was asked
    QUEUE = enum.auto()  # logged in, `q` frames are on their way
    LIVE = enum.auto()  # the queue was sent
    ENDED = enum.auto()  # closing; nothing is taken or sent any more


# Looked at for every frame; a member of an enum takes five times as long to find.
_LIVE = State.LIVE


class _Pending:
    """A send that waits for its answer, or for the answers of those before it."""

    __slots__ = ("answer", "chat", "is_group", "message_id", "receipts")

    def __init__(self, message_id: str, chat: str, is_group: bool, answer: bytes | None) -> None:
        self.message_id = message_id
        self.chat = chat
        self.is_group = is_group
        self.answer = answer
        self.receipts: list[Entry] = []  # came before the ack 1, and go after it


class Session:
    """One client connection, seen from the protocol. `number` is unique within the front."""

    __slots__ = (
        "_answered",
        "_asked_ms",
        "_auth",
        "_awaits_page",
        "_by_id",
        "_codec",
        "_cursor",
        "_failures",
        "_has_rate",
        "_held",
        "_held_bytes",
        "_held_ms",
        "_is_blocked",
        "_is_full",
        "_is_paused",
        "_owes_ready",
        "_packer",
        "_pages",
        "_pending",
        "_port",
        "_queue_receipts",
        "_rate_at_ms",
        "_rate_tokens",
        "_receipts",
        "_request",
        "_settings",
        "_slot",
        "_stashed",
        "_state",
        "_strikes",
        "_was_live",
        "number",
        "user",
    )

    def __init__(self, number: int, port: Port, codec: Codec, settings: Settings) -> None:
        self.number = number
        self.user = ""
        self._port = port
        self._codec = codec
        self._settings = settings
        self._state = State.NEW
        self._slot = 0
        self._auth: Auth | None = None  # the login that is being answered
        self._asked_ms = 0  # when it came
        self._was_live = False  # that login is a repeated one
        # Frames that came behind it. An empty deque takes 600 bytes, and few sessions need one.
        self._held: deque[bytes] | None = None
        self._failures = 0
        self._strikes: list[int] = []  # when malformed frames came, in ms
        self._has_rate = settings.limits.frames_per_s > 0
        self._rate_tokens = float(settings.limits.frames_burst)
        self._rate_at_ms = 0
        self._request = number * _SENDS_PER_SESSION
        self._answered = self._request  # the last of them that was answered
        self._pending: dict[int, _Pending] = {}  # the sends behind it
        self._by_id: dict[str, _Pending] = {}
        self._is_full = False  # too many of them: what its client says further waits in `_held`
        self._held_bytes = 0
        self._held_ms = 0  # when the last of it came
        self._cursor = 0  # the last entry taken from the worker
        self._packer: QueuePacker | None = None
        self._queue_receipts = 0  # the last receipt in the `q` that is being packed
        self._receipts = 0  # the last receipt that was written
        self._stashed: dict[int, None] = {}  # receipts that were taken but wait in a _Pending
        self._is_blocked = False  # the client does not read
        # Live frames are dropped: they come again in the page that is asked for next.
        self._is_paused = False
        self._owes_ready = False
        # A page is on its way. Until it is here live frames are dropped: they come in it.
        self._awaits_page = False
        self._pages = 0  # taken since the worker opened the session

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from here on; a queue that is being sent keeps its frame size."""
        self._settings = settings
        self._has_rate = settings.limits.frames_per_s > 0

    @property
    def slot(self) -> int:
        """The slot whose worker serves this session; meaningful once `has_worker`."""
        return self._slot

    @property
    def has_worker(self) -> bool:
        """Whether a worker was asked to serve this session."""
        state = self._state
        return state is _LIVE or state is State.QUEUE or state is State.LOGGING_IN

    @property
    def is_logged_in(self) -> bool:
        """Whether a login has succeeded."""
        return bool(self.user)

    @property
    def is_read(self) -> bool:
        """Whether the session takes frames from its client."""
        return self._state is not State.ENDED

    @property
    def has_pending(self) -> bool:
        """Whether a send waits for its answer."""
        return bool(self._pending)

    @property
    def cursor(self) -> int:
        """The entry up to which all has been given to the port."""
        return self._cursor

    @property
    def receipts_written(self) -> int:
        """The entry up to which every receipt has been written; a ping sent now covers them."""
        return min(self._receipts, min(self._stashed, default=self._receipts + 1) - 1)

    # ------------------------------------------------------------------------ from the client

    def receive(self, payload: bytes, *, now_ms: int) -> None:
        """Take the payload of one message, within the size limit; a text is valid UTF-8."""
        state = self._state
        if state is not _LIVE or self._is_full:
            if state is State.ENDED:
                return
            if state is not State.NEW:
                if self._held is None:
                    self._held = deque()
                self._held.append(payload)
                self._held_ms = now_ms
                self._held_bytes += len(payload) + _HELD_OVERHEAD
                # Until then it is read, so that its pings and pongs are. At a login reading is on
                # hold already.
                if self._held_bytes >= MAX_HELD_BYTES:
                    self._port.hold(Hold.PENDING)
                return
        try:
            stanza = self._codec.decode(payload, user=self.user, now_s=now_ms // 1000)
        except FrameError as error:
            if not self.user and error.tag:
                error.code, error.reason = 401, "not authenticated"
            self.refuse(error, now_ms=now_ms)
            return
        match stanza:
            case Action():
                if not self.user:
                    self.refuse(_unauthenticated("action"), now_ms=now_ms)
                elif self._has_rate and self._is_too_fast(now_ms):
                    for element in stanza.elements:
                        self._take(self._too_fast("action", element))
                else:
                    for element in stanza.elements:
                        self._take(element)
            case Ack():
                if not self.user:
                    self.refuse(_unauthenticated(stanza.tag), now_ms=now_ms)
                elif self._has_rate and self._is_too_fast(now_ms):
                    self._write_error(self._too_fast(stanza.tag))
                else:
                    self._acked(stanza)
            case Auth():
                self._log_in(stanza, now_ms)
            case InvalidAuth():
                self._fail_auth(400, stanza.reason)
            case Keepalive():
                self._port.write(frames.keepalive_answer(now_ms))
            case _:
                assert_never(stanza)

    def refuse(self, error: FrameError, *, now_ms: int) -> None:
        """Answer a frame that is no stanza; too many of them end the connection (R28)."""
        if self._state is State.ENDED:
            return
        self._write_error(error)
        limits = self._settings.limits
        strikes = self._strikes
        strikes.append(now_ms)
        while strikes[0] <= now_ms - int(limits.malformed_window_s * 1000):
            del strikes[0]
        if len(strikes) >= limits.malformed_frames:
            self.end(CLOSE_POLICY, "too many malformed frames")

    def auth_overdue(self) -> None:
        """End the session unless it has logged in; its time for that is over (2.2.5)."""
        if self._state is State.NEW:
            self.end(CLOSE_AUTH, "no successful auth in time")

    def lost(self, *, written: int | None = None) -> None:
        """The connection is gone; entries reached it up to `written`, or all where that is None."""
        try:
            while self._is_full and self._held and self._state is State.LIVE:
                # Its client said these before it went.
                self._is_full = False
                self.receive(self._next_held(), now_ms=self._held_ms)
                self._is_full = True
        finally:
            if self.has_worker:
                # Of a queue that is being packed only some is written; it counts when all is.
                cursor = 0
                if self._state is State.LIVE:
                    cursor = self._cursor if written is None else written
                self._port.request(self._slot, CloseSession(self.number, cursor), durable=False)
            self._state = State.ENDED
            self._held = None
            self._pending.clear()  # their answers have no reader
            self._by_id.clear()

    def end(self, code: int, reason: str, notice: bytes | None = None) -> None:
        """Close the connection, after a last frame if one is given."""
        if self._state is State.ENDED:
            return
        if notice is not None:
            self._port.write(notice)
        self._held = None
        self.lost()
        self._port.close(code, reason)

    def _write_error(self, error: FrameError) -> None:
        self._port.write(_error_frame(error))

    # ---------------------------------------------------------------------------------- login

    def _log_in(self, auth: Auth, now_ms: int) -> None:
        if self.user and auth.user != self.user:
            self._fail_auth(405, "this connection is logged in as another user")
            return
        self._auth = auth
        self._asked_ms = now_ms
        self._was_live = self._state is State.LIVE
        self._state = State.LOGGING_IN
        self._slot = slot_of(auth.user)
        self._port.hold(Hold.LOGIN)
        self._port.request(self._slot, OpenSession(self.number, auth.user, LOGIN, 0), durable=False)

    def _fail_auth(self, code: int, reason: str, retry_after_s: float | None = None) -> None:
        self._port.write(frames.auth_failure(code=code, reason=reason, retry_after_s=retry_after_s))
        self._failures += 1
        if self._failures >= self._settings.auth.max_failures:
            self.end(CLOSE_AUTH, "too many failed auths")

    def opened(self) -> None:
        """The worker serves the session; pages of its queue follow."""
        if self._state is not State.LOGGING_IN:
            return
        auth = self._auth
        assert auth is not None, "a login is being answered"
        self.user = auth.user
        self._state = State.QUEUE
        self._failures = 0
        self._cursor = 0
        self._forget_flow()
        for pending in self._pending.values():
            pending.receipts.clear()  # they come again, in the pages
        self._stashed.clear()
        self._receipts = 0
        self._packer = QueuePacker(self._settings.flow.q_frame_bytes)
        self._queue_receipts = 0
        self._port.write(
            frames.auth_success(
                names_caps=auth.names_caps, resume=auth.resume, session_id=secrets.token_hex(8)
            )
        )

    def refused(self, code: int, reason: str, retry_after_s: int, *, now_ms: int) -> None:
        """The worker does not serve the session; a repeated login leaves it as it was.

        One that was announced ends: its client would hear of nothing any more.
        """
        if self._state is not State.LOGGING_IN:
            self.end(CLOSE_INTERNAL, reason)
            return
        self._state = State.LIVE if self._was_live else State.NEW
        self._fail_auth(code, reason, retry_after_s)
        self._steer()
        self._go_on(now_ms)

    def ended_elsewhere(self) -> None:
        """The same user and device logged in elsewhere (R27)."""
        if self._state is not State.ENDED:
            self.end(CLOSE_REPLACED, "replaced", frames.DISCONNECT_REPLACED)

    def announce(self) -> None:
        """Tell a new incarnation of the worker where the session stands (I9)."""
        match self._state:
            case State.LOGGING_IN:
                assert self._auth is not None, "a login is being answered"
                envelope = OpenSession(self.number, self._auth.user, LOGIN, 0)
            case State.QUEUE:
                envelope = OpenSession(self.number, self.user, QUEUE, self._cursor, self._asked_ms)
            case State.LIVE:
                envelope = OpenSession(self.number, self.user, LIVE, self._cursor, self._asked_ms)
            case State.NEW | State.ENDED:
                return
            case _:
                assert_never(self._state)
        self._forget_flow()
        self._port.request(self._slot, envelope, durable=False)
        self._steer()

    def _forget_flow(self) -> None:
        """Forget what was agreed with a worker about pages; it starts anew, and sends one."""
        self._is_paused = self._owes_ready = self._awaits_page = False
        self._pages = 0

    def _go_on(self, now_ms: int) -> None:
        """Take the frames that had to wait, until the next login or too many sends."""
        while self._held and self._state in (State.NEW, State.LIVE) and not self._is_full:
            self.receive(self._next_held(), now_ms=now_ms)
        if self._held_bytes <= MAX_HELD_BYTES // 2:
            self._port.release(Hold.PENDING)
        if (not self._held or self._is_full) and self._state in (State.NEW, State.LIVE):
            self._port.release(Hold.LOGIN)

    def _next_held(self) -> bytes:
        assert self._held
        payload = self._held.popleft()
        self._held_bytes -= len(payload) + _HELD_OVERHEAD
        return payload

    # ------------------------------------------------------------------------------- delivery

    def page(self, page: Page, *, now_ms: int) -> None:
        """Take a stretch of the mailbox, in `q` frames while the queue is being sent."""
        if not self.has_worker:
            return
        self._awaits_page = False
        self._pages += 1
        if self._state is State.LOGGING_IN:
            self._is_paused = True  # it comes again, in the `q` or after the refusal
            return
        if page.entries:
            self._cursor = page.entries[-1].seq
        if page.queue and self._packer is not None:
            queue = [entry for entry in page.entries if not self._stash(entry)]
            for frame in self._packer.add(entry.frame for entry in queue):
                self._port.write(frame)
            for entry in queue:
                if entry.receipt_for:
                    self._queue_receipts = entry.seq
        else:
            for entry in page.entries:
                self._write_entry(entry)
        if page.last and self._packer is not None:
            for frame in self._packer.finish():
                self._port.write(frame)
            self._packer = None
            if self._queue_receipts:
                self._note_receipt(self._queue_receipts)
            self._state = State.LIVE
            self._answer()
        self._owes_ready = page.more
        self._steer()
        if page.last:
            self._go_on(now_ms)

    def deliver(self, seq: int, receipt_for: str, frame: bytes) -> None:
        """Take a live frame; while the client is slow it stays in the mailbox instead."""
        if self._is_paused or self._awaits_page or not self.has_worker:
            if not seq:
                self._port.count("stray_receipts_dropped")
            return
        if seq:
            self._cursor = seq
        if receipt_for:
            self._write_receipt(seq, receipt_for, frame)
        else:
            self._port.write(frame)

    def _write_entry(self, entry: Entry) -> None:
        if entry.receipt_for:
            self._write_receipt(entry.seq, entry.receipt_for, entry.frame)
        else:
            self._port.write(entry.frame)

    def _write_receipt(self, seq: int, receipt_for: str, frame: bytes) -> None:
        if receipt_for in self._by_id and self._stash(Entry(seq, receipt_for, frame)):
            return
        if seq:
            self._note_receipt(seq)
        self._port.write(frame)

    def _stash(self, entry: Entry) -> bool:
        """Keep a receipt whose message has yet to get its ack 1; False for any other entry."""
        pending = self._by_id.get(entry.receipt_for) if entry.receipt_for else None
        if pending is None:
            return False
        pending.receipts.append(entry)
        if entry.seq:
            self._stashed[entry.seq] = None
        return True

    def _note_receipt(self, seq: int) -> None:
        if seq > self._receipts:
            self._receipts = seq
        self._port.receipt_written()

    def confirmed(self, seq: int) -> None:
        """A pong confirmed every receipt up to `seq`."""
        if self._state is State.LIVE and seq:
            self._port.request(self._slot, Confirmed(self.number, seq), durable=True)

    def blocked(self) -> None:
        """The client does not read what was written: take nothing more for it."""
        self._is_blocked = True
        self._steer()

    def drained(self) -> None:
        """The client has read what was written."""
        self._is_blocked = False
        self._steer()

    def _steer(self) -> None:
        """Ask the worker for the next page or to pause, as the client's pace has it."""
        if self._awaits_page or self._state not in (State.QUEUE, State.LIVE):
            return  # the page, or the answer to the login, comes first
        if self._is_blocked:
            if self._state is State.LIVE and not self._owes_ready and not self._is_paused:
                self._is_paused = True
                self._port.request(self._slot, Pause(self.number, self._cursor), durable=False)
        elif self._is_paused or self._owes_ready:
            self._is_paused = self._owes_ready = False
            self._awaits_page = True
            self._port.request(
                self._slot, Ready(self.number, self._cursor, self._pages), durable=False
            )

    # -------------------------------------------------------------------------------- sending

    def _take(self, element: Send | FrameError) -> None:
        if isinstance(element, FrameError):
            self._refuse_send(element)
            return
        chat, message_id = element.chat, element.message_id
        pending = _Pending(message_id, chat, element.is_group, None)
        self._by_id[message_id] = pending
        self._port.request(
            slot_of(chat),
            (SendToGroup if element.is_group else SendToUser)(
                self._await(pending),
                self.user,
                chat,
                message_id,
                element.time_s,
                element.digest,
                element.frame,
            ),
            durable=True,
        )

    def _await(self, pending: _Pending) -> int:
        """Put a send in the line of those that wait for their turn; return its request number."""
        self._request += 1
        self._pending[self._request] = pending
        if len(self._pending) >= MAX_PENDING_SENDS and not self._is_full:
            self._is_full = True
        return self._request

    def _refuse_send(self, error: FrameError) -> None:
        """Answer a send that goes nowhere, in its turn (R23)."""
        if not self._pending:
            self._write_error(error)
            return
        self._await(_Pending("", "", False, _error_frame(error)))

    def stored(self, request: int, time_s: int) -> None:
        """A send is on stable storage: ack 1, in its turn."""
        pending = self._pending.get(request)
        if pending is None:
            return
        if pending.is_group:
            pending.answer = frames.stored_for_group(
                message_id=pending.message_id, author=self.user, group=pending.chat, time_s=time_s
            )
        else:
            pending.answer = frames.stored_for_user(
                message_id=pending.message_id,
                author=self.user,
                recipient=pending.chat,
                time_s=time_s,
            )
        self._answer()

    def send_refused(self, request: int, code: int, reason: str) -> None:
        """A send was not stored: an error, in its turn (R29)."""
        pending = self._pending.get(request)
        if pending is None:
            return
        pending.answer = frames.error(
            code=code,
            reason=reason,
            tag="action",
            message_id=pending.message_id,
            retry_after_s=1 if code == 503 else None,
        )
        self._answer()

    def _answer(self) -> None:
        """Write the answers that are complete from the oldest send on (2.3.4)."""
        if self._state is State.QUEUE:
            return  # they come behind the last `q` (2.2.2)
        while pending := self._pending.get(self._answered + 1):
            if pending.answer is None:
                break
            self._answered += 1
            self._port.write(pending.answer)
            del self._pending[self._answered]
            if self._by_id.get(pending.message_id) is pending:
                del self._by_id[pending.message_id]
            for entry in pending.receipts:
                self._stashed.pop(entry.seq, None)
                self._write_entry(entry)
        # Not before half is answered, so that a flood goes on by the batch, not by the message.
        if self._is_full and len(self._pending) <= MAX_PENDING_SENDS // 2:
            self._is_full = False
            self._go_on(self._held_ms)

    def _acked(self, ack: Ack) -> None:
        self._port.request(
            self._slot,
            Acked(
                self.user,
                ack.message_ids,
                ack.level,
                ack.author,
                ack.author_is_group,
                ack.chat,
                ack.chat_is_group,
                -1 if ack.time_s is None else ack.time_s,
            ),
            durable=True,
        )

    # ----------------------------------------------------------------------------- rate limit

    def _is_too_fast(self, now_ms: int) -> bool:
        """Take a token for a frame, where the operator set a rate; True if none is left."""
        limits = self._settings.limits
        # The clock may go back, which must not cost tokens.
        refilled = max(0, now_ms - self._rate_at_ms) / 1000 * limits.frames_per_s
        self._rate_tokens = min(limits.frames_burst, self._rate_tokens + refilled)
        self._rate_at_ms = now_ms
        if self._rate_tokens < 1:
            return True
        self._rate_tokens -= 1
        return False

    def _too_fast(self, tag: str, element: Send | FrameError | None = None) -> FrameError:
        if isinstance(element, FrameError) and element.is_of_shape:
            return element  # which comes first (2.3.2)
        rate = self._settings.limits.frames_per_s
        return FrameError(
            429,
            f"more than {rate:g} frames a second",
            tag=tag,
            message_id=element.message_id if element else "",
            retry_after_s=max(1, round(1 / rate)),
        )


def _unauthenticated(tag: str) -> FrameError:
    return FrameError(401, "not authenticated", tag=tag)


def _error_frame(error: FrameError) -> bytes:
    return frames.error(
        code=error.code,
        reason=error.reason,
        tag=error.tag,
        message_id=error.message_id,
        retry_after_s=error.retry_after_s,
    )
