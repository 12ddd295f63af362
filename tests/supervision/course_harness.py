"""A supervisor's course and children, in one process: a child is the far end of its channel."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from random import Random

import pytest

from relay.process.channel import ChildEnd, child_end, supervisor_end
from relay.process.control import ChildReady, FromChild, FromSupervisor, PeerGone
from relay.process.memo import write_memo
from relay.settings.tables import ServerSettings, Settings
from relay.supervision.actions import Action, Exit, Instruct, Spawn
from relay.supervision.child import Adopted, Child
from relay.supervision.children import Children
from relay.supervision.course import Course
from relay.supervision.events import Claimed, Event, Spawned, event_of
from relay.supervision.fleet import Fleet

DEADLINE_S = 20.0
SETTINGS = Settings(server=ServerSettings(workers=1, fronts=1))
NO_PID = 1 << 30  # above the highest: nobody's


class CourseHarness:
    """Made in a loop that runs; what the fleet wants done is in `done`, and of processes it is."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        now_s = asyncio.get_running_loop().time()
        fleet = Fleet(settings, random=Random(1), oom_kills=0, now_s=now_s)
        self.done: list[Action] = []
        self.heard: list[tuple[int, FromChild | PeerGone]] = []
        self.hear: Callable[[int, FromChild | PeerGone], None] = self._hear
        self.ends: dict[int, ChildEnd] = {}  # of the children, by incarnation
        self.roles: dict[str, int] = {}  # who has it last
        self.course = Course(fleet, self._do)
        self.children = Children(self.course, lambda number, message: self.hear(number, message))

    def _hear(self, incarnation: int, message: FromChild | PeerGone) -> None:
        self.heard.append((incarnation, message))

    def _do(self, action: Action) -> Event | None:
        self.done.append(action)
        match action:
            case Spawn(role, _, number):
                self.add(number)
                self.roles[role] = number
                return Spawned(number, NO_PID + number)
            case Instruct(number, message):
                assert self.children.send(number, message, descriptor=None)
            case Exit(exit_code):
                self.course.end(exit_code)
            case _:
                pass
        return None

    def add(self, incarnation: int) -> None:
        """Have a child with that incarnation, of which there is but a channel."""
        ours, theirs = socket.socketpair()
        self.ends[incarnation] = child_end(theirs.detach())
        stacks = write_memo("stacks", b"")
        process = Adopted(NO_PID + incarnation)
        self.children.add(Child(incarnation, process, supervisor_end(ours), stacks))

    def serve(self) -> None:
        """Have all processes serve."""
        self.course.happened(Claimed(laid_out=True))
        for role in ("worker", "front"):
            ready = ChildReady("ipc:///w0" if role == "worker" else "")
            self.course.happened(event_of(self.roles[role], ready))
        self.course.carry_out(self.course.fleet.settle(now_s=self.course.now_s))
        assert self.course.fleet.has_served

    def told(self, incarnation: int) -> list[FromSupervisor | PeerGone]:
        """What that child has been told since it was asked last."""
        return self.ends[incarnation].receive()

    def close(self) -> None:
        """Give up all channels."""
        for incarnation, fd in self.children.stacks.items():
            os.close(fd)
            self.ends[incarnation].close()
        self.children.read()  # and close the near ends

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the course go on until that is so."""
        running = asyncio.create_task(self.course.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    if running.done():
                        pytest.fail(f"it has ended with {running.result()}")
                    await asyncio.sleep(0.001)
        finally:
            running.cancel()
            await asyncio.wait([running])
