"""The admin process: hears of the topology, asks fronts and workers, and answers operators."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import assert_never

from relay import clock, log
from relay.admin.answers import Answers
from relay.admin.asker import Asker, Nobody, Others, Seat
from relay.admin.courier.contract import Courier
from relay.admin.diskwatch import DiskWatch
from relay.admin.doors import Doors, Serve
from relay.admin.view import View
from relay.errors import BootError, SettingsError
from relay.inquiries.contract import Answered, Forwarded
from relay.process.control import (
    AccordWanted,
    ChildReady,
    GroupsChanged,
    HandOver,
    HostState,
    Isolated,
    KeysChanged,
    Outcome,
    PeerGone,
    Promote,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.duties import Duties
from relay.process.eventloop import run_to_its_end
from relay.process.place import Place
from relay.process.run import settle

# It waits for fronts and workers where there are too few cores for all.
NICENESS = 5


class Admin:
    """One admin process."""

    def __init__(self, place: Place, loop: asyncio.AbstractEventLoop) -> None:
        """Open nothing yet.

        Raises:
            BootError: the token file, the certificate, or what webhooks need is unusable.
        """
        self._place = place
        self._loop = loop
        counters: Counter[str] = Counter()
        self._others = self._other_hosts(counters)
        self._asker = Asker(place.settings, place.run_dir, loop, self._others)
        self._doors = Doors(place.settings.admin, place.run_dir, loop, self._load)
        self._disk = DiskWatch(self._asker)
        self.view = View(
            place, self._asker, self._doors.expiries, self._disk, counters, self._others
        )
        self._answers = Answers(self.view)
        self.view.courier = _courier_of(place, self._asker, self.view.counters)
        self._duties = Duties(
            "admin",
            place.control,
            self.view.counters,
            heartbeat_s=place.settings.supervisor.heartbeat_s,
        )
        self._next_duty: asyncio.TimerHandle | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until the supervisor says stop or is gone; raises BootError where it cannot."""
        control = self._place.control.fileno()
        self._loop.add_reader(control, self._read_control)
        self._read_control()
        self._doors.open()
        self._others.start()
        self._place.control.send(ChildReady())
        settle()
        self._do_duties()
        if self.view.courier is not None:
            self.view.courier.start()
        log.get_logger().info("admin.started")
        await self._stop.wait()
        self._loop.remove_reader(control)
        if self._next_duty is not None:
            self._next_duty.cancel()
        await self._doors.close()
        if self.view.courier is not None:
            await self.view.courier.close()
        await self.view.tools.close()
        self._disk.close()
        self._others.close()
        self._asker.close()
        log.get_logger().info("admin.stopped", **self.view.counters)

    def _other_hosts(self, counters: Counter[str]) -> Others:
        cluster = self._place.settings.cluster
        if not cluster.is_on:
            return Nobody()
        from relay.admin.otherhosts import OtherHosts  # a relay on one host needs nothing of it

        return OtherHosts(cluster, self._loop, self._serve, counters)

    async def _serve(self, asked: Forwarded) -> Answered:
        """Answer the admin of another host, which asks a process of this one or this one itself."""
        within_s = asked.within_ms / 1000
        if asked.role != "admin":
            seat, by_s = Seat(asked.role, asked.index), self._loop.time() + within_s
            return await self._asker.answered(seat, asked.name, bytes(asked.body), by_s)
        return await self._answers.answer(asked.name, bytes(asked.body))

    def _load(self) -> Serve:
        from relay.admin.server import serve_with  # half a second, and 15 MiB

        return serve_with(self.view, self._doors.tokens)

    def _read_control(self) -> None:
        for message in self._place.control.receive():
            match message:
                case TopologyChanged(topology):
                    self._asker.follow(topology)
                case SettingsChanged(settings):
                    self.view.settings = self._place.taken(settings)
                    self._asker.adopt(settings)
                    if self.view.courier is not None:
                        self.view.courier.adopt(settings.webhooks)
                    self._duties.adopt(heartbeat_s=settings.supervisor.heartbeat_s)
                    if self._next_duty is not None:
                        self._do_duties()
                case Outcome():
                    self.view.operations.heard(message)
                case GroupsChanged() | KeysChanged():
                    pass  # the business of others
                case Promote() | HandOver() | Isolated() | HostState() | AccordWanted():
                    pass  # so is what is said in a cluster
                case Stop() | PeerGone():
                    self._stop.set()
                case _:
                    assert_never(message)

    def _do_duties(self) -> None:
        if self._next_duty is not None:
            self._next_duty.cancel()
        now = clock.clock_ms()
        self._duties.tick(now)
        self._doors.look()
        self._disk.refresh()
        if self.view.courier is not None:
            self.view.courier.refresh()
        wait_s = max(0, self._duties.due_ms - now) / 1000
        self._next_duty = self._loop.call_later(wait_s, self._do_duties)


def _courier_of(place: Place, asker: Asker, counters: Counter[str]) -> Courier | None:
    """Return what posts events, None where none are told.

    Raises:
        BootError: it cannot, by what the settings say.
    """
    if not place.settings.webhooks.url:
        return None
    from relay.admin.courier.courier import HttpCourier  # its libraries take some MiB

    try:
        return HttpCourier(place.settings.webhooks, place.data_dir, asker, counters)
    except SettingsError as error:
        raise BootError(str(error)) from error


def main(place: Place) -> None:
    """Run the admin until it is told to stop."""
    os.nice(NICENESS)
    run_to_its_end(asyncio.run, lambda loop: Admin(place, loop).run())
