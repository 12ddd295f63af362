"""One client's TCP connection: WebSocket frames in and out, pings and deadlines, backpressure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from relay.bus.envelopes import ToWorker
from relay.front.pinger import Pinger
from relay.front.session import CLOSE_INTERNAL, Hold, Session
from relay.front.wire import FrameSplitter

if TYPE_CHECKING:
    from relay.front.listener import Front

CLOSE_INVALID_UTF8 = 1007
CLOSE_SLOW = 1013

# How long a peer may take to answer a close frame before the connection is cut.
CLOSE_TIMEOUT_MS = 5_000

# What one client gets done in a loop turn: 1 to 2 ms of frames, be they many or large, and one
# large read. After one of 256,000 bytes, which is all that it takes at once, uvloop would read the
# same client up to 31 times more before anybody else; after less it does not.
MAX_FRAMES = 32
MAX_FRAME_BYTES = 32 * 1024
LARGE_READ_BYTES = 128 * 1024

# A client may not be read for these for long, on and off: it is pinged all the same, so that its
# receipts are confirmed.
_PINGED_HOLDS = Hold.PENDING | Hold.LINK


class Connection(asyncio.Protocol):
    """The transport side of a session."""

    __slots__ = (
        "_auth_due_ms",
        "_blocked_bytes",
        "_blocked_due_ms",
        "_close_due_ms",
        "_dirty",
        "_eof_sent",
        "_fragments",
        "_front",
        "_head_end",
        "_holds",
        "_is_binary",
        "_out",
        "_pinger",
        "_rests",
        "_splitter",
        "_transport",
        "_written",
        "_ws",
        "session",
    )

    def __init__(self, front: Front) -> None:
        self._front = front
        settings = front.settings
        self._ws = self._protocol(State.CONNECTING)
        self.session = Session(front.next_session_number(), self, front.codec, settings)
        self._transport: asyncio.Transport
        self._pinger: Pinger | None = None  # from the handshake on
        self._head_end = b""  # of the handshake, as far as it came: its last three bytes
        # From the handshake on, until it finds what only the library can make something of.
        self._splitter: FrameSplitter | None = None
        self._out: list[bytes] = []
        self._written = 0  # the session's cursor as of the last write
        self._dirty = False
        self._eof_sent = False
        self._holds = Hold(0)
        self._rests = False  # not read until the next loop turn
        self._fragments = bytearray()
        self._is_binary = False
        self._auth_due_ms = 0
        self._blocked_due_ms = 0
        self._blocked_bytes = 0
        self._close_due_ms = 0

    def _protocol(self, state: State) -> ServerProtocol:
        limits = self._front.settings.limits
        return ServerProtocol(
            max_size=limits.frame_bytes, logger=self._front.ws_logger, state=state
        )

    # ------------------------------------------------------------------------------ transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline for auth, which covers the handshake too."""
        self._transport = cast(asyncio.Transport, transport)
        self._bound_writing()
        now_ms = self._front.clock_ms()
        self._auth_due_ms = now_ms + int(self._front.settings.auth.deadline_s * 1000)
        self._front.opened(self)
        self._reschedule()

    def _bound_writing(self) -> None:
        high = self._front.settings.flow.session_pause_bytes
        self._transport.set_write_buffer_limits(high=high, low=high // 4)

    def settings_changed(self) -> None:
        """Go by the front's present settings; the size of a frame and open deadlines stay."""
        self.session.adopt(self._front.settings)
        if self._pinger is not None:
            keepalive = self._front.settings.keepalive
            self._pinger.adopt(keepalive, now_ms=self._front.clock_ms())
        if not self._transport.is_closing():
            self._bound_writing()
        self._reschedule()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; a fault in doing so ends this connection and no other (I7)."""
        try:
            frames = self._take_head(data) if self._pinger is None else data
            if frames:
                self._take(frames)
        except Exception:
            self.fail()
        if not self._rests and (self._is_behind or len(data) >= LARGE_READ_BYTES):
            self._rest()

    def _take_head(self, data: bytes) -> bytes:
        """Give the library what is the handshake's; return what is behind it."""
        seen = self._head_end + data
        at = seen.find(b"\r\n\r\n")
        end = len(data) if at < 0 else at + 4 - len(self._head_end)
        self._head_end = seen[-3:] if at < 0 else b""
        self._feed_library(data[:end])
        return data[end:]

    def _take(self, data: bytes) -> None:
        """Take frames, as many as one turn may; the splitter keeps the rest."""
        splitter = self._splitter
        if splitter is None:
            self._feed_library(data)
            return
        frames = splitter.feed(data, max_frames=MAX_FRAMES, max_bytes=MAX_FRAME_BYTES)
        if splitter.gave_up:
            self._splitter = None
        now_ms = self._front.now_ms()
        for frame in frames:
            if isinstance(frame, bytes):
                self._text(frame, now_ms)
            else:
                self._feed_library(frame.raw)

    def _take_more(self) -> None:
        try:
            self._take(b"")
        except Exception:
            self.fail()

    @property
    def _is_behind(self) -> bool:
        splitter = self._splitter
        return splitter is not None and splitter.is_behind

    @property
    def has_pending(self) -> bool:
        """Whether something that was read has yet to be taken, or to be answered."""
        return self.session.is_read and (self._is_behind or self.session.has_pending)

    def _rest(self) -> None:
        """Do no more for this client until others have had their turn."""
        self._rests = True
        if not self._transport.is_closing():
            self._transport.pause_reading()
        self._front.next_turn(self)

    def read_on(self) -> None:
        """Take what the last turn has left, and read again once there is nothing left of it."""
        if self._is_behind:
            self._take_more()
        if self._is_behind:
            self._front.next_turn(self)
            return
        self._rests = False
        if (not self._holds or self._close_due_ms) and not self._transport.is_closing():
            self._transport.resume_reading()

    def _feed_library(self, data: bytes) -> None:
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._take_ws_output()

    def eof_received(self) -> bool:
        """Close when the client has; what it does not take by then is cut off."""
        self._flush()
        self._ws.receive_eof()
        if self.session.is_read:
            self._end_session()
        # The transport first writes what waits. From here on no frame may be sent.
        if not self._close_due_ms:
            self._close_due_ms = self._front.clock_ms() + CLOSE_TIMEOUT_MS
            self._reschedule()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the session up; the queue holds what was not acked."""
        while self._is_behind:
            self._take_more()
        self._end_session()
        self._out.clear()
        self._front.lost(self)

    def _end_session(self) -> None:
        """Tell the session that its connection is gone; a fault in that ends no other one (I7)."""
        try:
            self.session.lost(written=self._written)
        except Exception:
            self._front.log.exception("connection.failed", session=self.session.number)

    def pause_writing(self) -> None:
        """The client does not read: stop taking frames for it and from it."""
        self.hold(Hold.WRITE)
        self._watch_writing()
        self.session.blocked()
        self._reschedule()

    def _watch_writing(self) -> None:
        """Expect the client to take some of what waits for it within its time."""
        flow = self._front.settings.flow
        self._blocked_due_ms = self._front.clock_ms() + int(flow.write_blocked_s * 1000)
        self._blocked_bytes = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The client has read."""
        self._blocked_due_ms = 0
        self.session.drained()
        self.release(Hold.WRITE)
        self._reschedule()

    # ------------------------------------------------------------------------------ WebSocket

    def _handshake(self, request: Request) -> None:
        response = self._ws.accept(request)
        self._ws.send_response(response)
        self._take_ws_output()
        if self._ws.state is State.OPEN:
            self._pinger = Pinger(self._front.settings.keepalive, now_ms=self._front.clock_ms())
            self._reschedule()
            self._splitter = FrameSplitter(self._front.settings.limits.frame_bytes)
            # Without the request and the answer, which the first one keeps: 2 KiB a client.
            self._ws = self._protocol(State.OPEN)

    def _frame(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                self._is_binary = frame.opcode is Opcode.BINARY
                if frame.fin:
                    self._message(bytes(frame.data))
                else:
                    self._fragments = bytearray(frame.data)
            case Opcode.CONT:
                # The library bounds the sum of the fragments, not their number.
                self._fragments += frame.data
                if frame.fin:
                    whole, self._fragments = bytes(self._fragments), bytearray()
                    self._message(whole)
            case Opcode.PONG:
                if self._pinger is not None:
                    self.session.confirmed(self._pinger.pong(bytes(frame.data)))
            case Opcode.CLOSE:
                self.session.lost()
            case Opcode.PING:
                pass  # the library has answered

    def _message(self, payload: bytes) -> None:
        if self._is_binary:
            self.session.receive(payload, now_ms=self._front.now_ms())
        else:
            self._text(payload, self._front.now_ms())

    def _text(self, payload: bytes, now_ms: int) -> None:
        if not payload.isascii():
            try:
                payload.decode()
            except UnicodeDecodeError:
                if self.session.is_read:
                    self.session.lost()
                    self._ws.fail(CLOSE_INVALID_UTF8, "not UTF-8")
                    self._take_ws_output()
                    self._start_close_timeout()
                return
        self.session.receive(payload, now_ms=now_ms)

    def _take_ws_output(self) -> None:
        """Queue what the library wants to send: handshakes, pongs, close frames."""
        for data in self._ws.data_to_send():
            if data == SEND_EOF:
                self._flush()
                if not self._transport.is_closing() and not self._eof_sent:
                    # Half-closed: what the client still sends is read and discarded, or its
                    # kernel would throw away the close frame with our reset.
                    self._transport.write_eof()
                self._eof_sent = True
            else:
                self._queue(data)
        if self._eof_sent or self._ws.state not in (State.OPEN, State.CONNECTING):
            # Whoever closed, and be it the library: what is sent now would not be read, and must
            # not count as sent.
            if self.session.is_read:
                self.session.lost()
            self._start_close_timeout()

    def _start_close_timeout(self) -> None:
        if not self._close_due_ms:
            self._close_due_ms = self._front.clock_ms() + CLOSE_TIMEOUT_MS
            # Whatever held reading, only the client's close is awaited now.
            self._holds = Hold(0)
            if not self._rests and not self._transport.is_closing():
                self._transport.resume_reading()
            self._reschedule()

    # ------------------------------------------------------------------- the port of a session

    def write(self, frame: bytes) -> None:
        """Send a text frame with this turn's write."""
        self._queue(self._front.framed(frame))

    def _queue(self, data: bytes) -> None:
        self._out.append(data)
        if not self._dirty:
            self._dirty = True
            self._front.flusher.flush_soon(self)

    def deliver_spread(self, seq: int, frame: bytes) -> None:
        """Deliver a large group's frame; it may wait for its turn to be sent.

        What is written for this client alone does not wait, and takes it along.
        """
        if self._dirty:
            self.session.deliver(seq, "", frame)
            return
        self._dirty = True  # or the frame would ask to be sent with this turn's write
        self.session.deliver(seq, "", frame)
        self._dirty = False
        if self._out:
            self._front.flusher.flush_spread(self)

    def close(self, code: int, reason: str) -> None:
        """Send what was written, then a close frame; cut the connection if no answer comes."""
        try:
            self._ws.send_close(code, reason)
        except InvalidState:
            pass  # the client was faster
        self._take_ws_output()
        self._start_close_timeout()

    def request(self, slot: int, envelope: ToWorker, *, durable: bool) -> None:
        """Send an envelope; if its worker is behind, this client waits until it is not."""
        link = self._front.bus.link_of(slot)
        link.request(envelope, durable=durable)
        if link.is_full:
            self._front.wait_for_room(self, link)

    def hold(self, why: Hold) -> None:
        """Stop reading from the client."""
        if not (self._holds or self._rests or self._close_due_ms or self._transport.is_closing()):
            self._transport.pause_reading()
        self._holds |= why

    def release(self, why: Hold) -> None:
        """Read on if nothing else holds."""
        if not self._holds & why:
            return
        self._holds &= ~why
        if not self._holds and not self._close_due_ms and not self._transport.is_closing():
            if self._pinger is not None:
                self._pinger.excuse(self._front.clock_ms())
            if not self._rests:
                self._transport.resume_reading()
            self._reschedule()

    def receipt_written(self) -> None:
        """Ping soon, so that the pong confirms the receipt."""
        pinger = self._pinger
        if pinger is not None and pinger.receipt_written():
            pinger.ping_soon(self._front.clock_ms())
            self._reschedule()

    def count(self, what: str) -> None:
        """Count something that was dropped."""
        self._front.counters[what] += 1

    def cut(self) -> None:
        """End the TCP connection at once."""
        self._transport.abort()

    def fail(self) -> None:
        """End this connection after a fault of ours, inside an except block (I7)."""
        self._front.log.exception("connection.failed", session=self.session.number)
        self.session.end(CLOSE_INTERNAL, "internal error")

    def leave(self, code: int, reason: str, notice: bytes) -> None:
        """Send the client away; one that has not even finished its handshake is cut."""
        if self._pinger is None:
            self._transport.abort()
        else:
            self.session.end(code, reason, notice)

    def flush(self) -> None:
        """Hand what was written to the kernel in one write."""
        self._dirty = False
        self._flush()

    def _flush(self) -> None:
        if not self._out:
            return
        out, self._out = self._out, []
        if self._eof_sent or self._transport.is_closing():
            return
        self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        self._written = self.session.cursor
        if self._blocked_due_ms and not self._close_due_ms:
            limit = self._front.settings.flow.session_max_bytes
            if self._transport.get_write_buffer_size() > limit:
                self._end_slow(f"over {limit} bytes wait for the client")

    def _end_slow(self, reason: str) -> None:
        self._front.counters["slow_readers_closed"] += 1
        self.session.end(CLOSE_SLOW, reason)

    # --------------------------------------------------------------------------------- timers

    def on_timer(self, clock_ms: int) -> None:
        """Do what is due: cut, close or ping."""
        if self._close_due_ms:
            if clock_ms >= self._close_due_ms:
                self._transport.abort()
                return
        elif not self.session.is_logged_in and clock_ms >= self._auth_due_ms:
            if self._pinger is None:
                self._transport.abort()  # not even a handshake
                return
            self.session.auth_overdue()
        elif self._blocked_due_ms and clock_ms >= self._blocked_due_ms:
            if self._transport.get_write_buffer_size() < self._blocked_bytes:
                self._watch_writing()  # slow, but it reads
            else:
                self._end_slow("the client has not read for too long")
        elif self._pinger is not None and not self._holds & ~_PINGED_HOLDS:
            # Of a client that is not read nobody can tell whether it has answered.
            if not self._holds and self._pinger.is_dead(clock_ms):
                self._front.counters["dead_connections_cut"] += 1
                self._transport.abort()
                return
            if self._pinger.is_due(clock_ms):
                self._ws.send_ping(
                    self._pinger.ping(clock_ms, receipts_up_to=self.session.receipts_written)
                )
                self._take_ws_output()
        self._reschedule()

    def _reschedule(self) -> None:
        due = self._due_ms()
        if due:
            self._front.wheel.schedule(self, due)

    def _due_ms(self) -> int:
        if self._close_due_ms:
            return self._close_due_ms
        dues = []
        if not self.session.is_logged_in:
            dues.append(self._auth_due_ms)
        if self._blocked_due_ms:
            dues.append(self._blocked_due_ms)
        if self._pinger is not None and not self._holds & ~_PINGED_HOLDS:
            dues.append(self._pinger.ping_due_ms if self._holds else self._pinger.due_ms)
        return min(dues, default=0)
