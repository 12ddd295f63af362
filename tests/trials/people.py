"""People on their sockets: what became of everything that each of them sent and got.

A trial's load is made of many of them, so their WebSockets are the load generator's, which cost
little; the frames are those of all tests from outside, and a person only keeps the accounts.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from websockets.uri import parse_uri

from relay.loadgen.traffic.socketwire import SocketWire
from tests.outside.asyncwebsocket import open_socket
from tests.outside.client import FRAME_AFTER_S
from tests.outside.frames import (
    Frame,
    ack_of,
    action,
    auth_frame,
    compact,
    element,
    message_id_of,
    parsed,
    queued_in,
    user_jid,
)

LOGIN_S: Final = 60.0
# What a sender that does not wait for answers leaves with its own kernel and loop.
SEND_BUFFER_BYTES: Final = 256 * 1024


def message_of(size: int) -> dict[str, str]:
    """Return a message with a text of `size` bytes."""
    return {"conversation": "x" * size}


def numbered(prefix: str) -> Iterator[str]:
    """Yield message ids, without end."""
    number = 0
    while True:
        number += 1
        yield f"{prefix}-{number}"


class Person(SocketWire):
    """One user's one connection.

    `stored` and `got` hold message ids: those that the relay acked with 1, and those that came,
    live or in a `q`, with how often; `receipts` counts these. `acks` false never acks what comes.
    """

    def __init__(self, host: str, user: str, *, acks: bool = True) -> None:
        super().__init__(host)
        self.user = user
        self.acks = acks
        self.is_in = asyncio.Event()
        self.kept_alive = asyncio.Event()  # a `?,,` was answered
        self.unanswered: dict[str, int] = {}  # when each was sent, monotonic ns
        self.stored: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.got: Counter[str] = Counter()
        self.receipts = 0
        self.close_code: int | None = None
        self.on_stored: Callable[[str, int], None] = lambda message_id, sent_ns: None
        self.on_got: Callable[[str], None] = lambda message_id: None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._login = compact(auth_frame(user_jid(user)))

    # -- out --------------------------------------------------------------------------------------

    def send(self, chat: str, message_id: str, message: dict[str, str]) -> None:
        """Write a message to a user, or to the full jid of a group; `flush` lets it go."""
        self.unanswered[message_id] = time.monotonic_ns()
        self.write(compact(action(element(chat, message_id, message, str(int(time.time()))))))

    async def room(self) -> None:
        """Wait until the relay has taken most of what was written."""
        self.flush()
        await self._may_write.wait()

    def ask_again(self) -> None:
        """Log in once more on this connection: everything that waits comes again, as `q`."""
        self.write(self._login)
        self.flush()

    async def confirm(self, *, ping_s: float) -> None:
        """Be known to have all that has come (R7), where pings come so often."""
        await asyncio.sleep(2 * ping_s + FRAME_AFTER_S)
        self.kept_alive.clear()
        self.write(b"?,,")
        self.flush()
        await self.kept_alive.wait()

    def stop_reading(self) -> None:
        """Take nothing more from the socket."""
        if self.transport is not None:
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Take what waits, and what comes."""
        if self.transport is not None:
            self.transport.resume_reading()

    # -- in ---------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Log in."""
        assert self.transport is not None
        self.transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
        self.write(self._login)

    def pause_writing(self) -> None:
        """The relay reads this connection slower than it is written."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._may_write.set()

    def text(self, payload: bytes) -> None:
        """Take a frame."""
        if payload.startswith(b"!"):
            self.kept_alive.set()
        else:
            self._take(parsed(payload))

    def _take(self, frame: Frame) -> None:
        match frame:
            case ["Msg" | "MsgInfo", {"ack": 1, "id": str(message_id)}]:
                sent_ns = self._answered(message_id, "ack 1")
                self.stored.add(message_id)
                self.on_stored(message_id, sent_ns)
            case ["action", _, [{"messageTimestamp": t}]]:
                message_id = message_id_of(frame)
                self.got[message_id] += 1
                if self.acks:
                    self.write(compact(ack_of(frame, 2, by=self.user, t=t)))
                self.on_got(message_id)
            case ["Msg" | "MsgInfo", _]:
                self.receipts += 1
            case ["q", _]:
                for queued in queued_in(frame):
                    self._take(queued)
                self.is_in.set()
            case ["error", {"code": code} as refusal]:
                self._answered(refusal.get("id", ""), str(code))
            case ["action" | "q" | "error", *_]:
                raise AssertionError(f"not of the form that the sheet has: {frame}")

    def _answered(self, message_id: str, answer: str) -> int:
        self.answers[answer] += 1
        return self.unanswered.pop(message_id, 0)

    def ended(self, code: int, reason: str) -> None:
        """Note how it ended; a connection that we leave ends too."""
        self.close_code = code
        self.kept_alive.set()
        self._may_write.set()
        self.is_in.set()


@cache
def _any_certificate() -> ssl.SSLContext:
    """Of a trial's own relay, which nobody else can be."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def log_in(
    url: str, user: str, *, acks: bool = True, receive_buffer_bytes: int | None = None
) -> Person:
    """Return `user`, logged in and with the first of its queue.

    `receive_buffer_bytes` bounds what the kernels take for one who does not read.

    Raises:
        ConnectionError: the relay ended the connection instead.
    """
    uri = parse_uri(url)
    person = Person(f"{uri.host}:{uri.port}", user, acks=acks)
    sock = await open_socket(uri, receive_buffer_bytes=receive_buffer_bytes)
    await asyncio.get_running_loop().create_connection(
        lambda: person,
        sock=sock,
        ssl=_any_certificate() if uri.secure else None,
        server_hostname=uri.host if uri.secure else None,
    )
    async with asyncio.timeout(LOGIN_S):
        await person.is_in.wait()
    if person.close_code is not None:
        raise ConnectionError(f"the login of {user} ended with {person.close_code}")
    return person
