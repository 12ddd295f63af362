"""A connection with a NATS server: synchronous, for loops that wait for many things at once.

It is one connection, not a supply of them: once it is lost, so is each subscription with it, and
whoever wants another makes another. No call waits longer than it is told to.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from relay.cluster import natsframes
from relay.cluster.letters import INBOX_SID, Letters, TooManyLetters
from relay.cluster.natsdial import (
    Dialled,
    Login,
    NotConnected,
    Server,
    context_of,
    dial,
    words_of,
)
from relay.cluster.natsframes import (
    MAX_PAYLOAD_BYTES,
    NO_HEADERS,
    BadFrame,
    Complaint,
    Frame,
    Info,
    Message,
    Sign,
)
from relay.cluster.natspulse import Due, Pulse
from relay.cluster.securesocket import ConnectionEnded
from relay.errors import RelayError

__all__ = ["Login", "Message", "MessageTooLarge", "Server", "Wire", "WireLost"]

# What is gathered is joined once more before it is sent: more than this is not held twice.
_GATHER_BYTES: Final = 256 * 1024
# Sixteen records in flight of 2 MiB fit. A server that takes nothing is given up by its pulse.
MAX_UNSENT_BYTES: Final = 32 * 1024 * 1024


class WireLost(RelayError):
    """The connection is gone, and every subscription with it.

    What was published and is not confirmed may have come through, and may still come through.
    """


class MessageTooLarge(RelayError):
    """A message is larger than the server takes; nothing of it was sent."""


class Wire:
    """One connection with one server, open from the start, and never opened again.

    Call `receive` at least once a second: it also answers the server's pings, sends ours, and
    notices that nobody answers them.
    """

    def __init__(
        self, servers: Sequence[Server], login: Login, *, name: str, connect_s: float = 2.0
    ) -> None:
        """Take the first of `servers` that lets us in within `connect_s`; `name` is for its lists.

        A host's name, unlike its address, is looked up by the system, which takes its own time.

        Raises:
            WireLost: none does; the reason says why, of each.
            SettingsError: `login` has something that is no PEM.
        """
        self._stream, self._parser, info = _dial_any(servers, login, name, connect_s)
        self.server_name: Final = info.server_name
        self.max_payload: Final = min(info.max_payload, MAX_PAYLOAD_BYTES)
        self._pulse = Pulse(time.monotonic())
        self._lost = ""
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        inbox = f"_INBOX.{os.urandom(12).hex()}"
        self._letters = Letters(inbox)
        self._gather(natsframes.subscribe_line(f"{inbox}.>", INBOX_SID))

    def fileno(self) -> int:
        """The descriptor to wait on; but where `has_input`, do not wait."""
        return self._stream.fileno()

    @property
    def has_input(self) -> bool:
        """Whether `receive` has something to return or to raise, whatever a poller says."""
        return self._letters.has_kept or bool(self._lost)

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for the socket to become writable, and for `flush` then."""
        return self._stream.unsent_bytes > 0

    @property
    def late_answers(self) -> int:
        """How many answers came to requests that had timed out; they were dropped."""
        return self._letters.late

    def close(self) -> None:
        """Close the connection; what is unsent is dropped."""
        self._lost = self._lost or "it was closed here"
        self._stream.close()

    def subscribe(self, subject: str) -> int:
        """Ask for what is published on `subject`; return the `sid` of its messages.

        It goes out in order with what is published.

        Raises:
            ValueError: `subject` is none.
            WireLost: the connection is gone.
        """
        self._raise_if_lost()
        sid = self._letters.open()
        self._gather(natsframes.subscribe_line(subject, sid))
        return sid

    def unsubscribe(self, sid: int) -> None:
        """End a subscription; none of its messages is returned from here on."""
        self._raise_if_lost()
        self._letters.close(sid)
        self._gather(natsframes.unsubscribe_line(sid))

    def new_inbox(self) -> str:
        """Return a subject for replies, which need no subscription: `receive` returns them."""
        return self._letters.new_inbox()

    def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """Gather a message; `flush`, `receive` and `request` send what is gathered.

        Raises:
            MessageTooLarge: headers and payload exceed `max_payload`: the server, which counts
                both, would end the connection.
            ValueError: `subject` is no subject, or a header no header.
            WireLost: the connection is gone, or over MAX_UNSENT_BYTES would wait.
        """
        self._raise_if_lost()
        block = natsframes.header_block(headers)
        size = len(block) + len(payload)
        if size > self.max_payload:
            raise MessageTooLarge(
                f"a message of {size} bytes exceeds max_payload={self.max_payload}"
            )
        line = natsframes.publish_line(subject, reply, len(block), len(payload))
        self._gather(line, block, payload, b"\r\n")

    def flush(self) -> None:
        """Send what is gathered, as far as the socket takes it; `has_unsent` tells of the rest.

        Raises:
            WireLost: the connection is gone.
        """
        self._raise_if_lost()
        try:
            if self._gathered:
                data = b"".join(self._gathered)
                self._gathered.clear()
                self._gathered_bytes = 0
                self._stream.write(data)
            self._stream.flush()
        except OSError as error:
            self._lose(words_of(error))

    def receive(self, timeout_s: float = 0.0) -> list[Message]:
        """Return what has come, in order; where nothing has, wait so long for it.

        Raises:
            WireLost: the connection is gone; what came before was returned.
        """
        until_s = time.monotonic() + timeout_s
        try:
            while True:
                self._turn(0.0 if self._letters.has_kept else until_s)
                if self._letters.has_kept or time.monotonic() >= until_s:
                    break
        except WireLost:
            if not self._letters.has_kept:
                raise
        return self._letters.take()

    def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout_s: float,
    ) -> Message:
        """Publish, and return the first answer; its `status` is 503 where nobody listens.

        What else comes meanwhile is kept for `receive`.

        Raises:
            TimeoutError: there was none. What was asked may be done, or still be done.
            WireLost: the connection is gone; the same holds.
            MessageTooLarge, ValueError: as `publish` does.
        """
        return self.request_many(
            subject, payload, headers=headers, is_last=lambda _: True, timeout_s=timeout_s
        )[0]

    def request_many(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        is_last: Callable[[Message], bool],
        timeout_s: float,
    ) -> list[Message]:
        """Publish, and return the answers up to the one that `is_last`.

        Where that does not come in time, those that came are returned.

        Raises:
            TimeoutError: none came.
            WireLost, MessageTooLarge, ValueError: as `request` does.
        """
        until_s = time.monotonic() + timeout_s
        letters = self._letters
        looked_at = 0
        try:
            self.publish(subject, payload, reply=letters.ask(), headers=headers)
            while True:
                self._turn(until_s)
                while looked_at < len(letters.answers):
                    looked_at += 1
                    if is_last(letters.answers[looked_at - 1]):
                        return letters.answers[:looked_at]
                if time.monotonic() >= until_s:
                    break
            if not letters.answers:
                raise TimeoutError(f"no answer to {subject} within {timeout_s:g} s")
            return letters.answers
        finally:
            letters.asked()

    def _turn(self, until_s: float) -> None:
        """Send what is gathered, wait until something has come, at most until then, take it in."""
        self.flush()
        self._stream.wait(min(until_s, self._pulse.next_s))
        try:
            data = self._stream.read()
            if data:
                self._pulse.heard(time.monotonic())
                for frame in self._parser.feed(data):
                    self._take(frame)
        except ConnectionEnded:
            self._lose("it ended the connection")
        except OSError as error:
            self._lose(words_of(error))
        except BadFrame as error:
            self._lose(f"it breaks the protocol: {error}")
        except TooManyLetters as error:
            self._lose(str(error))
        match self._pulse.due(time.monotonic()):
            case Due.PING:
                self._gather(natsframes.PING)
            case Due.GIVE_UP:
                self._lose("it shows no sign of life")
            case Due.NOTHING:
                pass
        if self._gathered:
            self.flush()

    def _take(self, frame: Frame) -> None:
        match frame:
            case Message():
                self._letters.put(frame)
            case Sign.PING:
                self._gather(natsframes.PONG)
            case Sign.PONG:
                self._pulse.answered()
            case Complaint(text):
                # Mostly it ends the connection now. Where it does not, something that we want is
                # not done, such as a subscription, and nobody else would notice.
                self._lose(f"it says: {text}")
            case Info() | Sign.OK:
                pass  # such as that there is one more server

    def _gather(self, *pieces: bytes) -> None:
        self._gathered += pieces
        self._gathered_bytes += sum(map(len, pieces))
        if self._gathered_bytes > _GATHER_BYTES:
            self.flush()
            unsent_bytes = self._stream.unsent_bytes
            if unsent_bytes > MAX_UNSENT_BYTES:
                self._lose(f"it takes nothing: {unsent_bytes} bytes exceed {MAX_UNSENT_BYTES}")

    def _raise_if_lost(self) -> None:
        if self._lost:
            raise WireLost(self._lost)

    def _lose(self, reason: str) -> NoReturn:
        self._lost = self._lost or reason
        raise WireLost(self._lost) from None


def _dial_any(servers: Sequence[Server], login: Login, name: str, connect_s: float) -> Dialled:
    context = context_of(login)
    reasons = []
    for server in servers:
        try:
            return dial(server, login, context, name=name, timeout_s=connect_s)
        except NotConnected as error:
            reasons.append(f"{server.host}:{server.port}: {error}")
    raise WireLost("; ".join(reasons) or "no server is named")
