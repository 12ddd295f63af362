"""The front process: accepts clients on the shared port and joins them to the workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import assert_never

import uvloop

from relay import log
from relay.bus.envelopes import (
    Deliver,
    DeliverToMany,
    EndSession,
    Page,
    Refused,
    SessionOpened,
    SessionRefused,
    Stored,
)
from relay.bus.topology import Topology
from relay.errors import BootError
from relay.front.connection import Connection
from relay.front.flusher import Flusher
from relay.front.links import Bus, DeliverToSome, FromWorker, WorkerLink
from relay.front.session import Hold
from relay.front.wheel import TimerWheel
from relay.front.wire import text_frame
from relay.process.control import (
    ChildReady,
    GroupsChanged,
    Heartbeat,
    PeerGone,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.place import Place
from relay.process.run import settle
from relay.protocol import frames
from relay.protocol.codec import Codec
from relay.settings.tables import Settings

CLOSE_RESTART = 1012
TICK_MS = 100  # how late a ping or deadline may be
COUNTERS_S = 60.0
# Connections that the kernel completes before the front accepts them: a storm of logins.
BACKLOG = 4096
# How many clients a stop sends away in a second: about what the next front can log in.
DRAINED_PER_S = 2000
DRAIN_STEP_S = 0.02
# How long a stop waits for the answers to sends that were read before it.
MAX_ANSWER_S = 5.0
# How long clients may take to answer the close frames of a stop.
MAX_STOP_S = 3.0
# How fast to stop when nobody says: the supervisor is gone, and its successor wants the port.
ORPHAN_STOP_S = 2.0


class Front:
    """One front process."""

    def __init__(self, place: Place, loop: asyncio.AbstractEventLoop) -> None:
        self._place = place
        self._loop = loop
        self.settings = place.settings
        self.log = log.get_logger()
        self.ws_logger = logging.getLogger("websockets.server")
        self.codec = Codec(place.settings.limits)
        self.wheel: TimerWheel[Connection] = TimerWheel(TICK_MS)
        self.counters: Counter[str] = Counter()
        self.bus = Bus(
            f"front-{place.index}-{place.incarnation}",
            loop=loop,
            max_link_bytes=place.settings.flow.link_bytes,
            receive=self._receive,
            announce=self._announce,
            has_room=self._has_room,
        )
        self.flusher = Flusher(loop, self.bus)
        self._connections: dict[int, Connection] = {}  # by session number
        self._last_number = 0
        self._last_frame = self._last_framed = b""
        self._waiting: dict[int, set[Connection]] = {}  # for room on a worker's link
        self._topology_complete = asyncio.Event()
        self._stop = asyncio.Event()
        self._stop_within_s = ORPHAN_STOP_S
        self._all_gone = asyncio.Event()
        self._counters_logged: dict[str, int] = {}
        self._next_beat: asyncio.TimerHandle | None = None  # once it serves

    async def run(self) -> None:
        """Serve until the supervisor says stop or is gone; raises BootError where it cannot."""
        self._loop.add_reader(self._place.control.fileno(), self._read_control)
        self._read_control()
        waits = [
            asyncio.create_task(event.wait()) for event in (self._topology_complete, self._stop)
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._stop.is_set():
            await self._serve()
        # What the topology does from here on is none of this front's business.
        self._loop.remove_reader(self._place.control.fileno())
        self.bus.close()
        self.log.info("front.stopped", **self.counters)

    async def _serve(self) -> None:
        server = await self._listen()
        self._place.control.send(ChildReady())
        settle()
        self._tick()
        self._beat()
        self._log_counters()
        self.log.info("front.started")
        await self._stop.wait()
        server.close()
        await self._drain()

    async def _listen(self) -> asyncio.Server:
        server = self.settings.server
        try:
            return await self._loop.create_server(
                lambda: Connection(self),
                server.host,
                server.port,
                reuse_port=True,
                backlog=BACKLOG,
            )
        except OSError as error:
            raise BootError(
                f"cannot listen on {server.host} port {server.port}: {error.strerror}"
            ) from None

    async def _drain(self) -> None:
        """Answer what is in flight and send every client away, within the supervisor's deadline.

        Clients go a few at a time, so that they do not all come back at once.
        """
        loop = self._loop
        begin_s = loop.time()
        spread_s = min(self._stop_within_s / 2, len(self._connections) / DRAINED_PER_S)
        # Reading stops at once; the answers to what was read may take this long.
        give_up_s = begin_s + max(spread_s, min(self._stop_within_s / 2, MAX_ANSWER_S))
        leaving = list(self._connections.values())
        for connection in leaving:
            connection.hold(Hold.DRAIN)
        count = len(leaving)
        while leaving:
            now_s = loop.time()
            late = now_s >= give_up_s
            share = 1.0 if late or not spread_s else min(1.0, (now_s - begin_s) / spread_s)
            quota = int(count * share) - (count - len(leaving))
            staying = []
            for connection in leaving:
                if quota > 0 and (late or not connection.has_pending):
                    quota -= 1
                    connection.leave(CLOSE_RESTART, "shutdown", frames.DISCONNECT_SHUTDOWN)
                else:
                    staying.append(connection)
            leaving = staying
            if leaving:
                await asyncio.sleep(DRAIN_STEP_S)
        if self._connections:
            try:
                await asyncio.wait_for(self._all_gone.wait(), min(MAX_STOP_S, self._stop_within_s))
            except TimeoutError:
                self.log.info("front.clients_cut", connections=len(self._connections))

    # --------------------------------------------------------------------------- connections

    def next_session_number(self) -> int:
        """Return a number that no session of this front has had."""
        self._last_number += 1
        return self._last_number

    def opened(self, connection: Connection) -> None:
        """Take a new connection in; cut it where there are too many already."""
        if len(self._connections) >= self.settings.limits.connections:
            self.counters["connections_refused"] += 1
            connection.cut()
        self._connections[connection.session.number] = connection

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        del self._connections[connection.session.number]
        self.wheel.cancel(connection)
        for waiting in self._waiting.values():
            waiting.discard(connection)
        if self._stop.is_set() and not self._connections:
            self._all_gone.set()

    def framed(self, frame: bytes) -> bytes:
        """Return `frame` as a WebSocket text frame; one for many clients is made once."""
        if frame is not self._last_frame:
            self._last_frame, self._last_framed = frame, text_frame(frame)
        return self._last_framed

    def next_turn(self, connection: Connection) -> None:
        """Have `connection` read on in the next loop turn."""
        self._loop.call_soon(connection.read_on)

    def wait_for_room(self, connection: Connection, link: WorkerLink) -> None:
        """Do not read from `connection` until the worker of `link` has caught up."""
        connection.hold(Hold.LINK)
        self._waiting.setdefault(link.index, set()).add(connection)

    def _has_room(self, link: WorkerLink) -> None:
        for connection in self._waiting.pop(link.index, ()):
            connection.release(Hold.LINK)

    # -------------------------------------------------------------------------------- the bus

    def _announce(self, link: WorkerLink) -> None:
        for connection in self._connections.values():
            session = connection.session
            if session.has_worker and self.bus.link_of(session.slot) is link:
                session.announce()

    def _receive(self, items: Iterator[FromWorker], ends_s: float) -> bool:
        """Hand each envelope to its session, until that time; return whether none is left.

        Those of sessions that are gone have no meaning.
        """
        connections = self._connections
        clock = time.perf_counter
        for item in items:
            if type(item) is Deliver:
                connection = connections.get(item.session)
                if connection is not None:
                    if not item.receipt_for:
                        self.bus.direct_messages += 1
                    connection.session.deliver(item.seq, item.receipt_for, item.frame)
            elif type(item) is Stored:
                connection = connections.get(item.request >> 32)
                if connection is not None:
                    try:
                        connection.session.stored(item.request, item.time_s)
                    except Exception:
                        connection.fail()  # frames of its client may have waited for this
            elif type(item) is DeliverToMany:
                for number in item.sessions:
                    connection = connections.get(number)
                    if connection is not None:
                        connection.session.deliver(item.seq, "", item.frame)
            elif type(item) is DeliverToSome:
                for number in item.sessions:
                    connection = connections.get(number)
                    if connection is not None:
                        connection.deliver_spread(item.seq, item.frame)
            else:
                self._tell(item)
            if clock() >= ends_s:
                return False
        return True

    def _tell(self, item: Page | Refused | SessionOpened | SessionRefused | EndSession) -> None:
        number = item.request >> 32 if isinstance(item, Refused) else item.session
        connection = self._connections.get(number)
        if connection is None:
            return
        session = connection.session
        try:
            match item:
                case Page():
                    session.page(item, now_ms=self.now_ms())
                case Refused():
                    session.send_refused(item.request, item.code, item.reason)
                case SessionOpened():
                    session.opened()
                case SessionRefused():
                    session.refused(
                        item.code, item.reason, item.retry_after_s, now_ms=self.now_ms()
                    )
                case EndSession():
                    session.ended_elsewhere()
                case _:
                    assert_never(item)
        except Exception:
            connection.fail()  # frames of its client may have been held until now

    # -------------------------------------------------------------------------------- control

    def _read_control(self) -> None:
        for message in self._place.control.receive():
            match message:
                case TopologyChanged():
                    self._follow(message.topology)
                case SettingsChanged():
                    self._adopt(self._place.read_settings())
                case GroupsChanged():
                    pass  # the workers' business
                case Stop():
                    self._stop_within_s = message.deadline_s
                    self._stop.set()
                case PeerGone():
                    self._loop.remove_reader(self._place.control.fileno())
                    if not self._stop.is_set():
                        self._stop_within_s = ORPHAN_STOP_S
                        self._stop.set()

    def _adopt(self, settings: Settings) -> None:
        """Go by other settings, and the sessions that are open too."""
        self.settings = settings
        self.codec.adopt(settings.limits)
        for connection in self._connections.values():
            connection.settings_changed()
        if self._next_beat is not None:
            # At once, because the supervisor may already expect it sooner.
            self._next_beat.cancel()
            self._beat()

    def _follow(self, topology: Topology) -> None:
        self.bus.follow(topology)
        if topology.is_complete:
            self._topology_complete.set()

    # ----------------------------------------------------------------------------------- time

    def now_ms(self) -> int:
        """Return the time since 1970 in ms, as clients see it."""
        return time.time_ns() // 1_000_000

    def clock_ms(self) -> int:
        """Return a time in ms that never jumps, for deadlines."""
        return time.monotonic_ns() // 1_000_000

    def _tick(self) -> None:
        self.flusher.tick()
        clock_ms = self.clock_ms()
        for connection in self.wheel.expire(clock_ms):
            try:
                connection.on_timer(clock_ms)
            except Exception:
                connection.fail()
        self._loop.call_later(TICK_MS / 1000, self._tick)

    def _beat(self) -> None:
        self._place.control.send(Heartbeat())
        heartbeat_s = self.settings.supervisor.heartbeat_s
        self._next_beat = self._loop.call_later(heartbeat_s, self._beat)

    def _log_counters(self) -> None:
        if self.counters != self._counters_logged:
            self._counters_logged = dict(self.counters)
            self.log.info("front.counters", **self.counters)
        self._loop.call_later(COUNTERS_S, self._log_counters)


def main(place: Place) -> None:
    """Run a front until it is told to stop."""
    failure: list[BaseException] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()

        def crash(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
            # A callback failed: state may be half changed, so the process must not go on.
            error = context.get("exception")
            failure.append(
                error if isinstance(error, BaseException) else RuntimeError(str(context["message"]))
            )
            serving.cancel()

        loop.set_exception_handler(crash)
        serving = asyncio.ensure_future(Front(place, loop).run())
        try:
            await serving
        except asyncio.CancelledError:
            if not failure:
                raise

    uvloop.run(serve())
    if failure:
        raise failure[0]
