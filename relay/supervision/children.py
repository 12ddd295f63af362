"""The processes of a supervisor that live: what they say is heard, and what they are told is sent.

Who they are to the fleet, and what becomes of them, is decided there (relay.supervision.fleet).
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from functools import partial

from relay import log
from relay.process.channel import supervisor_end
from relay.process.control import FromChild, FromSupervisor, PeerGone
from relay.supervision.child import Adopted, Child
from relay.supervision.course import Course
from relay.supervision.handover import Handover

logger = log.get_logger()


class Children:
    """All of them, by incarnation."""

    def __init__(self, course: Course, hear: Callable[[int, FromChild | PeerGone], None]) -> None:
        """`hear` is called with each message, and the incarnation that has sent it."""
        self._course = course
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._living: dict[int, Child] = {}

    def add(self, child: Child) -> None:
        """Hear one that has been started."""
        self._living[child.incarnation] = child
        fd = child.channel.fileno()
        self._loop.add_reader(fd, self._course.soon, partial(self._read, child))

    def take_over(self, predecessor: Handover) -> None:
        """Go on with those of a predecessor in this process."""
        for each in predecessor.fleet.children:
            channel = supervisor_end(socket.socket(fileno=predecessor.channels[each.incarnation]))
            stacks = predecessor.stacks[each.incarnation]
            self.add(Child(each.incarnation, Adopted(each.pid), channel, stacks))

    def with_pid(self, pid: int) -> Child | None:
        """Return the one that is, or was until just now, that process."""
        return next((child for child in self._living.values() if child.pid == pid), None)

    def is_connected(self, incarnation: int) -> bool:
        """Tell whether it lives, and can be told anything."""
        child = self._living.get(incarnation)
        return child is not None and child.connected

    @property
    def are_quiet(self) -> bool:
        """Whether all are connected, and no message is on its way to one or half read."""
        children = self._living.values()
        return all(child.connected and child.channel.is_quiet for child in children)

    @property
    def channels(self) -> dict[int, int]:
        """The descriptors of their channels."""
        return {number: child.channel.fileno() for number, child in self._living.items()}

    @property
    def stacks(self) -> dict[int, int]:
        """The descriptors of the memos for their stacks."""
        return {number: child.stacks for number, child in self._living.items()}

    # --- what they say, and are told ---

    def read(self) -> None:
        """Hear at once whatever they have said."""
        for child in list(self._living.values()):
            self._read(child)

    def _read(self, child: Child) -> None:
        if child.connected:
            for message in child.channel.receive():
                if isinstance(message, PeerGone):
                    self._disconnect(child)
                self._hear(child.incarnation, message)

    def send(self, incarnation: int, message: FromSupervisor, *, descriptor: int | None) -> bool:
        """Tell it that; False if it has read nothing for so long that it could not be queued."""
        child = self._living[incarnation]
        if not child.channel.send(message, descriptor=descriptor):
            return False
        if child.channel.has_unsent:
            fd = child.channel.fileno()
            self._loop.add_writer(fd, self._course.soon, partial(self._flush, child))
        return True

    def _flush(self, child: Child) -> None:
        if child.connected:
            child.channel.flush()
            if not child.channel.has_unsent:
                self._loop.remove_writer(child.channel.fileno())

    def _disconnect(self, child: Child) -> None:
        if child.connected:
            self._loop.remove_reader(child.channel.fileno())
            self._loop.remove_writer(child.channel.fileno())
            child.disconnect()

    # --- how they end ---

    def signal_group(self, incarnation: int, number: signal.Signals) -> None:
        """Signal it and all that it has started."""
        self._living[incarnation].signal_group(number)

    def collect(self, child: Child) -> int:
        """Let go of one that has exited; return the exit code, negative for a signal."""
        returncode = child.wait()
        if stacks := child.take_stacks():
            logger.error("child.crashed", pid=child.pid, exception=stacks)
        del self._living[child.incarnation]
        self._disconnect(child)
        return returncode

    def kill(self) -> None:
        """Kill all that live, and wait until they have exited."""
        for child in self._living.values():
            child.signal_group(signal.SIGKILL)
        for child in self._living.values():
            child.wait()
