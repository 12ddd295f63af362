"""The supervisor: starts the relay's fronts and workers, watches them, stops them.

It never sees a stanza, and it decides little: it hands everything that happens to the fleet
(relay.supervision.fleet) and does what the fleet wants done. What it says to a child is in
relay.process.control.

Its parts have modules of their own: what must be so before anything starts (start), one thing after
another (course), the processes that live (children), what operators want (wishes), and another
program in its place (renewal).
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, assert_never

from relay import __version__, compiled, log, signals
from relay.process.control import (
    AccordSettled,
    AccordWanted,
    FromChild,
    FromSupervisor,
    GroupsChanged,
    KeysChanged,
    PeerGone,
    Wish,
)
from relay.settings.commandline import Sources
from relay.settings.tables import Settings
from relay.supervision.actions import (
    Abort,
    Action,
    Announce,
    CloseListener,
    Exit,
    FetchKeys,
    Instruct,
    Kill,
    KillResharding,
    Log,
    Rehearse,
    Renew,
    SetTimer,
    Spawn,
    StartResharding,
)
from relay.supervision.announcing import announce
from relay.supervision.child import Inherited, exited_child, start_child, start_resharding
from relay.supervision.children import Children
from relay.supervision.claims import Claims
from relay.supervision.course import Course
from relay.supervision.deaths import parse_oom_kills
from relay.supervision.events import (
    Event,
    Exited,
    KeysTaken,
    Resharded,
    RollAsked,
    Spawned,
    SpawnFailed,
    StopAsked,
    WentDeaf,
    event_of,
)
from relay.supervision.fleet import Fleet
from relay.supervision.handover import Handover, keep_open
from relay.supervision.keysource import KeySource
from relay.supervision.notice import ServiceManager
from relay.supervision.program import OWN
from relay.supervision.reload import InForce
from relay.supervision.renewal import Renewal
from relay.supervision.secretfiles import read_secrets
from relay.supervision.sharing import Sharing
from relay.supervision.start import Start
from relay.supervision.terminal import Terminal
from relay.supervision.wishes import Wishes

# Between two looks at what others may take away (the run directory, the terminal), at most.
LOOK_S: Final = 1.0

logger = log.get_logger()


class Supervisor:
    """Everything between the settings and the exit code; call `run` once, then `close`."""

    def __init__(self, sources: Sources, settings: Settings, *, minds_terminal: bool) -> None:
        """Run with `settings`, which were loaded from `sources`; SIGHUP loads them again."""
        now_s = asyncio.get_running_loop().time()
        self._in_force = InForce(sources, settings)
        self._sharing = Sharing(self._in_force, read_secrets) if settings.cluster.is_on else None
        self._terminal = Terminal(minds=minds_terminal)
        self._manager = ServiceManager()
        self._keys = KeySource(settings, now_s=now_s)
        self._resharding: subprocess.Popen[bytes] | None = None
        fleet = Fleet(
            settings,
            random=Random(),  # noqa: S311  # restarts need not be repeatable, only spread
            oom_kills=_oom_kills(),
            now_s=now_s,
        )
        self._course = Course(fleet, self._do)
        self._start = Start(self._course, self._in_force, self._sharing, self._keys)
        self._children = Children(self._course, self._hear)
        self._wishes = Wishes(self._course, self._children, self._in_force, self._sharing)
        self._renewal = Renewal(
            self._course,
            self._children,
            collect_exits=self._collect_exits,
            handover=self._handover,
        )

    async def run(self, predecessor: Handover | None = None) -> int:
        """Start, serve and stop; return the exit code. Take over from a `predecessor` if any.

        Raises:
            SettingsError: the groups file or a key is unusable; nothing was started.
            BootError: something is in the way of starting; nothing was started.
        """
        happened, loop = self._course.happened, asyncio.get_running_loop()
        calls: dict[signal.Signals, Callable[[], object]] = {
            signal.SIGTERM: partial(happened, StopAsked("SIGTERM")),
            signal.SIGINT: partial(happened, StopAsked("SIGINT")),
            signal.SIGUSR2: partial(happened, RollAsked()),
            signal.SIGCHLD: self._collect_exits,
        }
        for number, call in calls.items():
            loop.add_signal_handler(number, self._course.soon, call)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signals.release()
        begin = partial(self._take_over, predecessor) if predecessor else self._start.begin
        self._course.soon(begin)
        self._course.soon(self._look)
        return await self._course.run()

    def close(self) -> None:
        """Kill what still lives, however `run` ended, and give up all that is held."""
        self._children.kill()
        for process in (self._resharding, self._renewal.process, self._keys.process):
            if process:
                process.kill()
                process.wait()
        if self._start.claims:
            self._start.claims.release()

    # --- what is looked at now and then: what others may take away, and how all of it is ---

    def _look(self) -> None:
        now_s, fleet = self._course.now_s, self._course.fleet
        self._terminal.look(now_s=now_s)
        if not fleet.is_stopping:
            self._keys.look(now_s)
        self._manager.look(fleet.condition(now_s=now_s), now_s=now_s)
        if self._start.claims:
            self._keep_run_dir(self._start.claims)
        self._course.later(self._manager.look_every_s(LOOK_S), self._look)

    def _keep_run_dir(self, claims: Claims) -> None:
        try:
            if claims.keep_run_dir():
                logger.warning("supervisor.run_dir_made_again", directory=claims.run_dir)
        except OSError as error:
            directory = claims.run_dir
            logger.error("supervisor.run_dir_gone", directory=directory, reason=error.strerror)

    # --- what happens ---

    def _take_over(self, predecessor: Handover) -> None:
        self._start.take_over(predecessor)
        self._children.take_over(predecessor)
        keep_open(predecessor, keeps=False)
        logger.info(
            "supervisor.renewed",
            version=__version__,
            parts=compiled.kind(),
            pid=os.getpid(),
            code=OWN.code(),
        )
        self._course.happened(predecessor.fleet)
        self._collect_exits()  # whoever has died in between

    def _hung_up(self) -> None:
        if self._terminal.is_closed(now_s=self._course.now_s):
            self._course.soon(partial(self._course.happened, StopAsked("SIGHUP")))
        else:
            self._wishes.reload()

    def _hear(self, incarnation: int, message: FromChild | PeerGone) -> None:
        if isinstance(message, Wish):
            self._wishes.fulfil(incarnation, message)
        elif isinstance(message, AccordSettled):
            self._wishes.settle(message.number, message.refusal)
        else:
            self._course.happened(event_of(incarnation, message))

    def _collect_exits(self) -> None:
        while (pid := exited_child()) is not None:
            self._collect(pid)

    def _collect(self, pid: int) -> None:
        if self._resharding and self._resharding.pid == pid:
            returncode = self._resharding.wait()
            self._resharding = None
            self._course.happened(Resharded(returncode, _oom_kills()))
        elif (rehearsed := self._renewal.has_ended(pid)) is not None:
            self._course.happened(rehearsed)
        elif (has_changed := self._keys.has_ended(pid, self._course.now_s)) is not None:
            if has_changed:
                self._course.happened(KeysTaken())
        elif child := self._children.with_pid(pid):
            returncode = self._children.collect(child)
            self._course.happened(Exited(child.incarnation, returncode, _oom_kills()))
        else:
            # Of a process that has died before it: as the first process of a container we are the
            # one to whom such are left.
            os.waitpid(pid, 0)

    # --- what the fleet wants done ---

    def _do(self, action: Action) -> Event | None:
        match action:
            case Spawn():
                return self._spawn(action)
            case Instruct(number, message):
                return self._instruct(number, message)
            case Abort(number):
                self._children.signal_group(number, signal.SIGABRT)
            case Kill(number):
                self._children.signal_group(number, signal.SIGKILL)
            case SetTimer(delay_s, due):
                self._course.later(delay_s, partial(self._course.happened, due))
            case Log(level, event, fields):
                getattr(logger, level)(event, **fields)
            case FetchKeys():
                self._keys.wanted(self._course.now_s)
            case Announce():
                announce(self._in_force.settings)
            case CloseListener(index):
                if self._start.claims:
                    self._start.claims.close_listener(index)
            case Rehearse():
                return self._renewal.rehearse()
            case Renew():
                self._renewal.begin()
            case StartResharding():
                # Every store is made by this child, so that one that is missing later was lost.
                memo = self._in_force.write_settings_memo()
                self._resharding = start_resharding(memo)
                os.close(memo)
            case KillResharding():
                assert self._resharding
                self._resharding.kill()
            case Exit(exit_code):
                self._course.end(exit_code)
            case _:
                assert_never(action)
        return None

    def _spawn(self, spawn: Spawn) -> Event:
        claims, number, index, settings = self._start.claims, spawn.incarnation, spawn.index, None
        assert claims
        try:
            settings = self._in_force.write_settings_memo()
            if spawn.role == "front":
                listener = claims.listener(index).fileno()
                given = Inherited(settings, listener=listener, keys=self._keys.memo)
            elif spawn.role == "worker":
                given = Inherited(settings, groups=self._in_force.groups_memo)
            else:
                given = Inherited(settings)
            claims.keep_run_dir()
            child = start_child(spawn.role, index, number, run_dir=claims.run_dir, inherited=given)
        except OSError as error:
            return SpawnFailed(number, str(error))
        finally:
            if settings is not None:
                os.close(settings)
        self._children.add(child)
        return Spawned(number, child.pid)

    def _instruct(self, incarnation: int, message: FromSupervisor) -> Event | None:
        memo = None
        if isinstance(message, GroupsChanged):
            memo = self._in_force.groups_memo
        elif isinstance(message, KeysChanged):
            memo = self._keys.memo
        elif isinstance(message, AccordWanted) and self._sharing is not None:
            memo = self._sharing.memo
        is_queued = self._children.send(incarnation, message, descriptor=memo)
        return None if is_queued else WentDeaf(incarnation)

    def _handover(self) -> Handover:
        assert self._start.claims
        assert self._in_force.groups_memo is not None
        server = self._in_force.settings.server
        return Handover(
            claims=self._start.claims.held,
            settings=self._in_force.asked,
            host=server.host,
            port=server.port,
            groups=self._in_force.groups_memo,
            keys=self._keys.memo,
            accord=self._sharing.origin if self._sharing is not None else None,
            channels=self._children.channels,
            stacks=self._children.stacks,
            fleet=self._course.fleet.as_it_is(),
            minds_terminal=self._terminal.minds,
        )


def _oom_kills() -> int:
    try:
        return parse_oom_kills(Path("/proc/vmstat").read_text())
    except OSError:
        return 0  # not Linux
