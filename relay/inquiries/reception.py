"""Where a front or a worker takes inquiries: a socket of its own, so that no message waits for it.

Whoever asks waits for a bounded time, and asks for pages. So what is lost costs an answer that says
so, and nothing else: both sides keep few envelopes, and drop the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq

from relay import log
from relay.bus.sockets import has_input
from relay.clock import clock_ms
from relay.disk.files import is_private_directory
from relay.inquiries.contract import (
    FAILED,
    LATE,
    UNKNOWN,
    UNREADABLE,
    Answered,
    Asked,
    Handler,
    Handlers,
    Later,
    NoAnswer,
    decode_asked,
    encode,
    endpoint_of,
)

# Inquiries that wait here, and answers that wait for the asker. Beyond that they are dropped.
MAX_WAITING: Final = 64


class Reception:
    """The one of a process; its owner calls `answer_one` while `has_input`, between two batches."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        handlers: Handlers,
        *,
        run_dir: Path,
        incarnation: int,
        said_late: Callable[[], object] = lambda: None,
    ) -> None:
        """Answer inquiries of the kinds in `handlers`, once it is to `listen`.

        `said_late` is called behind an answer that has come later: to send it may have consumed the
        edge of an inquiry.
        """
        self._said_late = said_late
        self._by_name: dict[str, tuple[Handler, msgspec.msgpack.Decoder[Any]]] = {
            kind.name: (handler, msgspec.msgpack.Decoder(kind))
            for kind, handler in handlers.items()
        }
        self._path = endpoint_of(run_dir, incarnation)
        self._context = context
        self.socket: zmq.Socket[bytes]  # once it listens
        # Readable when something has come; whoever waits for it asks `has_input` first. To wait
        # for the socket costs more: ZeroMQ looks at each of its sockets at each wait.
        self.descriptor = -1
        self.listens = False

    def listen(self) -> None:
        """Take inquiries, in the run directory; where that cannot be, `keep` tries again."""
        self.listens = True
        self.socket = self._context.socket(zmq.ROUTER)
        self.descriptor = self.socket.fileno()
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, MAX_WAITING)
        self.socket.setsockopt(zmq.RCVHWM, MAX_WAITING)
        self._bind()

    def keep(self) -> None:
        """Listen again where somebody has cleaned up the run directory."""
        if self.listens and not self._path.exists() and is_private_directory(self._path.parent):
            self._bind()

    def _bind(self) -> None:
        try:
            self.socket.bind(f"ipc://{self._path}")
        except zmq.ZMQError as error:
            # Messages need no inquiries.
            log.get_logger().warning("inquiry.not_bound", reason=str(error))

    def close(self) -> None:
        """Answer nothing any more."""
        self.listens = False
        self.socket.close()

    @property
    def has_input(self) -> bool:
        """Whether an inquiry is there."""
        return has_input(self.socket)

    def answer_one(self) -> None:
        """Answer the inquiry that came first, if one is there."""
        try:
            asker, *parts = self.socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return
        try:
            asked = decode_asked(b"".join(parts))
        except UNREADABLE as error:
            log.get_logger().warning("inquiry.unreadable", reason=str(error))
            return
        answered = self._answered(asked)
        if isinstance(answered, Later):
            answered.say = partial(self._say, asker, asked)
        else:
            self._send(asker, asked, answered)

    def _say(self, asker: bytes, asked: Asked, answer: object) -> None:
        if self.listens:
            self._send(asker, asked, Answered(asked.number, msgspec.Raw(encode(answer))))
            self._said_late()

    def _send(self, asker: bytes, asked: Asked, answered: Answered) -> None:
        try:
            # An asker that does not read, or is gone, misses its answer.
            self.socket.send_multipart((asker, encode(answered)), zmq.DONTWAIT)
        except zmq.ZMQError as error:
            log.get_logger().debug("inquiry.unanswered", name=asked.name, reason=str(error))

    def _answered(self, asked: Asked) -> Answered | Later:
        number, found = asked.number, self._by_name.get(asked.name)
        if clock_ms() > asked.expires_ms:
            return Answered(number, code=LATE, reason="it was not asked in time")
        if found is None:
            return Answered(number, code=UNKNOWN, reason=f"it does not know {asked.name}")
        handler, decoder = found
        try:
            answer = handler(decoder.decode(asked.body))
            if isinstance(answer, Later):
                return answer
            if isinstance(answer, NoAnswer):
                return Answered(number, code=answer.code, reason=answer.reason)
            return Answered(number, msgspec.Raw(encode(answer)))
        except Exception:
            # It was only asked: whatever fails in that is nothing to end for.
            log.get_logger().exception("inquiry.failed", name=asked.name)
            return Answered(number, code=FAILED, reason="it failed at this; its log says why")
