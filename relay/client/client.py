"""A client of the relay for bots and apps: log in, take messages, send, and survive the network.

The decisions are in `relay.client.protocol`; this module moves frames between it and a socket.
"""

import asyncio
import inspect
import os
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.http11 import Response
from websockets.uri import parse_uri

from relay.client.errors import ClientClosed, SendRefused, SendUnconfirmed
from relay.client.events import Accepted, Event, Level, Message, SendFailed
from relay.client.limits import Limits
from relay.client.login import Ending
from relay.client.protocol import ClientProtocol
from relay.client.wire import KEEPALIVE, new_message_id
from relay.handshake import SILENT_END, why

# A `q` frame is split at 256 KiB, but a single message can need about seven times its size there.
_MAX_INBOUND_FRAME: Final = 4 * 1024 * 1024
_CLOSE_TIMEOUT_S: Final = 2.0
# What a relay, or a proxy before it, answers to whom it lets in later.
_TURNS_AWAY: Final = frozenset({429, 503})
_THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Client:
    """One user's connection to a relay, made again whenever it is lost.

    A bot that answers everything::

        import asyncio
        from relay.client import Client, Message

        async def main() -> None:
            async with Client("ws://127.0.0.1:9011/", "919428284313") as client:
                async for event in client.events():
                    if isinstance(event, Message):
                        await client.mark_read(event)
                        await client.send(event.chat, f"You said: {event.text}")

        asyncio.run(main())

    **Events** are frozen structs: `Connected`, `Disconnected`, `Message`, `Accepted` (ack 1),
    `Receipt` (delivered, read, played), `SendFailed`, `Refused`. Three errors end the client for
    good and are raised by the loop and by every `send`: `LoginRefused`, `Replaced` (the same user
    logged in elsewhere) and `ClientFault`. Everything else that happens to the connection is
    repaired: after growing, random pauses the client connects again, and un-acked sends go out
    again with their ids, which the relay recognises.

    **Messages are delivered at least once.** One counts as taken when the loop asks for the next
    event; only then is it acked to the relay. If the program dies while it handles a message, or
    leaves the loop with `break` or an exception, that message is not acked and comes first the
    next time, in a new loop or a new process. `mark_read` acks at once, so call it before a
    deliberate `break`. While one client lives, no message that was taken is given twice; across
    restarts of the program, recognise repeats by `(chat, sender, id)` if they matter.

    **Sending** is `await client.send(chat, text)`, which returns when the relay has stored the
    message, or `submit`, which does not wait. Sends of one client keep the order of their calls.
    Both work while the connection is away: the message goes out when it is back.

    Args:
        url: where the relay listens, as `ws://127.0.0.1:9011/`.
        jid: the user to be, in any spelling: `919428284313`, `919428284313@c.us`.
        limits: bounds of everything that is held in memory, and the pace of reconnects.
        login_timeout_s: how long connecting, and then logging in, may take before the attempt
            counts as failed.
        token: what the relay wants to see at a login (`auth.mode = "token"`), or what returns it:
            that is asked at each, since a connection may outlive a token.
        tls: for `wss://`, whom to trust and what certificate to show, as from
            `tls_context(Trust(ca_file="ca.pem"))`. Left out, the system's authorities are trusted.

    Raises:
        JidError: `jid` is no user.
        ValueError: `tls` for an address that is not `wss://`.
        websockets.exceptions.InvalidURI: `url` is no WebSocket address.
    """

    def __init__(
        self,
        url: str,
        jid: str,
        *,
        limits: Limits | None = None,
        login_timeout_s: float = 10.0,
        token: Callable[[], str] | str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._options = _options_for(url, tls)
        self.url: Final = url
        self._protocol = ClientProtocol(jid, limits=limits)
        self._login_timeout_s = login_timeout_s
        self._token = token
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._over = False  # the task has ended
        self._error: BaseException | None = None  # why the client has ended, if not by `close`
        self._stream: EventStream | None = None
        # A send that is awaited: its outcome, or why there will be none.
        self._outcomes: dict[str, asyncio.Future[Accepted | SendFailed | None]] = {}
        self._submitting = asyncio.Lock()  # keeps the order of those that wait for room
        # Set whenever the state changed; each has one waiter, which clears it before it looks.
        self._wake_writer = asyncio.Event()
        self._wake_stream = asyncio.Event()
        self._wake_submit = asyncio.Event()

    @property
    def user(self) -> str:
        """The local part of the user this client is."""
        return self._protocol.user

    @property
    def online(self) -> bool:
        """Whether the client is logged in at this moment."""
        return self._protocol.online

    @property
    def unacked(self) -> int:
        """How many sends the relay has not answered yet."""
        return self._protocol.unacked

    async def __aenter__(self) -> Self:
        """Start connecting, in the background; the first event tells how it went."""
        if self._task is not None:
            raise RuntimeError("a Client is entered once; make a new one")
        self._task = asyncio.create_task(self._run(), name=f"relay client {self.user}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Write what is due, close the connection, and end `events()`; at most some seconds.

        Un-acked sends are not awaited: `await send` first where their fate matters.
        """
        if self._task is None:
            return
        self._closing = True
        self._wake_writer.set()
        try:
            if self._protocol.online:
                await asyncio.wait({self._task}, timeout=_CLOSE_TIMEOUT_S)
        finally:
            self._task.cancel()
        await asyncio.wait({self._task})

    def events(self) -> "EventStream":
        """Return what happens, for `async for`; it ends when the client is closed.

        There is one reader at a time: a later call takes over from an earlier loop. When the
        client ends, the loop ends at once; messages not taken yet stay at the relay.

        Raises, from the loop:
            LoginRefused, Replaced, ClientFault: the client has stopped for good.
        """
        self._stream = EventStream(self)
        self._wake_stream.set()
        return self._stream

    async def send(
        self,
        to: str,
        message: str | Mapping[str, Any],
        *,
        message_id: str | None = None,
        timeout_s: float | None = 60.0,
    ) -> str:
        """Send to a user or group and wait for ack 1; return the message id.

        `message` is a text, or a whole message object such as `{"conversation": "hi"}`, which
        must not be changed afterwards. Cancelling, or the timeout, ends the wait, not the send.

        Raises:
            SendRefused: the relay refused it.
            SendUnconfirmed: no answer within `timeout_s`. To go on waiting, call again with the
                error's `message_id` and the same message.
            LoginRefused, Replaced, ClientFault, ClientClosed: the client has ended; the message
                may have been stored.
            JidError, ValueError: nothing a relay would take; see `submit`.
        """
        message_id = message_id or new_message_id()
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                await self.submit(to, message, message_id=message_id)
                outcome = await asyncio.shield(self._outcome_of(message_id))
        except TimeoutError:
            if not deadline.expired():
                raise
            raise SendUnconfirmed(message_id, timeout_s or 0.0) from None
        if isinstance(outcome, SendFailed):
            raise SendRefused(outcome)
        if outcome is None:
            raise self._end()
        return message_id

    async def submit(
        self, to: str, message: str | Mapping[str, Any], *, message_id: str | None = None
    ) -> str:
        """Hand a message over and return its id; `Accepted` or `SendFailed` follows as an event.

        Waits only while `Limits.unacked_sends` are un-acked.

        Raises:
            LoginRefused, Replaced, ClientFault, ClientClosed: the client has ended; nothing was
                sent.
            JidError: `to` is neither a user nor a group.
            ValueError: an unusable id, or a message that is empty, nested too deep, too large, or
                no Unicode.
        """
        message_id = message_id or new_message_id()
        body = {"conversation": message} if isinstance(message, str) else message
        async with self._submitting:
            while True:
                self._wake_submit.clear()
                if self._ended:
                    raise self._end()
                if self._protocol.has_room or self._protocol.is_unacked(message_id):
                    break
                await self._wake_submit.wait()
            self._protocol.submit(to, body, message_id, now_s=_now_s())
        self._wake_writer.set()
        return message_id

    async def mark_read(self, message: Message) -> None:
        """Tell the author that `message` was read; this takes it as well.

        The receipt is written as soon as there is a connection. It is lost if that connection
        breaks in the same moment: a read receipt is a courtesy, not a guarantee.
        """
        self._acknowledge(message, Level.READ)

    async def mark_played(self, message: Message) -> None:
        """Like `mark_read`, for a voice or video message that was played."""
        self._acknowledge(message, Level.PLAYED)

    # -- the background task ---------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                ending = await self._connect_once()
                events = self._protocol.connection_lost(
                    ending, uptime_s=time.monotonic(), jitter=secrets.randbelow(1000) / 1000
                )
                self._happened(events)
                self._error = self._protocol.failure
                if self._closing or self._error is not None:
                    return
                await asyncio.sleep(self._protocol.retry_in_s)
        except Exception as error:  # a bug: the application gets it, instead of waiting for ever
            self._error = error
        finally:
            self._over = True
            for outcome in self._outcomes.values():
                if not outcome.done():
                    outcome.set_result(None)
            self._outcomes.clear()
            self._wake_all()

    async def _connect_once(self) -> Ending:
        """Connect and serve the connection until it ends; return how it did."""
        self._protocol.token = self._token if isinstance(self._token, str) else self._token()
        lost_by: list[Exception] = []
        make: Any = partial(_Connection, lost_by)  # the library's types want a class
        try:
            async with connect(
                self.url,
                open_timeout=self._login_timeout_s,
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=_MAX_INBOUND_FRAME,
                compression=None,  # frames are too small to gain by it
                create_connection=make,
                **self._options,
            ) as connection:
                self._protocol.connection_opened(uptime_s=time.monotonic())
                async with asyncio.TaskGroup() as tasks:
                    others = [
                        tasks.create_task(self._write(connection)),
                        tasks.create_task(self._keep_alive(connection)),
                    ]
                    ending = await self._read(connection)
                    for task in others:
                        task.cancel()
                return ending
        except TimeoutError:
            return Ending(None, f"no answer from {self.url}", answered=False)
        except InvalidStatus as error:
            return _turned_away(self.url, error.response)
        except (OSError, EOFError, WebSocketException) as error:
            # With TLS 1.3 a refusal of the server comes when the client thinks that it is in.
            return _not_opened(self.url, lost_by[0] if lost_by else error)

    async def _read(self, connection: ClientConnection) -> Ending:
        try:
            async with asyncio.timeout(self._login_timeout_s) as deadline:
                while not self._protocol.connection_useless:
                    frame = await connection.recv()
                    self._happened(self._protocol.receive(frame, now_s=_now_s()))
                    if self._protocol.online:
                        deadline.reschedule(None)
        except TimeoutError:
            return Ending(None, "the relay did not answer the login")
        except ConnectionClosed as closed:
            return _ending(closed)
        return Ending(None, "")

    async def _write(self, connection: ClientConnection) -> None:
        try:
            while True:
                self._wake_writer.clear()
                while (frame := self._protocol.next_frame()) is not None:
                    await connection.send(frame)
                    self._protocol.frame_sent()
                if self._closing:
                    await connection.close()
                await self._wake_writer.wait()
        except ConnectionClosed:
            pass  # the reader meets the same end, and reports it

    async def _keep_alive(self, connection: ClientConnection) -> None:
        """Show now and then that the program lives, and not only its machine (R7)."""
        try:
            while True:
                await asyncio.sleep(self._protocol.limits.keepalive_s)
                if self._protocol.online:
                    await connection.send(KEEPALIVE)
        except ConnectionClosed:
            pass  # the reader meets the same end, and reports it

    def _happened(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Accepted | SendFailed) and (
                outcome := self._outcomes.pop(event.id, None)
            ):
                outcome.set_result(event)
        self._wake_all()

    def _wake_all(self) -> None:
        self._wake_writer.set()
        self._wake_stream.set()
        self._wake_submit.set()

    # -- for the application ---------------------------------------------------------------------

    @property
    def _ended(self) -> bool:
        return self._over or self._closing or self._task is None

    def _end(self) -> BaseException:
        return self._error or ClientClosed("the client is not running")

    def _outcome_of(self, message_id: str) -> asyncio.Future[Accepted | SendFailed | None]:
        outcome = self._outcomes.get(message_id)
        if outcome is None:
            outcome = asyncio.get_running_loop().create_future()
            self._outcomes[message_id] = outcome
        return outcome

    def _acknowledge(self, message: Message, level: Level) -> None:
        self._protocol.acknowledge(message, level, now_s=_now_s())
        self._wake_writer.set()


class EventStream:
    """The events of one `Client`, as an async iterator; see `Client.events`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._at_hand: Message | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        client = self._client
        if self._at_hand is not None:
            # Asking for the next event says that the last one was taken.
            client._acknowledge(self._at_hand, Level.DELIVERED)
            self._at_hand = None
        while True:
            if client._stream is not self:
                raise RuntimeError("a later events() took over from this loop")
            client._wake_stream.clear()
            if client._ended:
                # At once: messages taken now could not be acked, and would be handled twice.
                if client._error is not None:
                    raise client._error
                raise StopAsyncIteration
            event = client._protocol.next_event()
            if event is not None:
                break
            await client._wake_stream.wait()
        if isinstance(event, Message):
            self._at_hand = event
        return event


class _Connection(ClientConnection):
    """Adds what ends it to `lost_by`: the library tells that only where an answer came before."""

    def __init__(self, lost_by: list[Exception], *arguments: Any, **options: Any) -> None:
        self._lost_by = lost_by
        super().__init__(*arguments, **options)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note what it was lost by."""
        if exc is not None:
            self._lost_by.append(exc)
        super().connection_lost(exc)


def _options_for(url: str, tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Return options that keep a proxy named in the environment away from this very machine."""
    uri = parse_uri(url)
    if tls is not None and not uri.secure:
        raise ValueError(f"{url} is not wss://, and goes without TLS")
    takes_proxy = "proxy" in inspect.signature(connect.__init__).parameters  # websockets >= 15
    options: dict[str, Any] = {} if tls is None else {"ssl": tls}
    return options | ({"proxy": None} if takes_proxy and uri.host in _THIS_MACHINE else {})


def _now_s() -> int:
    return int(time.time())


def _turned_away(url: str, response: Response) -> Ending:
    """Tell why there was an HTTP response in place of a handshake."""
    status = response.status_code
    if status not in _TURNS_AWAY:
        return Ending(None, f"what answers at {url} is no relay (HTTP {status})")
    # Seconds; of dates and other nonsense nothing is made.
    after = next(iter(response.headers.get_all("Retry-After")), "")
    seconds = int(after) if after.isdecimal() and len(after) < 6 else 0
    when = f"in {seconds} s" if seconds else "later"
    reason = f"the relay at {url} turns this client away (HTTP {status}); try again {when}"
    return Ending(None, reason, retry_after_s=seconds)


def _not_opened(url: str, error: Exception) -> Ending:
    """Tell why there is no connection."""
    uri = parse_uri(url)
    if told := why(error, uri.host):
        return Ending(None, f"no connection to {url}: {told}")
    if uri.secure and _is_silent_end(error):
        return Ending(None, f"no connection to {url}: {SILENT_END}")
    return Ending(None, f"no relay answers at {url} ({_cause(error)})", answered=False)


def _is_silent_end(error: BaseException) -> bool:
    """Whether a connection was there, and was over before the relay said anything."""
    while error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, EOFError | ConnectionResetError)


def _ending(closed: ConnectionClosed) -> Ending:
    """Tell how an open connection ended."""
    if closed.rcvd is not None and closed.rcvd_then_sent is not False:
        code = closed.rcvd.code
        return Ending(code, closed.rcvd.reason or f"closed by the relay ({code})")
    if closed.sent is not None:  # we closed: a dead connection, or a frame that is too big
        return Ending(None, closed.sent.reason or "closed")
    return Ending(None, "connection lost")


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
