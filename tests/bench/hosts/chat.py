"""People who chat whatever happens to their host: they go to another one, and send again.

Each has one message under way, to one other, and says the next some time after its ack. Who loses
its connection connects to the next host and sends what was not acked once more.
"""

from __future__ import annotations

import itertools
import re
import select
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Self

from tests.bench.hosts.plan import Person
from tests.bench.peers.clients import Refused, RelayClient, Step
from tests.bench.peers.drive import Address
from tests.bench.peers.wires import TEXT, WebSocketWire, WireBroken

_READ_BYTES: Final = 1 << 18
_AGAIN_S: Final = 0.1  # between tries to connect
_LOGIN_S: Final = 5.0  # then the next host is tried
_TURN_S: Final = 0.02  # how late somebody speaks, at most
_LOOK_S: Final = 0.02


class Acked(NamedTuple):
    """A message of a person, and when its ack 1 came; times are of `time.monotonic`."""

    person: int
    sent_s: float
    at_s: float


def firsts(acked: Iterable[Acked]) -> dict[int, Acked]:
    """Return the first of each person, of what is in order."""
    found: dict[int, Acked] = {}
    for each in acked:
        found.setdefault(each.person, each)
    return found


class Loner(RelayClient):
    """A user who acks what waited for it, so that it waits no longer."""

    _WAITED: Final = re.compile(rb'\\"fromMe\\": ?false, ?\\"id\\": ?\\"3EB0([0-9A-F]{12})')

    def _take(self, payload: bytes) -> None:
        super()._take(payload)
        if payload.startswith(b'["q"'):
            for found in self._WAITED.finditer(payload):
                self._got(int(found[1], 16))


class _Line:
    """A person's connection, if there is one."""

    def __init__(self, host: int) -> None:
        self.host = host
        self.socket: socket.socket | None = None
        self.client: Loner | None = None
        self.is_full = False
        self.until_s = 0.0  # when a try to log in ends
        self.again_s = 0.0  # when the next one begins
        self.number = 0  # what is under way, 0: nothing
        self.sent_s = 0.0
        self.next_s = 0.0  # when it says something again


class Chat:
    """All of them, in a thread of their own: as a context manager they chat while it lasts."""

    _numbers = itertools.count(1)  # of messages: none twice, whatever an earlier chat left behind

    def __init__(
        self, people: Sequence[Person], hosts: Sequence[Address], *, interval_s: float
    ) -> None:
        """Everybody waits `interval_s` after an ack before it says the next."""
        self.acked: list[Acked] = []
        self.lost_lines = 0  # connections that ended
        self.refused = 0  # errors that were answered
        self._people = people
        self._hosts = hosts
        self._interval_s = interval_s
        self._poll = select.epoll()
        self._by_fd: dict[int, int] = {}
        self._is_over = False
        self._thread = threading.Thread(target=self._go_on, name="chat")
        began_s = time.monotonic()
        self._lines = [_Line(person.host) for person in people]
        for n, line in enumerate(self._lines):  # not all at once
            line.next_s = began_s + interval_s * n / len(people)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()
        for line in self._lines:
            if line.socket is not None:
                line.socket.close()
        self._poll.close()

    def come_in(self, within_s: float = 30.0) -> None:
        """Wait until everybody has been acked something.

        Raises:
            TimeoutError: that takes too long.
        """
        if len(served := self.served(0, len(self._people), within_s)) < len(self._people):
            missing = len(self._people) - len(served)
            raise TimeoutError(f"{missing} users got no ack in {within_s:g} s")

    def served(self, behind: int, count: int, within_s: float) -> dict[int, Acked]:
        """Wait until `count` people have an ack behind the first `behind`; return their first."""
        ends_s = time.monotonic() + within_s
        while len(found := firsts(self.acked[behind:])) < count and time.monotonic() < ends_s:
            if not self._thread.is_alive():
                raise RuntimeError("the chat has ended by an error")
            time.sleep(_LOOK_S)
        return found

    def host_of(self, person: int) -> int:
        """Return where somebody is, or tries to be."""
        return self._lines[person].host

    def speak(self) -> None:
        """Have everybody who waits say the next now."""
        for line in self._lines:
            line.next_s = 0.0

    def _go_on(self) -> None:
        while not self._is_over:
            self._do_what_is_due(time.monotonic())
            for fd, event in self._poll.poll(_TURN_S):
                person = self._by_fd.get(fd)
                if person is not None:
                    self._hear(person, event)

    def _do_what_is_due(self, now_s: float) -> None:
        for person, line in enumerate(self._lines):
            client = line.client
            if client is None:
                if now_s >= line.again_s:
                    self._connect(person, now_s)
            elif not client.is_in:
                if now_s >= line.until_s:
                    self._lose(person)
            elif not line.number and now_s >= line.next_s:
                self._say(person, now_s)

    def _connect(self, person: int, now_s: float) -> None:
        line, who = self._lines[person], self._people[person]
        line.client = Loner(who.name, who.other, WebSocketWire("/", kind=TEXT))
        line.until_s = now_s + _LOGIN_S
        line.socket = socket.socket()
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.socket.setblocking(False)
        line.socket.connect_ex(self._hosts[line.host])
        line.is_full = True  # until it is connected
        self._by_fd[line.socket.fileno()] = person
        self._poll.register(line.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        line.client.begin()

    def _lose(self, person: int) -> None:
        line = self._lines[person]
        assert line.socket is not None
        del self._by_fd[line.socket.fileno()]
        line.socket.close()
        line.socket = line.client = None
        line.host = (line.host + 1) % len(self._hosts)
        line.again_s = time.monotonic() + _AGAIN_S
        self.lost_lines += 1

    def _hear(self, person: int, event: int) -> None:
        line = self._lines[person]
        client, connection = line.client, line.socket
        if client is None or connection is None:
            return
        try:
            if event & select.EPOLLOUT:
                line.is_full = False
                self._poll.modify(connection.fileno(), select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                data = connection.recv(_READ_BYTES)
                if not data:
                    raise WireBroken("closed")
                self._take(person, client, data)
            self._write(line)
        except BlockingIOError:
            pass
        except Refused:
            self.refused += 1
            self._lose(person)
        except (WireBroken, OSError):
            self._lose(person)

    def _take(self, person: int, client: Loner, data: bytes) -> None:
        line, was_in = self._lines[person], client.is_in
        client.received(data)
        now_s = time.monotonic()
        for step, number in client.steps:
            if step == Step.ACKED and number == line.number:
                self.acked.append(Acked(person, line.sent_s, now_s))
                line.number, line.next_s = 0, now_s + self._interval_s
        client.steps.clear()
        if client.is_in and not was_in and line.number:
            client.say(line.number)  # it was not acked
        elif client.is_in and not line.number and now_s >= line.next_s:
            self._say(person, now_s)

    def _say(self, person: int, now_s: float) -> None:
        line = self._lines[person]
        assert line.client is not None
        line.number, line.sent_s = next(self._numbers), now_s
        line.client.say(line.number)
        try:
            self._write(line)
        except OSError:
            pass  # the next look at the socket says so, too

    def _write(self, line: _Line) -> None:
        if line.client is None or line.socket is None or line.is_full:
            return
        out = line.client.wire.out
        if not out:
            return
        try:
            del out[: line.socket.send(out)]
        except BlockingIOError:
            pass
        if out:
            line.is_full = True
            self._poll.modify(line.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
