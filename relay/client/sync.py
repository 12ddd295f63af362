"""The client for programs without an event loop: scripts, and threads of others.

It is a `RelayClient` whose loop runs in a thread of its own.
"""

import asyncio
import os
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from relay.client.client import AckMode, EventStream, RelayClient
from relay.client.errors import ClientClosed, SendUnconfirmed
from relay.client.events import Event, Message
from relay.client.ids import new_message_id
from relay.client.limits import Limits
from relay.client.tokens import Token

T = TypeVar("T")

Until = Literal["sent", "delivered", "read"]

_JOIN_S: Final = 5.0


class SyncClient:
    """One user's connection to a relay, for a program that waits for one thing after the other.

    A script that asks, and waits for an answer::

        from relay.client.sync import SyncClient

        with SyncClient("ws://127.0.0.1:9011/", "917069852821") as client:
            client.send("919428284313", "how are you?")
            for message in client.messages(timeout_s=60):
                print(message.sender, message.text)

    Arguments, messages and errors are those of `RelayClient`. A message is taken, and acked, when
    the next one is asked for, or at the end of the `for`. Who leaves the loop with `break` calls
    `mark_delivered` or `mark_read` first, or gets that message again.

    Ctrl-C ends any wait at once, and loses nothing: what was sent goes on its way while the client
    lives, and a message that was not taken comes again. Leaving the `with` block writes what is
    due, for some seconds at most, and ends the thread.

    Any thread may `send`, and one at a time may receive. After `os.fork` the child has no such
    thread: there every call raises RuntimeError, and leaving the block does nothing. Make a client
    in the child, of another user: of one user the newest login counts alone.

    Args:
        notice: is given every event that is no message, while somebody receives, in the thread of
            the client. It must not wait for this client.
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
        notice: Callable[[Event], object] | None = None,
    ) -> None:
        self._client: Final = RelayClient(url, user, token=token, ack=ack, limits=limits, tls=tls)
        self._notice = notice
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stream: EventStream | None = None
        self._pid = os.getpid()

    @property
    def url(self) -> str:
        """Where the relay listens."""
        return self._client.url

    @property
    def user(self) -> str:
        """The local part of the user this client is."""
        return self._client.user

    @property
    def online(self) -> bool:
        """Whether the client is logged in at this moment."""
        return self._client.online

    @property
    def error(self) -> BaseException | None:
        """Why the client has ended, if it has, and not by `close`."""
        return self._client.error

    @property
    def unconfirmed(self) -> int:
        """How many receipts have come that the next login would get again."""
        return self._client.unconfirmed

    def confirm(self) -> None:
        """Wait until the receipts that came are confirmed (R7); see `RelayClient.confirm`."""
        self._call(self._client.confirm())

    def __enter__(self) -> Self:
        """Start connecting, in the background."""
        if self._thread is not None:
            raise RuntimeError("a client connects once; make a new one")
        started = threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(
            # A daemon, so that a program that is thrown out of the block can end all the same.
            target=self._run,
            args=(started,),
            name=f"relay client {self.user}",
            daemon=True,
        )
        self._thread.start()
        started.wait()
        self._call(self._connect())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is due, close the connection, and end the thread; at most some seconds."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or os.getpid() != self._pid:
            return
        self._loop = None
        try:
            asyncio.run_coroutine_threadsafe(self._client.close(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_JOIN_S)

    def send(
        self,
        to: str,
        message: str | Mapping[str, Any],
        *,
        id: str | None = None,
        until: Until = "sent",
        timeout_s: float | None = 60.0,
    ) -> str:
        """Send, and wait until it was sent (ack 1), delivered or read; return the message id.

        Neither Ctrl-C nor the timeout takes the message back.

        Raises:
            SendRefused: the relay refused it; nobody got it.
            SendUnconfirmed: that was not heard of within `timeout_s`. To go on waiting, call again
                with the error's `id` and the same message.
            OutboxFull, LoginRefused, Replaced, ClientFault, ClientClosed, JidError, ValueError:
                as `RelayClient.send` and its `Sending`.
        """
        return self._call(self._send(to, message, id or new_message_id(), until, timeout_s))

    def receive(self, *, timeout_s: float | None = None) -> Message | None:
        """Return the next message, which takes the one before; None if none came in that time.

        Raises:
            LoginRefused, Replaced, ClientFault: the client has stopped for good.
            ClientClosed: the client is closed.
        """
        if self._stream is None:
            self._stream = self._client.events()
        return self._call(self._receive(self._stream, timeout_s))

    def messages(self, *, timeout_s: float | None = None) -> Iterator[Message]:
        """Yield the messages, until none comes for `timeout_s`, or the client is closed.

        Raises:
            LoginRefused, Replaced, ClientFault: the client has stopped for good.
        """
        # Anew: what an earlier loop left with `break` comes first, and again.
        self._stream = self._client.events()
        while (message := self._next(timeout_s)) is not None:
            yield message

    def _next(self, timeout_s: float | None) -> Message | None:
        try:
            return self.receive(timeout_s=timeout_s)
        except ClientClosed:
            return None

    def mark_delivered(self, message: Message) -> None:
        """Tell the author that `message` has arrived; this takes it."""
        self._call(_later(self._client.mark_delivered, message))

    def mark_read(self, message: Message) -> None:
        """Tell the author that `message` was read; this takes it as well."""
        self._call(_later(self._client.mark_read, message))

    def mark_played(self, message: Message) -> None:
        """Like `mark_read`, for a voice or video message that was played."""
        self._call(_later(self._client.mark_played, message))

    # -- in the thread ---------------------------------------------------------------------------

    def _run(self, started: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = loop = runner.get_loop()
            started.set()
            loop.run_forever()

    async def _connect(self) -> None:
        self._client.connect()

    async def _send(
        self,
        to: str,
        message: str | Mapping[str, Any],
        message_id: str,
        until: Until,
        timeout_s: float | None,
    ) -> str:
        sending = self._client.send(to, message, id=message_id)
        stages = {"sent": sending.sent, "delivered": sending.delivered, "read": sending.read}
        try:
            async with asyncio.timeout(timeout_s):
                await stages[until]
        except TimeoutError:
            lost = self._client.lost
            raise SendUnconfirmed(
                message_id,
                until,
                timeout_s or 0.0,
                is_stored=sending.is_stored,
                why=lost.reason if lost else "",
            ) from None
        return message_id

    async def _receive(self, stream: EventStream, timeout_s: float | None) -> Message | None:
        try:
            async with asyncio.timeout(timeout_s):
                async for event in stream:
                    if isinstance(event, Message):
                        return event
                    if self._notice is not None:
                        self._notice(event)
        except TimeoutError:
            return None
        raise ClientClosed("the client is not running")

    # -- in the program's ------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop; return what it returns. An interrupt ends it, too."""
        if os.getpid() != self._pid:
            work.close()
            raise RuntimeError("a client does not outlive a fork: make one in the child")
        if self._loop is None:
            work.close()
            raise ClientClosed("the client is not running")
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a notice must not wait for the client that gives it")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _later(act: Callable[[Message], None], message: Message) -> None:
    act(message)
