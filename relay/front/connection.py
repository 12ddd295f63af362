"""One client's TCP connection: bytes in and out, pings and deadlines, backpressure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, assert_never, cast

from relay import clock
from relay.auth.contract import Peer
from relay.bus.envelopes import Seq
from relay.front.admission import Visit
from relay.front.deadlines import Deadlines, Overdue
from relay.front.entrance.head import Head
from relay.front.hub import Hub
from relay.front.login import Stage
from relay.front.networks import plain_text
from relay.front.oddframes import Event, PeerClosed, Pong, WholeMessage
from relay.front.output import Closed, Hold, Note, Opened, Output
from relay.front.pinger import Pinger
from relay.front.reading import Reading
from relay.front.session import StanzaReader
from relay.front.turns import LONG_BYTES, LONG_S
from relay.front.websocket import END, WebSocket
from relay.front.writing import Writing
from relay.protocol import closecodes, frames

# What one client gets done in a loop turn: 1 to 2 ms of frames, be they many or large, and one
# large read. After one of 256,000 bytes, which is all that it takes at once, uvloop would read the
# same client up to 31 times more before anybody else; after less it does not.
MAX_FRAMES: Final = 32
MAX_FRAME_BYTES: Final = 32 * 1024
LARGE_READ_BYTES: Final = 128 * 1024
# Less than this is never long work, and not worth a look at the clock.
SHORT_BYTES: Final = 4 * 1024

# A client may not be read for these for long, on and off: it is pinged all the same, so that its
# receipts are confirmed.
_PINGED_HOLDS: Final = Hold.PENDING | Hold.LINK
_SESSION_HOLDS: Final = Hold.LOGIN | Hold.PENDING
_NONE_SHOWN: Final[Mapping[str, str]] = MappingProxyType({})


class Connection(asyncio.Protocol):
    """The transport side of a session: feeds it what comes, and does what it then wants done.

    Over 25 methods, because asyncio calls seven of them and the front nine.
    """

    __slots__ = (
        "_deadlines",
        "_hub",
        "_is_lost",
        "_kept",
        "_pinger",
        "_reading",
        "_short_bytes",
        "_shown",
        "_transport",
        "_visit",
        "_writing",
        "_ws",
        "long_s",
        "session",
    )

    _transport: asyncio.Transport
    _reading: Reading
    _writing: Writing

    def __init__(self, hub: Hub, visit: Visit) -> None:
        self._hub = hub
        self._visit = visit
        self.session = hub.make_session()
        self._ws = WebSocket(hub.settings.limits.frame_bytes)
        self._deadlines = Deadlines()
        self._pinger: Pinger | None = None  # from the handshake on
        self._is_lost = False  # the transport is gone; the session may have some turns yet
        self._kept = b""  # was read, and waits for its turn
        self._shown: Mapping[str, str] = _NONE_SHOWN  # headers of its handshake that a login needs
        self.long_s = 0.0  # see `turns`
        self._short_bytes = SHORT_BYTES  # less than that is short work; 0 where its last was long
        self._bound_frames()

    # ------------------------------------------------------------------------------ transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline for auth, which counts from when the client came."""
        self._transport = cast(asyncio.Transport, transport)
        self._reading = Reading(self._transport)
        self._writing = Writing(self._transport, self, self._hub.flusher, self._hub.framed)
        self._bound_writing()
        deadline_ms = int(self._hub.settings.auth.deadline_s * 1000)
        self._deadlines.expect_login(self._visit.came_ms + deadline_ms)
        if self._hub.visitors.are_logged:
            self._hub.visitors.came(self.session.number, self.address)
        self._hub.opened(self)
        self._reschedule()

    @property
    def address(self) -> object:
        """Where the client is, as its proxy has told, or as the transport has it while open."""
        return self._visit.told_address or self._transport.get_extra_info("peername")

    def _bound_writing(self) -> None:
        high = self._hub.settings.flow.session_pause_bytes
        self._transport.set_write_buffer_limits(high=high, low=high // 4)

    def _bound_frames(self) -> None:
        """Allow large frames once a login was asked for."""
        limits = self._hub.settings.limits
        if self.session.login.stage is Stage.NEW:
            self._ws.bound(limits.first_frame_bytes, one_by_one=True)
        elif self._ws.one_by_one:
            self._ws.bound(limits.frame_bytes, one_by_one=False)

    def settings_changed(self) -> None:
        """Go by the front's present settings; the size of a frame and open deadlines stay."""
        self.session.adopt(self._hub.settings)
        if self._hub.visitors.are_logged:
            self._hub.visitors.knows(self.session.number, self.address)
        if self._pinger is not None:
            self._pinger.adopt(self._hub.settings.keepalive, now_ms=self._hub.clock_ms())
        if not self._transport.is_closing():
            self._bound_writing()
        self._reschedule()

    def watch(self, codec: StanzaReader, framed: Callable[[bytes], bytes]) -> None:
        """Read frames by `codec`, and write texts as `framed` makes frames of them."""
        self.session.read_by(codec)
        self._writing.frame_by(framed)

    @property
    def user(self) -> str:
        """Who is logged in; empty before."""
        return self.session.login.user

    def begin(self, request: Head, raw: bytes) -> None:
        """Answer the request of the handshake, whose whole head is `raw`; frames follow."""
        try:
            if self._ws.begin(request, raw, now_s=clock.now_ms() // 1000):
                self._shown = _chosen(request, self._hub.settings.auth_http.headers)
                keepalive = self._hub.settings.keepalive
                self._pinger = Pinger(keepalive, now_ms=self._hub.clock_ms())
                self._reschedule()
            else:
                self._hub.counters["handshakes_malformed"] += 1
            self._send_output()
        except Exception:
            self.fail()

    def data_received(self, data: bytes) -> None:
        """Take what arrived, or keep it until its turn."""
        ws, turns, length = self._ws, self._hub.turns, len(data)
        turns.read_bytes += length
        if length + ws.held_bytes >= self._short_bytes or not turns.reads:
            self._weigh(data)
            return
        turns.reads -= 1  # it is short, as nearly all are
        try:
            self._read(data)
        except Exception:
            self.fail()
        if ws.is_behind:
            self._wait(is_long=False)

    def _weigh(self, data: bytes) -> None:
        """Take what may be long, or comes late in a turn; or keep it."""
        turns, ws = self._hub.turns, self._ws
        # Before the login its frames are short, or are refused at the head: waiting would only
        # keep the bytes behind that.
        is_long = not ws.one_by_one and len(data) + ws.held_bytes >= LONG_BYTES
        is_long = is_long or self._is_long
        if is_long or (not turns.reads and turns.is_over()):
            self._kept += data
            self._wait(is_long=is_long)
            return
        turns.reads -= 1
        self._take(data)
        if self._ws.is_behind or len(data) >= LARGE_READ_BYTES:
            self._wait(is_long=self._is_long)  # others have their turn first

    @property
    def _is_long(self) -> bool:
        """Whether what it sent last took long."""
        return not self._short_bytes

    def _wait(self, *, is_long: bool) -> None:
        """Read no more until its turn comes."""
        if not self._reading.rests:
            self._reading.rest()
            self._hub.turns.wait(self, is_long=is_long)

    def _take(self, data: bytes) -> None:
        """Take as much as one turn may, and note whether that was long work.

        A fault in it ends this connection and no other (I7).
        """
        clock_s = self._hub.turns.clock_s
        began_s = clock_s()
        try:
            self._read(data)
        except Exception:
            self.fail()
        is_long = clock_s() - began_s > LONG_S
        self._short_bytes = 0 if is_long else SHORT_BYTES

    def _read(self, data: bytes) -> None:
        """Take frames, as many as one turn may; the rest is kept for the next one."""
        now_ms, out, has_text = clock.now_ms(), self.session.out, False
        for frame in self._ws.split(data, max_frames=MAX_FRAMES, max_bytes=MAX_FRAME_BYTES):
            if isinstance(frame, bytes):
                if frame.isascii():  # as nearly all are
                    self.session.receive(frame, now_ms=now_ms)
                else:
                    self._text(frame, now_ms)
                has_text = True
            else:
                self._heard(self._ws.feed(frame.raw))
            if out.has_news:
                self.take()
        if has_text:
            self._confirm()
        self.take()

    def _confirm(self) -> None:
        """Have a frame of the client confirm what a pong has covered for a while (R7)."""
        if self._pinger is not None and self._pinger.awaits_frame:
            self.session.deliveries.confirmed(self._pinger.frame(self._hub.clock_ms()))

    def read_on(self) -> None:
        """Take what the last turn has left, and read again once there is nothing left of it."""
        if self._is_lost:
            self._go()
            return
        self._take_kept()
        if self._ws.is_behind:
            self._hub.turns.wait(self, is_long=self._is_long)
        else:
            self._rested()

    def _rested(self) -> None:
        """Read again; a pong that came meanwhile may now be read."""
        self._reading.rested()
        if self._pinger is not None and self._pinger.awaits_pong:
            self._pinger.excuse(self._hub.clock_ms())
            self._reschedule()

    def _go(self) -> None:
        """Take a turn's worth of what a client has left, or give its session up behind that."""
        if self._ws.is_dropped:
            return
        was_long = self._is_long
        if self._has_left and self._is_live:
            self._take_kept()
        if not self._is_live:  # before or with that
            self._give_up()
        elif self._has_left:
            self._hub.turns.wait(self, is_long=self._is_long)
        elif self.session.held_bytes >= LONG_BYTES and not was_long:
            self._short_bytes = 0  # what its session has yet to take is long work
            self._hub.turns.wait(self, is_long=True)
        else:
            self._give_up()

    @property
    def _has_left(self) -> bool:
        return bool(self._kept) or self._ws.is_behind

    @property
    def _is_live(self) -> bool:
        """Whether its session takes what its client says; a login may be under way."""
        return self.session.login.stage is Stage.LIVE

    def long_turn(self) -> None:
        """Have the session take a frame that has waited, and may be long work."""
        try:
            self.session.long_turn(clock.now_ms())
            self.take()
        except Exception:
            self.fail()

    def _take_kept(self) -> None:
        kept, self._kept = self._kept, b""
        self._take(kept)

    @property
    def has_pending(self) -> bool:
        """Whether something that was read has yet to be taken, or to be answered."""
        return self.session.is_read and (self._has_left or self.session.has_pending)

    def eof_received(self) -> bool:
        """Close when the client has; what it does not take by then is cut off."""
        self.flush()
        self._ws.end()
        if self.session.is_read and self.session.held_bytes < LONG_BYTES:
            self._lose()
        # The transport first writes what waits. From here on no frame may be sent.
        self._deadlines.expect_close(self._hub.clock_ms())
        self._reschedule()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the session up; the queue holds what was not acked.

        Behind what was read of one who is logged in, in the turns that it takes. Until then all
        that bounds connections counts it. What is left of others has no effect any more.
        """
        self._is_lost = True
        self._hub.wheel.cancel(self)
        held_bytes = self.session.held_bytes
        if not self._is_live or not (self._has_left or held_bytes >= LONG_BYTES):
            self._give_up()
            return
        try:
            if not self._deadlines.awaits_reading:
                self.session.deliveries.slowed()  # entries stay in the mailbox
                self.take()
        except Exception:
            self.fail()
        self._wait(is_long=self._is_long or held_bytes >= LONG_BYTES)

    def _give_up(self) -> None:
        """Forget the session, and all of the connection."""
        self._kept = b""
        self._lose()
        if self._hub.visitors.are_logged:
            sent, received = self._ws.close_codes
            number, user = self.session.number, self.session.login.user
            self._hub.visitors.went(number, user, sent=sent, received=received)
        if code := self._ws.own_close_code:
            self._hub.counters[f"connections_closed_{code}"] += 1
        self._writing.drop()
        self._ws.drop()
        self._visit.left()
        self._hub.lost(self)

    def _lose(self) -> None:
        """Tell the session that its connection is gone; a fault in that ends no other one (I7)."""
        try:
            try:
                self.session.lost()
            finally:
                self.take()  # its worker must hear of it whatever else has failed
        except Exception:
            self._hub.log.exception("connection.failed", session=self.session.number)

    def pause_writing(self) -> None:
        """The client does not read: stop taking frames for it and from it."""
        self.hold(Hold.WRITE)
        self._expect_reading()
        self.session.deliveries.slowed()
        self.take()
        self._reschedule()

    def _expect_reading(self) -> None:
        """Expect the client to take some of what waits for it within its time."""
        within_ms = int(self._hub.settings.flow.write_blocked_s * 1000)
        self._deadlines.expect_reading(
            self._hub.clock_ms() + within_ms, self._writing.waiting_bytes
        )

    def resume_writing(self) -> None:
        """The client has read."""
        self._deadlines.has_read()
        self.session.deliveries.drained()
        self.take()
        self.release(Hold.WRITE)
        self._reschedule()

    # ------------------------------------------------------------------------------ WebSocket

    def _heard(self, events: list[Event]) -> None:
        """Take what the WebSocket has made of other bytes than whole texts."""
        for event in events:
            match event:
                case WholeMessage(payload, is_text):
                    if is_text:
                        self._text(payload, clock.now_ms())
                    else:
                        self.session.receive(payload, now_ms=clock.now_ms())
                    self._confirm()
                case Pong(payload):
                    if self._pinger is not None:
                        self._pinger.pong(payload, self._hub.clock_ms())
                case PeerClosed():
                    self.session.lost()
                case _:
                    assert_never(event)
        # What was said before goes ahead of a close frame.
        self._write_texts()
        self._send_output()

    def _text(self, payload: bytes, now_ms: int) -> None:
        try:
            payload.decode()
        except UnicodeDecodeError:
            if self.session.is_read:
                self.session.lost()
                self._write_texts()
                self._ws.fail(closecodes.INVALID_UTF8, "not UTF-8")
                self._send_output()
            return
        self.session.receive(payload, now_ms=now_ms)

    def _write_texts(self) -> None:
        if self.session.out.frames:
            self._writing.texts(self.session.out.frames)

    def _send_output(self) -> None:
        """Send what the WebSocket itself has to say: handshakes, pongs, close frames."""
        for data in self._ws.output():
            if data == END:
                self._writing.end()
            else:
                self._writing.raw(data)
        if self._writing.has_ended or self._ws.is_closing:
            # Whoever closed, and be it the library: what is sent now would not be read, and must
            # not count as sent.
            if self.session.is_read:
                self.session.lost()
            if not self._deadlines.awaits_close:
                self._deadlines.expect_close(self._hub.clock_ms())
                self._reading.await_close()
                self._ws.await_close()
                self._reschedule()

    # ------------------------------------------------------------- what the session wants done

    def take(self) -> None:
        """Do what the session wants done, after something was fed to it."""
        out = self.session.out
        while True:
            if out.frames:
                self._writing.texts(out.frames)
            if out.envelopes is not None:
                links, envelopes = self._hub.links, out.envelopes
                out.envelopes = None
                for slot, content, durable in envelopes:
                    link = links.link_of(slot)
                    link.request(content, durable=durable)
                    if link.is_full:
                        self._hub.wait_for_room(self, link)
            if out.receipts:
                receipts, out.receipts = out.receipts, 0
                self._plan_ping(receipts)
            if not out.has_news:
                return
            self._take_news(out)

    def _plan_ping(self, receipts: int) -> None:
        """Ping behind so many receipts that were written, so that a pong covers them (R7)."""
        if self._pinger is not None and self._pinger.receipts_written(receipts):
            self._pinger.ping_soon(self._hub.clock_ms())
            self._reschedule()

    def _take_news(self, out: Output) -> None:
        out.has_news = False
        if out.credentials is not None:
            credentials, out.credentials = out.credentials, None
            self._hub.checks.begin(self.session, credentials, self._peer())
            out.has_news = True  # what that says goes ahead of a close
            return
        self._hold(out.hold, of=_SESSION_HOLDS)
        self._bound_frames()
        if out.told:
            link = self._hub.links.link_of(self.session.login.slot)
            link.tell_when_done(self.session.number, out.told)
            out.told = 0
        if out.awaits_turn:
            out.awaits_turn = False
            self._hub.turns.wait(LongTurn(self), is_long=True)
        if out.refused_logins:
            for code in out.refused_logins:
                self._hub.visitors.refused(self.session.number, code)
            out.refused_logins = None
        if out.counted:
            self._hub.counters.update(out.counted)
            out.counted = None
        if out.notes:
            for note in out.take_notes():
                self._visited(note)
                try:
                    self._hub.extensions.take(self.session, note)
                except Exception:
                    self.fail()
            self.session.go_on(clock.now_ms())
            out.has_news = True  # what has followed goes ahead of a close
        elif out.closing is not None:
            closing, out.closing = out.closing, None
            self._ws.close(closing.code, closing.reason)
            self._send_output()
            if self._is_lost:
                self._hub.turns.wait(self, is_long=False)  # what it has left means nothing now

    def _visited(self, note: Note) -> None:
        """Count who comes in, and who goes."""
        number, visitors = self.session.number, self._hub.visitors
        if isinstance(note, Opened):
            took_ms = clock.now_ms() - self.session.login.shown_ms
            again = not self._visit.is_unauthenticated
            visitors.logged_in(number, note.user, again=again, took_ms=took_ms)
            self._visit.logged_in()
            self._deadlines.expect_login(0)
            self._expect_token()
            self._hub.tracing.logged_in(number, self)
        elif isinstance(note, Closed):
            visitors.logged_out(number, note.user)

    def _peer(self) -> Peer:
        match self.address:
            case str(host) | (str(host), *_):
                return Peer(plain_text(host), self._shown, self._visit.named)
            case _:
                return Peer("", self._shown, self._visit.named)

    def _expect_token(self) -> None:
        """Have the session end when what its login showed is no longer good (E1).

        By the clock as it is at the login: should it jump later on, nobody is sent away for that.
        """
        until_s = self.session.login.granted.until_s
        left_ms = max(0, until_s * 1000 - clock.now_ms())
        self._deadlines.expect_token(self._hub.clock_ms() + left_ms if until_s else 0)
        self._reschedule()

    # --------------------------------------------------------------------------- for the front

    def deliver(self, seq: Seq, receipt_for: str, frame: bytes) -> None:
        """Deliver a live frame: it goes straight on, since nothing that was before it waits."""
        if self.session.deliveries.takes(seq, receipt_for, frame):
            self._writing.text(frame)
            if receipt_for and seq:
                self._plan_ping(1)
        elif self.session.out.has_news:
            self.take()

    def deliver_receipts(self, seq: Seq, receipt_for: list[str], frames: list[bytes]) -> None:
        """Deliver live receipts that are one entry, as `deliver` does."""
        taken = self.session.deliveries.take_receipts(seq, receipt_for, frames)
        if taken:
            self._plan_ping(len(taken))
            self._writing.texts(taken)
        if self.session.out.has_news:
            self.take()

    def deliver_spread(self, seq: Seq, frame: bytes) -> None:
        """Deliver a large group's frame; it may wait for its turn to be sent."""
        if self.session.deliveries.takes(seq, "", frame):
            self._writing.spread_text(frame)
        elif self.session.out.has_news:
            self.take()

    def hold(self, why: int) -> None:
        """Stop reading from the client."""
        self._hold(why, of=why)

    def release(self, why: int) -> None:
        """Read on if nothing else holds."""
        self._hold(0, of=why)

    def _hold(self, holds: int, *, of: int) -> None:
        if self._reading.hold(holds, of=of):
            if self._pinger is not None:
                self._pinger.excuse(self._hub.clock_ms())
            self._reschedule()

    def fail(self) -> None:
        """End this connection after a fault of ours, inside an except block (I7)."""
        self._hub.log.exception("connection.failed", session=self.session.number)
        self._end(closecodes.INTERNAL, "internal error")

    def leave(self, code: int, reason: str, notice: bytes) -> None:
        """Send the client away; one that has not even finished its handshake is cut."""
        if self._pinger is None:
            self._transport.abort()
        else:
            self._end(code, reason, notice)

    def log_out(self) -> None:
        """End the session: what its client showed at its login is no longer good (E1)."""
        self._end(closecodes.AUTH, "the login is no longer good", frames.DISCONNECT_LOGOUT)

    def _end(self, code: int, reason: str, notice: bytes | None = None) -> None:
        self.session.end(code, reason, notice)
        self.take()

    def flush(self) -> None:
        """Hand what was written to the kernel in one write."""
        if not self._writing.flush():
            return
        if self._deadlines.awaits_reading and not self._deadlines.awaits_close:
            limit = self._hub.settings.flow.session_max_bytes
            if self._writing.waiting_bytes > limit:
                self._end_slow(f"over {limit} bytes wait for the client")

    def _end_slow(self, reason: str) -> None:
        self._hub.counters["slow_readers_closed"] += 1
        self._end(closecodes.SLOW, reason)

    # --------------------------------------------------------------------------------- timers

    def on_timer(self, clock_ms: int) -> None:
        """Do what is due: cut, close or ping."""
        match self._deadlines.overdue(clock_ms, is_logged_in=bool(self.session.login.user)):
            case Overdue.CLOSE:
                self._transport.abort()
                return
            case Overdue.LOGIN:
                if self._pinger is None:
                    self._transport.abort()  # not even a handshake
                    return
                self.session.auth_overdue()
                self.take()
            case Overdue.TOKEN:
                if not self.session.login.awaits_answer:  # or a newer one is being looked at
                    self.log_out()
            case Overdue.READING:
                if self._deadlines.has_read_some(self._writing.waiting_bytes):
                    self._expect_reading()
                else:
                    self._end_slow("the client has not read for too long")
            case None:
                if not self._deadlines.awaits_close and not self._keep_alive(clock_ms):
                    return
        self._reschedule()

    def _keep_alive(self, clock_ms: int) -> bool:
        """Ping if it is time; False where the connection was dead and has been cut."""
        pinger, holds = self._pinger, self._reading.holds
        # Of a client that is not read nobody can tell whether it has answered.
        if pinger is None or holds & ~_PINGED_HOLDS:
            return True
        if self._reading.is_on and pinger.is_dead(clock_ms):
            self._hub.counters["dead_connections_cut"] += 1
            self._transport.abort()
            return False
        if pinger.is_due(clock_ms):
            self._ws.ping(pinger.ping(clock_ms, up_to=self.session.deliveries.written))
            self._send_output()
        return True

    def _reschedule(self) -> None:
        due = self._due_ms()
        if due and not self._is_lost:
            self._hub.wheel.schedule(self, due)

    def _due_ms(self) -> int:
        due = self._deadlines.due_ms(is_logged_in=bool(self.session.login.user))
        pinger, holds = self._pinger, self._reading.holds
        if self._deadlines.awaits_close or pinger is None or holds & ~_PINGED_HOLDS:
            return due
        ping_ms = pinger.due_ms if self._reading.is_on else pinger.ping_due_ms
        return min(due or ping_ms, ping_ms)


def _chosen(request: Head, names: Sequence[str]) -> Mapping[str, str]:
    """Return the headers of these names that are there, each with all its values."""
    if not names:
        return _NONE_SHOWN
    found = {name: request.values(name.lower()) for name in names}
    return {name: ", ".join(values) for name, values in found.items() if values} or _NONE_SHOWN


class LongTurn:
    """A turn for long work of a session that may be read meanwhile, or not."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def long_s(self) -> float:
        """What the connection has had, be it so or read on."""
        return self._connection.long_s

    @long_s.setter
    def long_s(self, value: float) -> None:
        self._connection.long_s = value

    def read_on(self) -> None:
        """Have it."""
        self._connection.long_turn()
