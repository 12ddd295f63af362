"""The line to the relay: one connection after the other, and what goes over each.

What is said, and what comes of it, is decided in `relay.client.protocol`.
"""

import asyncio
import inspect
import math
import secrets
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from relay.client.connecting import (
    Connection,
    cause,
    ending_of,
    not_opened,
    options_for,
    turned_away,
)
from relay.client.events import Event, Receipt
from relay.client.login import Ending
from relay.client.moment import Moment
from relay.client.protocol import ClientProtocol
from relay.client.pulse import Pulse
from relay.client.tokens import Token, TokenRequest, expiry_of, renew_in_s
from relay.client.wire import KEEPALIVE

# A `q` frame is split at 256 KiB, but a single message can need about seven times its size there.
_MAX_INBOUND_FRAME: Final = 4 * 1024 * 1024
_CLOSE_TIMEOUT_S: Final = 2.0
_TOKEN_PAUSE_S: Final = 1.0  # after a token could not be fetched before the end of the last


class Line:
    """Moves frames between `protocol` and a socket, and tells `happened` what came of them.

    Raises:
        ValueError: `tls` for an address that is not `wss://`.
        websockets.exceptions.InvalidURI: `url` is no WebSocket address.
    """

    def __init__(
        self,
        url: str,
        protocol: ClientProtocol,
        *,
        token: Token,
        tls: ssl.SSLContext | None,
        happened: Callable[[list[Event]], None],
    ) -> None:
        self._url: Final = url
        self._options: Final = options_for(url, tls)
        self._protocol: Final = protocol
        self._token: Final = token
        self._happened: Final = happened
        protocol.login.can_renew = not isinstance(token, str)
        self._is_closing = False
        # Of the present connection.
        self._pulse: Pulse | None = None  # from its login on
        self._given_up: Ending | None = None
        # Set when what it waits for changed; each has one waiter, which clears it before it looks.
        self._wake_writer = asyncio.Event()
        self._wake_pulse = asyncio.Event()
        self._wake_renewal = asyncio.Event()
        self._confirmed = asyncio.Event()

    @property
    def online(self) -> bool:
        """Whether there is a login at this moment."""
        return self._pulse is not None

    @property
    def unconfirmed(self) -> int:
        """How many receipts would come again, were the connection lost now."""
        return 0 if self._pulse is None else self._pulse.unconfirmed

    async def confirm(self) -> None:
        """Wait until there is none of those; at most some seconds."""
        try:
            async with asyncio.timeout(2 * self._protocol.limits.confirm_s):
                while self.unconfirmed:
                    self._confirmed.clear()
                    await self._confirmed.wait()
        except TimeoutError:
            pass  # they come again

    def write(self) -> None:
        """Look for frames to be written."""
        self._wake_writer.set()

    def close(self) -> None:
        """Write what is due, and close the connection; `run` then ends."""
        self._is_closing = True
        self._wake_writer.set()

    async def run(self) -> None:
        """Connect, again and again, until `close`, or until the protocol has failed."""
        try:
            while True:
                ending = await self._show_token() or await self._connect_once()
                self._pulse = None
                self._confirmed.set()
                self._happened(self._protocol.connection_lost(ending, now()))
                if self._is_closing or self._protocol.failure is not None:
                    return
                await asyncio.sleep(self._protocol.retry_in)
        finally:
            self._pulse = None

    async def _show_token(self) -> Ending | None:
        """Have a token for the next login; return why there is none."""
        login = self._protocol.login
        try:
            login.show(await self._fetch_token(renew=login.wants_token))
        except Exception as error:  # of the application; its service may be away for a moment
            return Ending(None, f"no token: {cause(error)}")
        return None if login.failure is None else Ending(None, "no newer token")

    async def _fetch_token(self, *, renew: bool) -> str:
        if isinstance(self._token, str):
            return self._token
        token = self._token(TokenRequest(renew))
        return await token if inspect.isawaitable(token) else token

    async def _connect_once(self) -> Ending:
        """Connect and serve the connection until it ends; return how it did."""
        self._given_up = None
        lost_by: list[Exception] = []
        make: Any = partial(Connection, lost_by)  # the library's types want a class
        try:
            async with connect(
                self._url,
                open_timeout=self._protocol.limits.login_s,
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=_MAX_INBOUND_FRAME,
                compression=None,  # frames are too small to gain by it
                ping_interval=None,  # `Pulse` asks for signs of life
                create_connection=make,
                **self._options,
            ) as connection:
                self._protocol.connection_opened(now())
                async with asyncio.TaskGroup() as tasks:
                    others = [
                        tasks.create_task(self._write(connection)),
                        tasks.create_task(self._keep_alive(connection)),
                        tasks.create_task(self._renew_in_time()),
                    ]
                    ending = await self._read(connection)
                    for task in others:
                        task.cancel()
                return ending
        except TimeoutError:
            return Ending(None, f"no answer from {self._url}", answered=False)
        except InvalidStatus as error:
            return turned_away(self._url, error.response)
        except (OSError, EOFError, WebSocketException) as error:
            # With TLS 1.3 a refusal of the server comes when the client thinks that it is in.
            return not_opened(self._url, lost_by[0] if lost_by else error)

    async def _read(self, connection: ClientConnection) -> Ending:
        try:
            async with asyncio.timeout(self._protocol.limits.login_s) as deadline:
                while not self._protocol.connection_useless:
                    frame = await connection.recv()
                    self._heard(frame)
                    if self._pulse is not None:
                        deadline.reschedule(None)
        except TimeoutError:
            return Ending(None, "the relay did not answer the login")
        except ConnectionClosed as closed:
            return self._given_up or ending_of(closed)
        return Ending(None, "")

    def _heard(self, frame: str | bytes) -> None:
        """Take what the relay said."""
        moment = now()
        was_online, clock = self._protocol.online, self._protocol.clock
        events = self._protocol.receive(frame, moment)
        if self._protocol.online and not was_online:
            if self._pulse is None:
                self._pulse = Pulse(self._protocol.limits, up=moment.up)
            if self._protocol.login.can_renew:
                self._pulse.want(up=moment.up)  # its answer has the relay's clock
            self._wake_pulse.set()
            self._wake_renewal.set()
        if self._pulse is not None:
            if self._pulse.heard(up=moment.up):
                self._wake_pulse.set()
            if receipts := sum(isinstance(event, Receipt) for event in events):
                self._pulse.told(receipts, up=moment.up)
                self._wake_pulse.set()
        if self._protocol.clock is not clock:
            self._wake_renewal.set()
        self._happened(events)

    async def _write(self, connection: ClientConnection) -> None:
        try:
            while True:
                self._wake_writer.clear()
                while (frame := self._protocol.next_frame(now())) is not None:
                    await connection.send(frame)
                    self._protocol.frame_sent()
                    if self._pulse is not None:
                        self._pulse.said(up=_up())
                if self._is_closing:
                    await connection.close()
                # Before the login is answered nothing goes out, whatever is due.
                is_in = self._protocol.online
                due_at = self._protocol.outbox.due_at if is_in else math.inf
                await _set_or_due(self._wake_writer, due_at)
        except ConnectionClosed:
            pass  # the reader meets the same end, and reports it

    async def _keep_alive(self, connection: ClientConnection) -> None:
        """Show in time that the program lives, and give up a connection without an answer."""
        answer_s = self._protocol.limits.answer_s
        try:
            while True:
                self._wake_pulse.clear()
                pulse, up = self._pulse, _up()
                if pulse is None or pulse.due_at > up:
                    due_at = math.inf if pulse is None else pulse.due_at
                    await _set_or_due(self._wake_pulse, due_at)
                elif pulse.is_dead(up=up):
                    self._given_up = Ending(None, "no sign of life from the relay")
                    connection.transport.abort()
                    return
                else:
                    pulse.asked(up=up)
                    try:
                        async with asyncio.timeout(answer_s):
                            await connection.send(KEEPALIVE)
                    except TimeoutError:
                        pass  # nothing is taken there any more: the next look says so
                    self._confirmed.set()
        except ConnectionClosed:
            pass  # the reader meets the same end, and reports it

    async def _renew_in_time(self) -> None:
        """Log in again with a newer token before the present one expires."""
        login = self._protocol.login
        last = None  # the token that was found to be the newest
        while True:
            self._wake_renewal.clear()
            due_at = math.inf
            if login.can_renew and self.online and login.token != last:
                due_at = self._renewal_due_at(login.token)
            if await _set_or_due(self._wake_renewal, due_at):
                continue
            last = login.token
            try:
                token = await self._fetch_token(renew=True)
            except Exception:
                # It is asked again; if none comes, the session ends, and `Disconnected` tells why.
                last = None
                await asyncio.sleep(_TOKEN_PAUSE_S)
                continue
            if token != last:
                login.show(token)
                self._protocol.login_again()
                self._wake_writer.set()

    def _renewal_due_at(self, token: str) -> float:
        """Return when to fetch another token, by the clock `up`; by the relay's own time."""
        expiry = expiry_of(token)
        if expiry is None:
            return math.inf
        moment = now()
        clock = self._protocol.clock
        wall = float(moment.wall) if clock is None else clock.wall + moment.up - clock.up
        return moment.up + renew_in_s(expiry - wall)


def _up() -> float:
    return time.monotonic()


def now() -> Moment:
    """Return this moment."""
    return Moment(wall=int(time.time()), up=_up(), chance=secrets.randbelow(1000) / 1000)


async def _set_or_due(wake: asyncio.Event, due_at: float) -> bool:
    """Wait until the event is set, or a time of the clock `up` has come; return whether it is."""
    if due_at == math.inf:
        await wake.wait()
        return True
    try:
        async with asyncio.timeout(max(due_at - _up(), 0.0)):
            await wake.wait()
    except TimeoutError:
        return False
    return True
