"""The front process: accepts clients on the shared port and joins them to the workers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, assert_never

import uvloop

from relay.auth.banned import BanList
from relay.auth.listed import DenyList, Listed
from relay.auth.modes import authenticator_of
from relay.auth.revoked import RevokedList
from relay.bus.gathering import Gathering
from relay.bus.identity import Who, who_is
from relay.bus.remote import remote_of
from relay.bus.topology import Topology
from relay.errors import BootError, SettingsError
from relay.extensions import registry
from relay.front.desk import Extensions
from relay.front.dispatch import Dispatch
from relay.front.entrance.listener import Listener
from relay.front.flusher import Flusher
from relay.front.hub import TICK_MS, Hub
from relay.front.insight import Insight
from relay.front.links import Links
from relay.inquiries.contract import handlers_of
from relay.inquiries.reception import Reception
from relay.process.control import (
    AccordWanted,
    ChildReady,
    GroupsChanged,
    HandOver,
    Heartbeat,
    HostState,
    Isolated,
    KeysChanged,
    KeysWanted,
    Outcome,
    PeerGone,
    Promote,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.duties import Duties
from relay.process.eventloop import run_to_its_end
from relay.process.place import Place, read_keys
from relay.process.run import settle
from relay.settings.tables import Settings

# How fast to stop when nobody says: the supervisor is gone, and its successor wants the port.
ORPHAN_STOP_S: Final = 2.0


class Front:
    """One front process."""

    def __init__(self, place: Place, loop: asyncio.AbstractEventLoop) -> None:
        self._place = place
        self._loop = loop
        settings = place.settings
        try:
            bans = BanList(place.data_dir, settings.admin.jid)
            lists: list[DenyList] = [bans]
            if settings.auth.mode == "token":
                lists.append(RevokedList(place.data_dir))
            mode = authenticator_of(settings, ask_for_keys=lambda: place.control.send(KeysWanted()))
        except SettingsError as error:  # it was usable when the relay started
            raise BootError(str(error)) from error
        loaded = registry.load(tuple(settings.server.extensions))
        self.hub = Hub(settings, loaded, loop, Listed(mode, *lists), bans)
        if place.keys is not None:
            self.hub.checks.take_keys(read_keys(place.keys))
        extensions = Extensions(self.hub)
        self.dispatch = Dispatch(self.hub, extensions)
        self.links = Links(
            Who("front", place.index, place.incarnation, place.host).name,
            loop=loop,
            max_link_bytes=settings.flow.link_bytes,
            receive=self.dispatch.receive,
            announce=self.dispatch.announce,
            has_room=self.hub.has_room,
            gathering=Gathering(settings.flow.gather_s, settings.flow.ride_s),
            remote=remote_of(settings),
        )
        self.flusher = Flusher(loop, self._count_direct_messages)
        self.hub.join(self.links, self.flusher, extensions)
        self._listener = Listener(self.hub, place.listener)
        insight = Insight(place, self.hub, self.dispatch, self._listener.entrance)
        self._reception = Reception(
            self.links.context,
            handlers_of("relay.front.inquiries", insight),
            run_dir=place.run_dir,
            incarnation=place.incarnation,
            said_late=lambda: loop.call_soon(self._hear),
        )
        self._duties = Duties(
            "front",
            place.control,
            self.hub.counters,
            heartbeat_s=settings.supervisor.heartbeat_s,
            heartbeat=self._heartbeat,
        )
        self._next_duty: asyncio.TimerHandle | None = None  # once it serves
        self._topology_complete = asyncio.Event()
        self._stop = asyncio.Event()
        self._stop_within_s = ORPHAN_STOP_S
        self._orphaned = asyncio.Event()
        self._is_succeeded = False  # whether there is another front in its seat

    def _heartbeat(self) -> Heartbeat:
        visitors, links = self.hub.visitors, self.links
        messages = links.direct_messages + links.group_messages
        lacking_s = int(links.lacking_s())
        return Heartbeat(visitors.sessions, visitors.logins, messages, lacking_s=lacking_s)

    def _count_direct_messages(self) -> int:
        return self.links.direct_messages + self.dispatch.direct_messages

    async def run(self) -> None:
        """Serve until the supervisor says stop or is gone; raises BootError where it cannot."""
        self._loop.add_reader(self._place.control.fileno(), self._read_control)
        self._read_control()
        waits = [
            asyncio.create_task(event.wait()) for event in (self._topology_complete, self._stop)
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._stop.is_set():
            await self._serve()
        # What the topology does from here on is none of this front's business.
        self._loop.remove_reader(self._place.control.fileno())
        if self._reception.listens:
            self._loop.remove_reader(self._reception.descriptor)
            self._reception.close()
        self.links.close()
        await self.hub.checks.end()
        self.hub.visitors.say_sums()
        self.hub.log.info("front.stopped", **self.hub.counters)

    async def _serve(self) -> None:
        await self._listener.listen()
        self._reception.listen()
        self._loop.add_reader(self._reception.descriptor, self._hear)
        self._place.control.send(ChildReady())
        settle()
        self.tick()
        self._do_duties()
        self.hub.log.info("front.started")
        await self._stop.wait()
        await self._give_notice()
        await self._listener.drain(self._stop_within_s)

    async def _give_notice(self) -> None:
        """Serve on for a while in which health checks fail, unless a successor serves."""
        notice_s = min(self.hub.settings.supervisor.drain_notice_s, self._stop_within_s / 2)
        if not notice_s or self._is_succeeded or self._orphaned.is_set():
            return
        self._listener.give_notice()
        self.hub.log.info("front.draining", clients_leave_in_s=notice_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._orphaned.wait(), notice_s)
        self._stop_within_s -= notice_s
        if self._orphaned.is_set():
            self._stop_within_s = ORPHAN_STOP_S

    def _hear(self) -> None:
        """Answer an inquiry; the next one in another turn, since clients come first."""
        if self._reception.listens:
            self._reception.answer_one()
            # The descriptor is edge-triggered, and sending may have consumed an edge.
            if self._reception.has_input:
                self._loop.call_soon(self._hear)

    # -------------------------------------------------------------------------------- control

    def _read_control(self) -> None:
        for message in self._place.control.receive():
            match message:
                case TopologyChanged():
                    self._follow(message.topology)
                case SettingsChanged(settings):
                    self._adopt(self._place.taken(settings))
                case GroupsChanged() | Outcome() | Promote() | HandOver() | HostState():
                    pass  # the business of others
                case AccordWanted():
                    pass  # the agent's
                case Isolated(isolated):
                    self._listener.isolate(isolated)
                case KeysChanged():
                    self.hub.checks.take_keys(read_keys(self._place.control.take_descriptor()))
                case Stop():
                    self._stop_within_s = message.deadline_s
                    self._stop.set()
                case PeerGone():
                    self._loop.remove_reader(self._place.control.fileno())
                    self._orphaned.set()
                    if not self._stop.is_set():
                        self._stop_within_s = ORPHAN_STOP_S
                        self._stop.set()
                case _:
                    assert_never(message)

    def _adopt(self, settings: Settings) -> None:
        """Go by other settings, and the sessions that are open too."""
        self.hub.adopt(settings)
        self.links.adopt(gather_s=settings.flow.gather_s, ride_s=settings.flow.ride_s)
        self._listener.adopt()
        self._duties.adopt(heartbeat_s=settings.supervisor.heartbeat_s)
        if self._next_duty is not None:
            self._next_duty.cancel()
            self._do_duties()

    def _follow(self, topology: Topology) -> None:
        self.links.follow(topology)
        me = who_is(self.links.identity)
        self._is_succeeded = any(
            (front.host, front.index) == (me.host, me.index)
            for front in map(who_is, topology.fronts)
            if front != me
        )
        if topology.is_complete:
            self._topology_complete.set()

    # ----------------------------------------------------------------------------------- time

    def tick(self) -> None:
        """Do what is due of flushing, pings and deadlines, and so on from here on."""
        self.flusher.tick()
        clock_ms = self.hub.clock_ms()
        for client in self.hub.wheel.expire(clock_ms):
            try:
                client.on_timer(clock_ms)
            except Exception:
                client.fail()
        self._loop.call_later(TICK_MS / 1000, self.tick)

    def _do_duties(self) -> None:
        clock_ms = self.hub.clock_ms()
        self._duties.tick(clock_ms)
        self.hub.visitors.tick(clock_ms)
        self.hub.tracing.tick(clock_ms)
        self._listener.give_back()
        self.hub.checks.look(clock_ms)
        self._listener.refresh()
        self._reception.keep()
        due_ms = min(self._duties.due_ms, self.hub.visitors.due_ms)
        wait_s = (due_ms - clock_ms) / 1000
        self._next_duty = self._loop.call_later(wait_s, self._do_duties)


def main(place: Place) -> None:
    """Run a front until it is told to stop."""
    run_to_its_end(uvloop.run, lambda loop: Front(place, loop).run())
