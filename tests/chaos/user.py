"""One user of a chaos run: logs in and out, sends, reads, acks, and keeps the ledger.

Whatever a user does at random, it keeps to the discipline that the protocol asks of a client:
un-acked sends go out again after a reconnect, in order and before anything new, under the same ids;
whatever comes is acked sooner or later, also when it comes again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection
from random import Random
from typing import Any

import msgspec
from websockets.uri import WebSocketURI

from tests.outside.asyncwebsocket import AsyncWebSocket, open_socket
from tests.outside.frames import (
    Frame,
    action,
    auth_frame,
    compact,
    element,
    group_receipt,
    parsed,
    queued_in,
    receipt,
    spaced,
    user_jid,
)

from .checker import OVERLOAD_CODES
from .doors import Doors
from .guard import HOST, Guard
from .ledger import DELIVERED, READ, STORED, Connection, Key, Ledger, Via, Wrong

LOGIN_S = 8.0  # longer than any pause of a process
CLOSE_S = 4.0
MAX_UNACKED = 40
SMALL_BUFFER_BYTES = 4096
# Where there are several doors: how long one may be silent until another is tried. A host that is
# cut off says nothing, as long as TCP waits for it.
CONNECT_S = 1.0
LOGIN_ELSEWHERE_S = 4.0
SILENT_S = 1.5
KEEPALIVE = b"?,,"
FRAME_AFTER_S = 1.1  # R7, and a little

# When a user says that it got a message: any time will do.
_ACKED_AT = "1566971275"


class Habits(msgspec.Struct, frozen=True):
    """How a user behaves: ranges are in seconds, chances in [0, 1]."""

    online_s: tuple[float, float]
    offline_s: tuple[float, float]
    freezes: float = 0.0  # chance, at each look, to stop reading for `freeze_s`
    freeze_s: tuple[float, float] = (0.5, 4.0)
    forgets: float = 0.05  # chance to leave a delivery un-acked until it comes again


_FOR_EVER_S = 1e9
# Some are always there, some come and go, some are mostly away, some read slowly.
HABITS = (
    Habits(online_s=(_FOR_EVER_S, _FOR_EVER_S), offline_s=(0.05, 0.3)),
    Habits(online_s=(0.5, 6.0), offline_s=(0.05, 1.0)),
    Habits(online_s=(1.0, 4.0), offline_s=(3.0, 15.0)),
    Habits(online_s=(4.0, 20.0), offline_s=(0.1, 2.0), freezes=0.3),
    Habits(online_s=(2.0, 10.0), offline_s=(0.05, 2.0), forgets=0.5),
)
# On several hosts half are always there: what they miss is measured.
HABITS_OF_MANY_HOSTS = (HABITS[0], HABITS[1], HABITS[0], HABITS[2], HABITS[0], *HABITS[3:])
# How a user leaves: cut, orderly, or by a new login while the old connection stays (R27).
_LEAVES = ("cut", "close", "takeover")
_LEAVE_WEIGHTS = (55, 30, 15)
_REPEATED_AUTH = 0.01  # chance, at each look, to log in again on the same connection (2.2.7)
_LOOK_S = 0.5

# Characters of a text, and how often it has so many.
_SIZES = (((10, 200), 90), ((1000, 4000), 8), ((10_000, 40_000), 2))
# Now and then many messages go to one chat at once, and long ones to a slow reader: more than the
# kernels hold for it, so that its deliveries pause and go on from the mailbox.
_BURST = 0.03
_BURST_SENDS = (5, 15)
_LONG = (15_000, 40_000)


class Session:
    """One connection of a user, from the TCP connect to its end."""

    def __init__(self, user: User, uri: WebSocketURI) -> None:
        self._user = user
        self.door = uri
        self._ledger = user.ledger
        self.book: Connection = user.ledger.connected(user.name)
        self.is_logged_in = False
        self.queued = 0  # frames that came in `q` since the last auth
        self.queued_receipts = 0  # receipts among them
        self.answered = asyncio.Event()  # the auth, or the connection is over
        self.kept_alive = asyncio.Event()  # a `?,,` was answered
        self.pinged = asyncio.Event()
        self.ended = asyncio.Event()
        self.retry_after_s = 0.0
        self.heard_s = user.now_s()  # when anything came last
        self._resends = True
        self.socket = AsyncWebSocket(
            uri,
            on_open=self.log_in,
            on_frame=self._on_frame,
            on_ping=self._on_ping,
            on_end=self._on_end,
        )

    @property
    def is_usable(self) -> bool:
        """Whether frames may be written."""
        return self.is_logged_in and self.socket.is_open

    def log_in(self) -> None:
        """Send auth, for the first time or again."""
        self.is_logged_in = False
        self.queued = self.queued_receipts = 0
        self.answered.clear()
        self._ledger.asked(self.book, self._user.now_s())
        frame = auth_frame(user_jid(self._user.name))
        if token := self._user.guard.token_of(self._user.name):
            frame[2]["token"] = token
        self.socket.send(compact(frame))

    def send(self, key: Key, frame: bytes, text: str) -> None:
        """Write a send, the first time or again."""
        self._ledger.sent(self.book, key, text, self._user.now_s())
        self.socket.send(frame)

    def ack(self, key: Key, level: int) -> None:
        """Write an ack of a delivery."""
        self._ledger.acked(self.book, key, level, self._user.now_s())
        self.socket.send(_ack_frame(key, self._user.name, level))

    def _on_ping(self) -> None:
        self.heard_s = self._user.now_s()
        self.pinged.set()

    def _on_end(self, code: int) -> None:
        self.is_logged_in = False
        self._user.closes[code] = self._user.closes.get(code, 0) + 1
        self.ended.set()
        self.answered.set()
        self.kept_alive.set()
        self.pinged.set()

    def _on_frame(self, payload: bytes) -> None:
        self.heard_s = self._user.now_s()
        if payload.startswith(b"!"):
            self.kept_alive.set()
            return
        frame = parsed(payload)
        match frame[0]:
            case "auth":
                self._on_auth(frame[1])
            case "q":
                for queued in queued_in(frame):
                    self.queued += 1
                    self.queued_receipts += queued[0] != "action"
                    self._take(queued, Via.QUEUE)
            case "Cmd":
                if frame[1]["kind"] == "replaced":
                    self._ledger.replaced(self.book)
            case _:
                self._take(frame, Via.LIVE)

    def _on_auth(self, body: dict[str, Any]) -> None:
        if body["status"] == "success":
            self._ledger.logged_in(self.book)
            self.is_logged_in = True
            if self._resends and self.is_usable:
                self._resends = False
                self._user.resend(self)
        else:
            self.retry_after_s = body.get("retryAfter", 1.0)
            self._user.login_failures += 1
            self.is_logged_in = bool(self.book.logins)  # a repeated auth that fails changes nothing
            if body["code"] not in OVERLOAD_CODES:
                self._complain(f"login refused: {body}")
        self.answered.set()

    def _take(self, frame: Frame, via: Via) -> None:
        now_s = self._user.now_s()
        match frame[0]:
            case "action":
                [element] = frame[2]
                key, text = self._delivered_key(element), element["message"].get("conversation")
                if self._ledger.delivered(self.book, key, text, via, now_s):
                    self._user.plan_ack(self, key)
            case "Msg" | "MsgInfo":
                self._on_ack(frame[0], frame[1], via, now_s)
            case "error":
                self._on_error(frame[1], now_s)
            case tag:
                self._complain(f"a frame {tag!r} came: {frame}")

    def _delivered_key(self, element: dict[str, Any]) -> Key:
        chat, message_id = element["key"]["remoteJid"], element["key"]["id"]
        if chat.endswith("@g.us"):
            return Key(_local(element["participant"]), chat, message_id)
        return Key(_local(chat), self._user.name, message_id)

    def _on_ack(self, tag: str, body: dict[str, Any], via: Via, now_s: float) -> None:
        to, author, level = body["to"], _local(body["from"]), body["ack"]
        chat = to if to.endswith("@g.us") else _local(to)
        key = Key(author, chat, body["id"])
        if level == STORED:
            self._ledger.stored(self.book, key, now_s)
            self._user.unacked.pop(key, None)
        else:
            by = _local(body["participant"]) if tag == "MsgInfo" else chat
            self._ledger.receipt(self.book, key, by, level, via, now_s)

    def _on_error(self, body: dict[str, Any], now_s: float) -> None:
        for key in self._user.unacked:
            if key.message_id == body.get("id"):
                self._ledger.refused(self.book, key, body["code"], now_s)
                del self._user.unacked[key]
                return
        self._complain(f"an error that answers no send: {body}")

    def _complain(self, what: str) -> None:
        self._ledger.wrong.append(Wrong("refused", None, f"{what} ({self.book})"))


class User:
    """One user, with at most one connection that counts and some that are being replaced."""

    def __init__(
        self,
        name: str,
        doors: Doors,
        ledger: Ledger,
        *,
        guard: Guard,
        habits: Habits,
        chats: list[str],
        slow_readers: Collection[str],
        sends_per_s: float,
        random: Random,
        now_s: Callable[[], float],
    ) -> None:
        self.name = name
        self.ledger = ledger
        self.guard = guard
        self.now_s = now_s
        self.closes: dict[int, int] = {}  # connections ended, by close code
        self.login_failures = 0
        self.unacked: dict[Key, tuple[bytes, str]] = {}  # in the order of the sends
        self._doors = doors
        self._habits = habits
        self._chats = chats
        self._slow_readers = slow_readers
        self._sends_per_s = sends_per_s
        self._random = random
        self._sent = 0
        self._calm = asyncio.Event()
        self._session: Session | None = None
        self._sessions: set[Session] = set()  # also those that a newer one replaces
        self._levels: dict[Key, int] = {}  # how far each message that came is to be acked

    @property
    def reads_promptly(self) -> bool:
        """Whether the user never stops reading, so that its waits are the relay's."""
        return not self._habits.freezes

    @property
    def is_steady(self) -> bool:
        """Whether the user goes only when the relay does."""
        return self._habits.online_s[0] >= _FOR_EVER_S

    @property
    def is_online(self) -> bool:
        """Whether the user is logged in."""
        return self._session is not None and self._session.is_usable

    @property
    def open_sessions(self) -> int:
        """How many connections are open."""
        return len(self._sessions)

    # --- life ---

    async def live(self) -> None:
        """Come and go until cancelled; once `calm_down` was called, come and stay."""
        while True:
            session = await self._log_in()
            if session is None:
                await asyncio.sleep(self._random.uniform(0.05, 0.4))
                continue
            leaves_by = await self._stay(session)
            if not session.ended.is_set():
                await self._leave(session, leaves_by)
            if leaves_by != "takeover":
                try:
                    async with asyncio.timeout(self._random.uniform(*self._habits.offline_s)):
                        await self._calm.wait()
                except TimeoutError:
                    pass

    def calm_down(self) -> None:
        """From now on: send nothing, stay online, read at once."""
        self._calm.set()
        if self._session is not None:
            self._session.socket.resume()

    def ack_again(self, key: Key) -> None:
        """Ack what came, on the connection of now, as far as it is to be acked."""
        if self._session is not None and self._session.is_usable:
            self._session.ack(key, self._levels[key])

    async def end(self) -> None:
        """Close what is open."""
        for session in list(self._sessions):
            await self._leave(session, "close")

    async def drain(self) -> int:
        """Log in and take what waits; return how many frames waited, or -1 if that failed."""
        session = await self._log_in()
        if session is None:
            return -1
        session.socket.send(KEEPALIVE)  # answered behind the last `q`
        try:
            async with asyncio.timeout(LOGIN_S):
                await session.kept_alive.wait()
                session.pinged.clear()
                if session.queued_receipts:
                    await session.pinged.wait()  # its pong covers them
                    await asyncio.sleep(FRAME_AFTER_S)
                    if session.is_usable:
                        session.kept_alive.clear()
                        session.socket.send(KEEPALIVE)  # and this confirms them (R7)
                        await session.kept_alive.wait()
        except TimeoutError:
            pass
        queued = session.queued if session.kept_alive.is_set() and session.is_usable else -1
        await self._leave(session, "close")
        return queued

    async def _log_in(self) -> Session | None:
        small = SMALL_BUFFER_BYTES if self._habits.freezes else None
        door = self._doors.choose(self.now_s())
        several = self._doors.are_several
        try:
            async with asyncio.timeout(CONNECT_S if several else None):
                connected = await open_socket(door, receive_buffer_bytes=small)
        except OSError:
            self._doors.failed(door, self.now_s())
            return None
        session = Session(self, door)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: session.socket,
                sock=connected,
                ssl=self.guard.tls,
                server_hostname=HOST if self.guard.tls else None,
                ssl_handshake_timeout=LOGIN_S if self.guard.tls else None,
            )
        except ssl.SSLCertVerificationError:
            raise  # no fault of a relay that dies, and not to be waited for
        except OSError:
            return None  # the relay died in the handshake
        self._sessions.add(session)
        asyncio.create_task(self._forget(session))  # noqa: RUF006  (ends with the session)
        try:
            patience_s = LOGIN_ELSEWHERE_S if several else LOGIN_S
            await asyncio.wait_for(session.answered.wait(), patience_s)
        except TimeoutError:
            pass
        if not session.is_usable:
            self._doors.failed(door, self.now_s())
            session.socket.abort()
            if session.retry_after_s:
                await asyncio.sleep(session.retry_after_s)
            return None
        self._session = session
        return session

    async def _forget(self, session: Session) -> None:
        await session.ended.wait()
        self._sessions.discard(session)

    async def _stay(self, session: Session) -> str:
        """Be online until it is time to leave, or the connection is over; return how to leave."""
        loop, random, habits = asyncio.get_running_loop(), self._random, self._habits
        leave_at = loop.time() + random.uniform(*habits.online_s)
        send_at = loop.time() + random.expovariate(self._sends_per_s)
        look_at = loop.time() + _LOOK_S
        thaw_at = float("inf")
        while not session.ended.is_set():
            now = loop.time()
            if self._calm.is_set():
                leave_at = send_at = thaw_at = float("inf")
            if now >= leave_at:
                break
            if now >= send_at:
                send_at = now + random.expovariate(self._sends_per_s)
                self._send_some(session)
            if now >= thaw_at:
                thaw_at = float("inf")
                session.heard_s = self.now_s()
                session.socket.resume()
            if now >= look_at:
                look_at = now + _LOOK_S
                if not self._calm.is_set():
                    if random.random() < habits.freezes and thaw_at == float("inf"):
                        session.socket.pause()
                        thaw_at = now + random.uniform(*habits.freeze_s)
                    elif session.is_usable and random.random() < _REPEATED_AUTH:
                        session.log_in()
                if thaw_at == float("inf") and self._doors.are_several:
                    self._look_after(session)
            due = min(leave_at, send_at, look_at, thaw_at)
            try:
                async with asyncio.timeout(due - loop.time()):
                    await session.ended.wait()
            except TimeoutError:
                pass
        [how] = random.choices(_LEAVES, _LEAVE_WEIGHTS)
        return how

    def _look_after(self, session: Session) -> None:
        """Have the relay say something, and go elsewhere if it does not."""
        silent_s = self.now_s() - session.heard_s
        if silent_s >= SILENT_S + _LOOK_S:
            self._doors.failed(session.door, self.now_s())
            session.socket.abort()
        elif silent_s >= _LOOK_S and session.is_usable:
            session.socket.send(KEEPALIVE)

    async def _leave(self, session: Session, how: str) -> None:
        session.socket.resume()
        if how == "takeover":
            return  # the relay closes it when the next one logs in
        if how == "close":
            session.socket.close()
            try:
                await asyncio.wait_for(session.ended.wait(), CLOSE_S)
            except TimeoutError:
                pass
        session.socket.abort()
        await session.ended.wait()

    # --- sending and acking ---

    def _send_some(self, session: Session) -> None:
        random = self._random
        chat = random.choice(self._chats)
        count = random.randint(*_BURST_SENDS) if random.random() < _BURST else 1
        long = count > 1 and chat in self._slow_readers
        for _ in range(count):
            if not session.is_usable or len(self.unacked) >= MAX_UNACKED:
                return
            [size] = random.choices([s for s, _ in _SIZES], [w for _, w in _SIZES])
            self._send_new(session, chat, _LONG if long else size)

    def _send_new(self, session: Session, chat: str, size: tuple[int, int]) -> None:
        self._sent += 1
        key = Key(self.name, chat, f"{self.name[-4:]}-{self._sent}")
        text = (str(key) + " ").ljust(self._random.randint(*size), ".")
        frame = _send_frame(key, text)
        self.unacked[key] = (frame, text)
        session.send(key, frame, text)

    def resend(self, session: Session) -> None:
        """Send again, in order, what has no answer yet: `session` has just logged in."""
        for key, (frame, text) in self.unacked.items():
            session.send(key, frame, text)

    def plan_ack(self, session: Session, key: Key) -> None:
        """Decide when to ack what has just come, and how far."""
        random = self._random
        level = self._levels.setdefault(key, random.choices((DELIVERED, READ), (60, 40))[0])
        if not session.is_usable:
            return  # it came while the connection was being closed; it will come again
        if self._calm.is_set():
            session.ack(key, level)
            return
        if random.random() < self._habits.forgets:
            return
        first = random.choice((DELIVERED, level))
        if random.random() < 0.7:
            session.ack(key, first)
        else:
            self._ack_later(session, key, first)
        if first < level:
            self._ack_later(session, key, level)

    def _ack_later(self, session: Session, key: Key, level: int) -> None:
        def ack() -> None:
            if session.is_usable:
                session.ack(key, level)

        asyncio.get_running_loop().call_later(self._random.expovariate(2.0), ack)


def _local(jid: str) -> str:
    return jid.partition("@")[0]


def _send_frame(key: Key, text: str) -> bytes:
    return spaced(action(element(key.chat, key.message_id, {"conversation": text})))


def _ack_frame(key: Key, acker: str, level: int) -> bytes:
    message_id, author, chat = key.message_id, key.author, key.chat
    if chat.endswith("@g.us"):
        frame = group_receipt(message_id, level, author=author, by=acker, t=_ACKED_AT, group=chat)
    else:
        frame = receipt(message_id, level, author=author, by=acker, t=_ACKED_AT)
    return compact(frame)
