"""The port of a front: takes clients in, and sends them away a few at a time."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from relay.errors import BootError, SettingsError
from relay.front.entrance.door import Door
from relay.front.entrance.entrance import Entrance
from relay.front.entrance.health import Readiness
from relay.front.hub import Endpoint, Hub
from relay.front.output import Hold
from relay.process import descriptors
from relay.protocol import closecodes, frames

# Connections that the kernel completes before the front accepts them: a storm of logins.
BACKLOG: Final = 4096
# How many clients a stop sends away in a second: about what the next front can log in.
DRAINED_PER_S: Final = 2000
DRAIN_STEP_S: Final = 0.02
# How long a stop waits for the answers to sends that were read before it.
MAX_ANSWER_S: Final = 5.0
# How long those may take who are in their handshake when a stop begins.
MAX_GREETING_S: Final = 0.5
# How long clients may take to answer the close frames of a stop.
MAX_STOP_S: Final = 3.0


class Listener:
    """Listens on the socket of its seat, one of those that share the relay's port.

    The supervisor has bound it and keeps it open. So whoever waits in its queue when this front
    goes, or has only begun to connect, is the next front's, and is not reset.

    Raises:
        BootError: from the start, where certificates are unusable.
    """

    def __init__(self, hub: Hub, fd: int | None) -> None:
        self._hub = hub
        try:
            self.entrance = Entrance(hub)
        except SettingsError as error:  # its files were usable when the relay started
            raise BootError(str(error)) from error
        self._fd = fd
        self._server: asyncio.Server | None = None
        self._cut_off: list[Endpoint] = []  # who is to be sent away, since the host is isolated

    async def listen(self) -> None:
        """Begin to take clients in.

        Raises:
            BootError: the port cannot be listened on, or hardly any client could be held.
        """
        self.entrance.hold_at_most(descriptors.room_for_clients(self._hub.settings))
        server = self._hub.settings.server
        assert self._fd is not None, "a front has a socket to listen on"
        try:
            self._server = await self._hub.loop.create_server(
                lambda: Door(self.entrance), sock=socket.socket(fileno=self._fd), backlog=BACKLOG
            )
        except OSError as error:
            raise BootError(
                f"cannot listen on {server.host} port {server.port}: {error.strerror}"
            ) from None

    def adopt(self) -> None:
        """Go by the hub's settings; who is in stays."""
        self.entrance.adopt()

    def refresh(self) -> None:
        """Read certificates again that have changed; to be called about each second."""
        self.entrance.refresh()

    def give_back(self) -> None:
        """Give the kernel the memory of clients who have gone; to be called about each second."""
        self.entrance.give_back()

    def give_notice(self) -> None:
        """Have health checks fail from here on: `drain` comes next."""
        self.entrance.unready = Readiness.DRAINING

    def isolate(self, isolated: bool) -> None:
        """Take nobody in and send everybody away, or take clients in again.

        What was sent and not answered can be answered by no one here; it is repeated elsewhere.
        """
        was_isolated = self.entrance.is_isolated
        if self.entrance.unready is not Readiness.DRAINING:
            self.entrance.unready = Readiness.ISOLATED if isolated else None
        if isolated and not was_isolated:
            is_at_it = bool(self._cut_off)
            self._cut_off = self._clients_since(0)
            if self._server is not None:  # else it has just been started
                self._hub.log.warning("front.isolated", connections=len(self._cut_off))
            if not is_at_it:
                self._send_away()
        elif was_isolated and not isolated and self._server is not None:
            self._hub.log.info("front.rejoined")

    def _send_away(self) -> None:
        """Send some of those away who are cut off, and some more in a moment."""
        step = int(DRAINED_PER_S * DRAIN_STEP_S)
        some, self._cut_off = self._cut_off[:step], self._cut_off[step:]
        for client in some:
            if client.session.number in self._hub.clients:  # it may have gone by itself
                self._hub.counters["isolated_closed"] += 1
                client.leave(closecodes.RESTART, "isolated", frames.DISCONNECT_SHUTDOWN)
        if self._cut_off:
            self._hub.loop.call_later(DRAIN_STEP_S, self._send_away)

    async def drain(self, within_s: float) -> None:
        """Take nobody in; answer what is in flight and send every client away in that time.

        Clients go a few at a time, so that they do not all come back at once.
        """
        assert self._server is not None, "it listens"
        self._server.close()
        self.give_notice()
        hub, loop = self._hub, self._hub.loop
        begin_s = loop.time()
        leaving = self._clients_since(0)
        count, newest = len(leaving), hub.last_number
        for client in leaving:
            client.hold(Hold.DRAIN)
        spread_s = min(within_s / 2, count / DRAINED_PER_S)
        # Reading stops at once; the answers to what was read may take this long.
        give_up_s = begin_s + max(spread_s, min(within_s / 2, MAX_ANSWER_S))
        # To be cut in a handshake would look like a failure to whoever has begun one.
        greet_until_s = begin_s + min(within_s / 2, MAX_GREETING_S)
        while True:
            now_s = loop.time()
            late = now_s >= give_up_s
            share = 1.0 if late or not spread_s else min(1.0, (now_s - begin_s) / spread_s)
            quota = int(count * share) - (count - len(leaving))
            staying = []
            for client in leaving:
                if quota > 0 and (late or not client.has_pending):
                    quota -= 1
                    client.leave(closecodes.RESTART, "shutdown", frames.DISCONNECT_SHUTDOWN)
                else:
                    staying.append(client)
            leaving = staying
            await asyncio.sleep(DRAIN_STEP_S)
            newcomers = self._clients_since(newest)
            newest = hub.last_number
            count += len(newcomers)
            leaving += newcomers
            if not leaving and not self._greets_until(greet_until_s):
                break
        self.entrance.close()
        await self._wait_until_gone(min(MAX_STOP_S, within_s))

    def _clients_since(self, number: int) -> list[Endpoint]:
        """Return the clients whose sessions have higher numbers; the youngest come last."""
        found = []
        for each, client in reversed(self._hub.clients.items()):
            if each <= number:
                break
            found.append(client)
        return found[::-1]

    def _greets_until(self, deadline_s: float) -> bool:
        """Tell whether somebody who is in a handshake is waited for."""
        return self.entrance.has_visitors and self._hub.loop.time() < deadline_s

    async def _wait_until_gone(self, within_s: float) -> None:
        hub = self._hub
        try:
            await asyncio.wait_for(hub.empty.wait(), within_s)
        except TimeoutError:
            hub.log.info("front.clients_cut", connections=len(hub.clients))
