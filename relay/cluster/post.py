"""A thread that asks others over the engine, and takes what they ask: for a process with a loop.

To connect may take a second, in which the loop goes on. Nothing waits for a connection: without one
whoever asks hears that at once.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from relay.cluster.line import Line
from relay.cluster.natswire import Message, MessageTooLarge
from relay.errors import RelayError
from relay.settings.clustering import ClusterSettings

# Of this process that are not answered yet; one more is refused. An operator's one look at all of
# 256 ranges is as many.
MAX_ASKED: Final = 1024
# What is sent and is not on its way yet: so many only where the engine takes nothing.
MAX_UNSENT: Final = 2048
# Between two looks at the connection, whose pings are answered then.
_LOOK_S: Final = 0.5
# Who has not looked for so long has slept: who asked meanwhile does not wait any more, and is not
# to have done by now what he has given up.
SLEPT_S: Final = 5.0


class Unanswered(RelayError):
    """Nobody has answered; the reason says why, of whom was asked."""


class _Letter(NamedTuple):
    subject: str
    payload: bytes
    number: int = 0  # of who waits for an answer; 0: nobody does


class Post:
    """The one of a process; all but the thread's own is called in the loop."""

    def __init__(
        self,
        cluster: ClusterSettings,
        *,
        name: str,
        subject: str,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[bytes, str, bool], None],
    ) -> None:
        """Call `take` in the loop with what is asked at `subject`, and where to `answer` it.

        And with whether it comes late: this process has slept.
        """
        self._loop = loop
        self._take = take
        self._line = Line(cluster, name=name, subjects=[subject])
        self._letters: deque[_Letter] = deque()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._ends = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._inboxes: dict[str, int] = {}  # of the thread: whose answer comes there
        self.most_bytes = 0  # that a message may have, by the connection of last
        self._looked_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="post", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def close(self) -> None:
        """End the thread soon; it is not waited for, as it may be connecting."""
        self._ends = True
        os.eventfd_write(self._wake, 1)
        for number in list(self._waiting):
            self._fail(number, "it ends here")

    async def ask(self, subject: str, payload: bytes, by_s: float) -> bytes:
        """Return what is answered until `by_s`, in seconds of the loop.

        Raises:
            Unanswered: nobody has.
        """
        if len(self._waiting) >= MAX_ASKED:
            raise Unanswered("too much was asked that is not answered yet")
        self._number += 1
        number = self._number
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            self._send(_Letter(subject, payload, number))
            async with asyncio.timeout_at(by_s):
                answer: bytes = await waiting
                return answer
        except TimeoutError:
            raise Unanswered("it did not answer in time") from None
        finally:
            del self._waiting[number]

    def answer(self, to: str, payload: bytes) -> None:
        """Answer what was taken; one that does not wait any more misses it."""
        self._send(_Letter(to, payload))

    def _send(self, letter: _Letter) -> None:
        if len(self._letters) >= MAX_UNSENT:
            raise Unanswered("too much is to be sent that the engine does not take")
        self._letters.append(letter)
        os.eventfd_write(self._wake, 1)

    def _hear(self, number: int, payload: bytes) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(payload)

    def _fail(self, number: int, reason: str) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_exception(Unanswered(reason))

    # ------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            while not self._ends:
                self._turn()
        except BaseException as error:
            failure = error  # a name that outlives the block

            def escape() -> None:
                raise failure  # in a callback of the loop, as what fails there does

            self._tell(escape)
        finally:
            self._line.close()

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._ends = True

    def _turn(self) -> None:
        if self._line.keep(time.monotonic()) and self._line.wire is not None:
            self.most_bytes = self._line.wire.max_payload
        self._wait()
        now_s = time.monotonic()
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass
        while self._letters:
            self._post(self._letters.popleft(), now_s)
        is_late = now_s - self._looked_s > SLEPT_S
        while messages := self._line.receive(now_s):
            for message in messages:
                self._sort(message, is_late=is_late)
            if not is_late:
                break
        self._looked_s = now_s
        if self._line.wire is None:
            for number in self._inboxes.values():
                self._tell(self._fail, number, "the connection with the engine was lost")
            self._inboxes.clear()
        elif len(self._inboxes) > 2 * MAX_ASKED:  # of those most wait no more
            for inbox in list(self._inboxes)[:-MAX_ASKED]:
                del self._inboxes[inbox]

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        wait_s = _LOOK_S
        wire = self._line.wire
        if wire is not None:
            if wire.has_input:
                return
            poll.register(wire.fileno(), select.POLLIN | (select.POLLOUT if wire.has_unsent else 0))
        elif self._line.next_try_s is not None:
            wait_s = min(wait_s, max(0.0, self._line.next_try_s - time.monotonic()))
        poll.poll(int(1000 * wait_s) + 1)

    def _post(self, letter: _Letter, now_s: float) -> None:
        wire, inbox = self._line.wire, ""
        if wire is not None and letter.number:
            inbox = wire.new_inbox()
            self._inboxes[inbox] = letter.number
        try:
            sent = self._line.publish(letter.subject, letter.payload, now_s=now_s, reply=inbox)
        except MessageTooLarge as error:
            self._inboxes.pop(inbox, None)
            self._tell(self._fail, letter.number, str(error))
            return
        if not sent and not inbox and letter.number:
            self._tell(self._fail, letter.number, "this host reaches no engine")

    def _sort(self, message: Message, *, is_late: bool) -> None:
        number = self._inboxes.pop(message.subject, None)
        if number is None:
            if message.reply:
                self._tell(self._take, message.payload, message.reply, is_late)
        elif message.status:
            self._tell(self._fail, number, "it is not there")
        else:
            self._tell(self._hear, number, message.payload)
