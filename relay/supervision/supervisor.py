"""The supervisor: starts the relay's fronts and workers, watches them, stops them.

It never sees a stanza, and it decides little: it hands everything that happens to the fleet
(relay.supervision.fleet) and does what the fleet wants done. What it holds is in
relay.supervision.claims, what it reads again in relay.supervision.reload, what it says to a child
in relay.process.control.

Everything that happens (a signal, a death, a message, a timer) is queued as a call, and one loop
makes the calls one after another. So nothing interleaves, and an exception in any of them is ours:
it ends the supervisor, which kills every child on its way out.
"""

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, NoReturn, assert_never

from relay import __version__, log
from relay.disk.groupfile import load_groups
from relay.disk.layout import is_settled, read_layout
from relay.errors import RelayError, SettingsError
from relay.extensions.registry import tables_of
from relay.process import descriptors
from relay.process.control import ChildReady, FromChild, Heartbeat, PeerGone
from relay.settings.check import check_config, report
from relay.settings.commandline import PROGRAM, Sources, parse_arguments, serve_command
from relay.settings.tables import Settings
from relay.supervision.actions import (
    Abort,
    Action,
    Announce,
    Exit,
    Instruct,
    Kill,
    KillResharding,
    Log,
    SetTimer,
    Spawn,
    StartResharding,
)
from relay.supervision.child import Child, start_resharding
from relay.supervision.claims import Claims
from relay.supervision.deaths import parse_oom_kills
from relay.supervision.events import (
    Beat,
    ChannelClosed,
    Claimed,
    Event,
    Exited,
    GroupsTaken,
    Resharded,
    RollAsked,
    Served,
    SettingsTaken,
    Spawned,
    SpawnFailed,
    StopAsked,
    WentDeaf,
)
from relay.supervision.fleet import Fleet
from relay.supervision.reload import InForce

# Between two tries to claim the port of a supervisor that was killed.
CLAIM_AGAIN_S: Final = 0.1

logger = log.get_logger()


class Supervisor:
    """Everything between the settings and the exit code; call `run` once, then `close`."""

    def __init__(self, sources: Sources, settings: Settings) -> None:
        """Run with `settings`, which were loaded from `sources`; SIGHUP loads them again."""
        self._loop = asyncio.get_running_loop()
        self._todo: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._in_force = InForce(sources, settings)
        self._claims: Claims | None = None
        self._run_dir = Path()  # once all is claimed
        self._resharding: subprocess.Popen[bytes] | None = None
        self._children: dict[int, Child] = {}  # that live, by incarnation
        self._fleet = Fleet(
            settings,
            random=Random(),  # noqa: S311  # restarts need not be repeatable, only spread
            oom_kills=_oom_kills(),
            now_s=self._loop.time(),
        )
        self._exit_code: int | None = None

    async def run(self) -> int:
        """Start, serve and stop; return the exit code.

        Raises:
            SettingsError: the groups file is unusable; nothing was started.
            BootError: something is in the way of starting; nothing was started.
        """
        self._loop.set_exception_handler(self._on_loop_error)
        calls: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: partial(self._happened, StopAsked("SIGTERM")),
            signal.SIGINT: partial(self._happened, StopAsked("SIGINT")),
            signal.SIGHUP: self._reload,
            signal.SIGUSR2: partial(self._happened, RollAsked()),
            signal.SIGCHLD: self._collect_exits,
        }
        for number, call in calls.items():
            self._loop.add_signal_handler(number, self._todo.put_nowait, call)
        self._todo.put_nowait(self._claim)
        while self._exit_code is None:
            (await self._todo.get())()
            if self._todo.empty():
                self._carry_out(self._fleet.settle(now_s=self._loop.time()))
        return self._exit_code

    def close(self) -> None:
        """Kill what still lives, however `run` ended, and give up all that is held."""
        for child in self._children.values():
            child.signal_group(signal.SIGKILL)
        for child in self._children.values():
            child.wait()
        if self._resharding:
            self._resharding.kill()
            self._resharding.wait()
        if self._claims:
            self._claims.release()

    # --- start ---

    def _claim(self) -> None:
        groups = self._in_force.load_groups()
        data = Path(self._in_force.settings.server.data)
        self._claims = Claims(data, now_s=self._loop.time())
        self._claim_port(self._claims, groups)

    def _claim_port(self, claims: Claims, groups: bytes) -> None:
        if self._fleet.is_stopping:
            return
        server = self._in_force.settings.server
        found = claims.claim_port(server.host, server.port, now_s=self._loop.time())
        if found is None:
            self._later(CLAIM_AGAIN_S, partial(self._claim_port, claims, groups))
            return
        data = Path(server.data)
        layout = read_layout(data)
        host, port = found
        self._run_dir = claims.make_run_dir()
        self._in_force.publish(self._run_dir, groups, host=host, port=port)
        log_start(
            self._in_force.settings,
            cores=len(os.sched_getaffinity(0)),
            most_files=descriptors.limit(),
        )
        self._happened(Claimed(laid_out=is_settled(data, layout, workers=server.workers)))

    # --- what happens ---

    def _happened(self, event: Event) -> None:
        self._carry_out(self._fleet.handle(event, now_s=self._loop.time()))

    def _collect_exits(self) -> None:
        if self._resharding and (returncode := self._resharding.poll()) is not None:
            self._resharding = None
            self._happened(Resharded(returncode, _oom_kills()))
        for child in list(self._children.values()):
            if (returncode := child.exit_code()) is not None:
                del self._children[child.incarnation]
                self._disconnect(child)
                self._happened(Exited(child.incarnation, returncode, _oom_kills()))

    def _read(self, child: Child) -> None:
        if child.connected:
            for message in child.channel.receive():
                self._happened(self._take(child, message))

    def _take(self, child: Child, message: FromChild | PeerGone) -> Event:
        match message:
            case ChildReady(endpoint):
                return Served(child.incarnation, endpoint)
            case Heartbeat():
                return Beat(child.incarnation)
            case PeerGone():
                self._disconnect(child)
                return ChannelClosed(child.incarnation)
            case _:
                assert_never(message)

    def _reload(self) -> None:
        # Apart, so that neither file keeps the other from being taken. The limits come first: they
        # hold for the groups of the same signal.
        if self._in_force.reload_settings():
            settings = self._in_force.settings
            log.reconfigure(settings.log.format, settings.log.level)
            self._happened(SettingsTaken(settings.supervisor))
        if self._in_force.reload_groups():
            self._happened(GroupsTaken())

    # --- what the fleet wants done ---

    def _carry_out(self, actions: list[Action]) -> None:
        """Do all of it in order, then what the fleet makes of what came of it."""
        to_do = deque(actions)
        while to_do:
            event = self._do(to_do.popleft())
            if event:
                to_do.extend(self._fleet.handle(event, now_s=self._loop.time()))

    def _do(self, action: Action) -> Event | None:
        match action:
            case Spawn():
                return self._spawn(action)
            case Instruct():
                return self._instruct(action)
            case Abort(number):
                self._children[number].signal_group(signal.SIGABRT)
            case Kill(number):
                self._children[number].signal_group(signal.SIGKILL)
            case SetTimer(delay_s, due):
                self._later(delay_s, partial(self._happened, due))
            case Log(level, event, fields):
                getattr(logger, level)(event, **fields)
            case Announce():
                _announce(self._in_force.settings)
            case StartResharding():
                # Every store is made by this child, so that one that is missing later was lost.
                self._resharding = start_resharding(self._run_dir)
            case KillResharding():
                assert self._resharding
                self._resharding.kill()
            case Exit(exit_code):
                self._exit_code = exit_code
            case _:
                assert_never(action)
        return None

    def _spawn(self, spawn: Spawn) -> Event:
        number = spawn.incarnation
        try:
            child = Child(spawn.role, spawn.index, number, run_dir=self._run_dir)
        except OSError as error:
            return SpawnFailed(number, error.strerror or str(error))
        self._children[number] = child
        fd = child.channel.fileno()
        self._loop.add_reader(fd, self._todo.put_nowait, partial(self._read, child))
        return Spawned(number, child.pid)

    def _instruct(self, action: Instruct) -> Event | None:
        child = self._children[action.incarnation]
        if not child.channel.send(action.message):
            return WentDeaf(action.incarnation)
        if child.channel.has_unsent:
            fd = child.channel.fileno()
            self._loop.add_writer(fd, self._todo.put_nowait, partial(self._flush, child))
        return None

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

    # --- the loop ---

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, self._todo.put_nowait, call)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._todo.put_nowait(partial(_raise, context))


def _raise(context: dict[str, Any]) -> NoReturn:
    raise RuntimeError(context["message"]) from context.get("exception")


def log_start(settings: Settings, *, cores: int, most_files: int) -> None:
    """Say what starts, and where it is more than the machine is made for."""
    server = settings.server
    logger.info(
        "supervisor.starting",
        version=__version__,
        pid=os.getpid(),
        host=server.host,
        port=server.port,
        fronts=server.fronts,
        workers=server.workers,
        data=server.data,
        durability=settings.store.durability,
        auth=settings.auth.mode,
    )
    if server.workers > cores:
        logger.info(
            "supervisor.many_workers",
            workers=server.workers,
            cores=cores,
            hint="fewer cost less processor time a message; see --workers",
        )
    if most_files - descriptors.reserve_of(settings) < settings.limits.connections:
        logger.warning(
            "supervisor.few_descriptors",
            open_files=most_files,
            connections=settings.limits.connections,
            hint="a front takes fewer clients than limits.connections says; raise the limit of open"
            " files (ulimit -n; with systemd LimitNOFILE)",
        )


def _announce(settings: Settings) -> None:
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    sys.stdout.write(
        f"ready ws://{host}:{server.port}/ fronts={server.fronts} workers={server.workers}\n"
    )
    sys.stdout.flush()


def _oom_kills() -> int:
    try:
        return parse_oom_kills(Path("/proc/vmstat").read_text())
    except OSError:
        return 0  # not Linux


async def _supervise(sources: Sources, settings: Settings) -> int:
    supervisor = Supervisor(sources, settings)
    try:
        return await supervisor.run()
    finally:
        supervisor.close()


def run(sources: Sources, *, program: str) -> int:
    """Run the relay that `sources` ask for, until a signal; return the exit code.

    What keeps it from starting is told on stderr, by the name of the `program`.
    """
    faulthandler.enable()
    os.umask(0o077)  # what is stored here is nobody else's business
    descriptors.raise_limit()
    try:
        if sources.check_only:
            return check_config(sources, load_groups, tables_of=tables_of, program=program)
        settings = sources.load(tables_of)
        log.configure(settings.log.format, settings.log.level, process="supervisor")
        return asyncio.run(_supervise(sources, settings))
    except SettingsError as error:
        report(error.problems, program)
        return 2
    except RelayError as error:
        report([str(error)], program)
        return 1


serve: Final = serve_command(partial(run, program="relay serve"))


def main(argv: list[str]) -> int:
    """Run the relay as the command line of `supervisor.py` says; return the exit code."""
    try:
        sources = parse_arguments(argv)
    except SettingsError as error:
        report(error.problems, PROGRAM)
        return 2
    return run(sources, program=PROGRAM)
