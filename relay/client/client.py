"""A client of the relay for bots and apps: log in, take messages, send, and survive the network.

The decisions are in `relay.client.protocol`; `relay.client.line` moves frames between it and a
socket.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self

from relay.client.errors import ClientClosed, OutboxFull
from relay.client.events import (
    Disconnected,
    Event,
    Failed,
    Level,
    Message,
    Receipt,
    Sent,
    Waiting,
)
from relay.client.ids import new_message_id
from relay.client.limits import Limits
from relay.client.line import Line, now
from relay.client.memory import Memory
from relay.client.protocol import ClientProtocol
from relay.client.sending import Sending
from relay.client.tokens import Token

_CLOSE_TIMEOUT_S: Final = 2.0

AckMode = Literal["auto", "manual"]


class RelayClient:
    """One user's connection to a relay, made again whenever it is lost.

    A bot that answers everything::

        import asyncio
        from relay.client import RelayClient

        async def main() -> None:
            async with RelayClient("ws://127.0.0.1:9011/", "919428284313") as client:
                async for message in client.messages():
                    client.mark_read(message)
                    await client.send(message.chat, f"You said: {message.text}").sent

        asyncio.run(main())

    **Events** are frozen structs: `Connected`, `Disconnected`, `Message`, `Sent` (ack 1), `Receipt`
    (delivered, read, played), `Failed`, `Delayed`, `Refused`. `events()` gives all, and
    `messages()` the messages. Three errors end the client for good and are raised by the loop and
    by every `send`: `LoginRefused`, `Replaced` (the same user logged in elsewhere) and
    `ClientFault`. Everything else that happens to the connection is repaired: after growing, random
    pauses the client connects again, and sends without ack 1 go out again with their ids, which the
    relay recognises. So do those that the relay cannot take now (429, 500, 503).

    **Messages are delivered at least once.** One counts as taken when the loop asks for the next;
    only then is it acked to the relay. If the program dies while it handles a message, or leaves
    the loop with `break` or an exception, that message is not acked and comes first the next time,
    in a new loop or a new process. `mark_delivered` and `mark_read` ack at once, so call one before
    a deliberate `break`. While one client lives, no message that was taken is given twice; across
    restarts of the program, recognise repeats by `(chat, sender, id)` if they matter.

    **Sending** is `client.send(chat, text)`, which returns at once. `await` its `sent`, `delivered`
    or `read` where that matters. Sends of one client keep the order of their calls. It works while
    the connection is away: the message goes out when it is back.

    A client lives in one event loop. `relay.client.sync` is for programs without one.

    Args:
        url: where the relay listens, as `ws://127.0.0.1:9011/`.
        user: who to be, in any spelling: `919428284313`, `919428284313@c.us`.
        token: what the relay wants to see at a login (`auth.mode = "token"`), or a function that
            returns it, or fetches it as a coroutine. It is asked at each login, before a JWT
            expires, and once more where one was refused. What it raises is told as `Disconnected`,
            and it is asked again after a pause.
        ack: with "manual" nothing is acked before `mark_delivered`, `mark_read` or `mark_played`.
        limits: bounds of everything that is held in memory, and the pace.
        tls: for `wss://`, whom to trust and what certificate to show, as from
            `tls_context(Trust(ca_file="ca.pem"))`. Left out, the system's authorities are trusted.

    Raises:
        JidError: `user` is none.
        ValueError: `tls` for an address that is not `wss://`.
        websockets.exceptions.InvalidURI: `url` is no WebSocket address.

    """

    def __init__(
        self,
        url: str,
        user: str,
        *,
        token: Token = "",
        ack: AckMode = "auto",
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url: Final = url
        self._protocol = ClientProtocol(user, limits=limits)
        self._line = Line(url, self._protocol, token=token, tls=tls, happened=self._happened)
        self._is_manual = ack == "manual"
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._over = False  # the task has ended
        self._error: BaseException | None = None  # why the client has ended, if not by `close`
        self._stream: EventStream | None = None
        self._sendings: Memory[str, Sending] = Memory(self._protocol.limits.remembered)
        self._wake_stream = asyncio.Event()  # of one waiter, who clears it before it looks
        self._lost: Disconnected | None = None

    @property
    def user(self) -> str:
        """The local part of the user this client is."""
        return self._protocol.user

    @property
    def online(self) -> bool:
        """Whether the client is logged in at this moment."""
        return self._line.online

    @property
    def lost(self) -> Disconnected | None:
        """How the last connection was lost or could not be made; None while there is a login."""
        return None if self.online else self._lost

    @property
    def error(self) -> BaseException | None:
        """Why the client has ended, if it has, and not by `close`."""
        return self._error

    @property
    def waiting(self) -> list[Waiting]:
        """The messages that have no ack 1 yet, oldest first."""
        return self._protocol.outbox.waiting

    def connect(self) -> Self:
        """Start connecting, in the background; the first event tells how it went.

        `async with` does this, and `close` at its end.
        """
        if self._task is not None:
            raise RuntimeError("a client connects once; make a new one")
        self._task = asyncio.create_task(self._run(), name=f"relay client {self.user}")
        return self

    async def __aenter__(self) -> Self:
        return self.connect()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Write what is due, close the connection, and end `events()`; at most some seconds.

        What has no ack 1 is not awaited: await its `sent` first where its fate matters.
        """
        if self._task is None:
            return
        self._closing = True
        self._line.close()
        self._wake_stream.set()
        try:
            if self.online:
                await asyncio.wait({self._task}, timeout=_CLOSE_TIMEOUT_S)
        finally:
            self._task.cancel()
        await asyncio.wait({self._task})

    @property
    def unconfirmed(self) -> int:
        """How many receipts have come that the next login would get again."""
        return self._line.unconfirmed

    async def confirm(self) -> None:
        """Wait until the receipts that came are confirmed (R7); at most some seconds.

        Who is logged in for moments only does so now and then, or they pile up at the relay.
        """
        await self._line.confirm()

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

    async def messages(self) -> AsyncIterator[Message]:
        """Yield the messages among `events()`, for whom the others do not matter."""
        async for event in self.events():
            if isinstance(event, Message):
                yield event

    def send(self, to: str, message: str | Mapping[str, Any], *, id: str | None = None) -> Sending:
        """Send to a user or group; return what becomes of it.

        `message` is a text, or a whole message object such as `{"conversation": "hi"}`, which
        must not be changed afterwards. With an `id` of one's own a repeat is safe, also of another
        process: the relay takes the same message under the same id once.

        Raises:
            OutboxFull: `limits.unacked_sends` are without ack 1. Await the `sent` of one first.
            LoginRefused, Replaced, ClientFault, ClientClosed: the client has ended; nothing was
                sent.
            JidError: `to` is neither a user nor a group.
            ValueError: an unusable id, or a message that is empty, nested too deep, too large, or
                no Unicode.
        """
        if self._ended:
            raise self._end()
        message_id = id or new_message_id()
        body = {"conversation": message} if isinstance(message, str) else message
        if not self._protocol.has_room and not self._protocol.is_unacked(message_id):
            raise OutboxFull(self._protocol.limits.unacked_sends)
        self._protocol.submit(to, body, message_id, now())
        self._line.write()
        sending = self._sendings.get(message_id)
        if sending is None:
            sending = Sending(message_id)
            self._sendings.put(message_id, sending)
        return sending

    def mark_delivered(self, message: Message) -> None:
        """Tell the author that `message` has arrived; this takes it."""
        self._acknowledge(message, Level.DELIVERED)

    def mark_read(self, message: Message) -> None:
        """Tell the author that `message` was read; this takes it as well.

        The receipt is written as soon as there is a connection, and again by the next login where
        that connection may have lost it. It is not kept beyond the life of this client.
        """
        self._acknowledge(message, Level.READ)

    def mark_played(self, message: Message) -> None:
        """Like `mark_read`, for a voice or video message that was played."""
        self._acknowledge(message, Level.PLAYED)

    # -- what happens ----------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._line.run()
            self._error = self._protocol.failure
        except Exception as error:  # a bug: the application gets it, instead of waiting for ever
            self._error = error
        finally:
            self._over = True
            for sending in self._sendings.values():
                sending.end(self._end())
            self._wake_stream.set()

    def _happened(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Disconnected):
                self._lost = event
            elif isinstance(event, Sent | Receipt | Failed):
                sending = self._sendings.get(event.id)
                if sending is not None:
                    sending.happened(event)
                    if isinstance(event, Failed):
                        self._sendings.forget(event.id)  # it may be sent again
        self._line.write()
        self._wake_stream.set()

    # -- for the application ---------------------------------------------------------------------

    @property
    def _ended(self) -> bool:
        return self._over or self._closing or self._task is None

    def _end(self) -> BaseException:
        return self._error or ClientClosed("the client is not running")

    def _acknowledge(self, message: Message, level: Level) -> None:
        self._protocol.acknowledge(message, level, now())
        self._line.write()

    def _take(self, message: Message) -> None:
        """The application has asked for what follows this message."""
        if self._is_manual:
            self._protocol.show(message)
            self._line.write()  # what was left behind may be due
        else:
            self._acknowledge(message, Level.DELIVERED)


class EventStream:
    """The events of one `RelayClient`, as an async iterator; see `RelayClient.events`."""

    def __init__(self, client: RelayClient) -> None:
        self._client = client
        self._at_hand: Message | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        client = self._client
        if self._at_hand is not None:
            # Asking for the next event says that the last one was taken.
            client._take(self._at_hand)
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
