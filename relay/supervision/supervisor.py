"""The supervisor: starts the relay's fronts and workers, watches them, stops them.

It never sees a stanza. It holds the data directory, the port and the run directory
(relay.supervision.claims), talks with each child over a control channel
(relay.process.control), and leaves the arithmetic of deaths and restarts to
relay.supervision.deaths.

Everything that happens (a signal, a death, a message, a timer) is queued as a call, and one loop
makes the calls one after another. So nothing interleaves, and an exception in any of them is ours:
it ends the supervisor, which kills every child on its way out.
"""

import asyncio
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, NoReturn, assert_never

import msgspec

from relay import __version__, log
from relay.bus.topology import Topology, WorkerAddress
from relay.disk.files import replace_file
from relay.disk.groupfile import dump_groups, load_groups
from relay.disk.layout import is_settled, read_layout
from relay.errors import BootError, RelayError, SettingsError
from relay.process.control import (
    FromSupervisor,
    GroupsChanged,
    Heartbeat,
    PeerGone,
    Ready,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.exitcodes import CANNOT_BOOT
from relay.protocol.slots import shard_ranges
from relay.settings.check import check_config, report
from relay.settings.commandline import Sources, parse_arguments
from relay.settings.reload import apply_live
from relay.settings.tables import Settings
from relay.supervision.child import Child, Role, start_resharding
from relay.supervision.claims import DataClaim, claim_port, make_run_dir, remove_run_dir
from relay.supervision.deaths import Backoff, describe_exit, parse_oom_kills

# From spawn to Ready. A store of many GiB opens in well under a second; a cold disk may be slow.
BOOT_DEADLINE_S: Final = 60.0
# Deaths of one child before the relay ever served, after which it is taken for broken.
BOOT_ATTEMPTS: Final = 5
# The children of a killed supervisor may hold the port this long while they stop.
PREDECESSOR_S: Final = 15.0
# For a stack dump, between SIGABRT and SIGKILL.
ABORT_GRACE_S: Final = 2.0
# The part of the stop deadline that is the fronts'; the workers, which outlast them, have the rest.
FRONTS_SHARE: Final = 0.75
# The patience that a second SIGINT leaves.
HURRY_S: Final = 1.0

logger = log.get_logger()


class Seat:
    """A place that one child fills, and another one after its death."""

    def __init__(self, role: Role, index: int, backoff: Backoff) -> None:
        self.role = role
        self.index = index
        self.backoff = backoff
        self.child: Child | None = None
        self.waits = False  # for the end of its backoff
        self.leaving: Child | None = None  # its predecessor, told to stop by a rolling restart


class Supervisor:
    """Everything between the settings and the exit code; call `run` once, then `close`."""

    def __init__(self, sources: Sources, settings: Settings) -> None:
        """Run with `settings`, which were loaded from `sources`; SIGHUP loads them again."""
        self.sources = sources
        self.asked = settings  # as the sources had them
        self.settings = settings  # the same, with the host and port that were found for them
        self.loop = asyncio.get_running_loop()
        self.todo: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self.data: DataClaim | None = None
        self.port: socket.socket | None = None
        self.run_dir: Path | None = None
        self.resharding: subprocess.Popen[bytes] | None = None
        # Restarts need not be repeatable, only spread.
        make_backoff = partial(
            Backoff,
            min_s=settings.supervisor.restart_min_s,
            max_s=settings.supervisor.restart_max_s,
            random=Random(),  # noqa: S311
        )
        self.seats = [
            *(Seat("worker", i, make_backoff()) for i in range(settings.server.workers)),
            *(Seat("front", i, make_backoff()) for i in range(settings.server.fronts)),
        ]
        self.shards = shard_ranges(settings.server.workers)
        self.spawned = 0
        self.topology = Topology(epoch=0)
        self.served = False  # the ready line is out
        self.to_roll: deque[Seat] = deque()  # seats that a rolling restart has yet to renew
        self.rolled: Seat | None = None  # the one that it is renewing
        self.stopping = False
        self.workers_told_to_stop = False
        self.stop_by_s = 0.0
        self.exit_code = 0
        self.done = False
        self.checked_s = self.loop.time()
        self.next_check: asyncio.TimerHandle | None = None
        self.oom_kills = _oom_kills()

    async def run(self) -> int:
        """Start, serve and stop; return the exit code.

        Raises:
            SettingsError: the groups file is unusable; nothing was started.
            BootError: something is in the way of starting; nothing was started.
        """
        self.loop.set_exception_handler(self._on_loop_error)
        calls: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: partial(self._on_stop_signal, "SIGTERM"),
            signal.SIGINT: partial(self._on_stop_signal, "SIGINT"),
            signal.SIGHUP: self._reload,
            signal.SIGUSR2: self._roll,
            signal.SIGCHLD: self._collect_exits,
        }
        for number, call in calls.items():
            self.loop.add_signal_handler(number, self.todo.put_nowait, call)
        self.todo.put_nowait(self._claim)
        while not self.done:
            (await self.todo.get())()
            if self.todo.empty():
                self._settle()
        return self.exit_code

    def close(self) -> None:
        """Kill what still lives, however `run` ended, and give up all that is held."""
        for child in self._children():
            child.signal_group(signal.SIGKILL)
        for child in self._children():
            child.wait()
        if self.resharding:
            self.resharding.kill()
            self.resharding.wait()
        if self.run_dir:
            remove_run_dir(self.run_dir)
        if self.port:
            self.port.close()
        if self.data:
            for path in self.data.left_behind:
                remove_run_dir(path)
            self.data.release()

    # --- start ---

    def _claim(self) -> None:
        groups = self._load_groups()
        self.data = DataClaim(Path(self.settings.server.data))
        self._claim_port_and_spawn(groups, self.loop.time() + PREDECESSOR_S)

    def _claim_port_and_spawn(self, groups: bytes, patient_until_s: float) -> None:
        if self.stopping:
            return
        server = self.settings.server
        assert self.data
        try:
            self.port = claim_port(server.host, server.port)
        except BootError:
            if not self.data.left_behind or self.loop.time() > patient_until_s:
                raise
            self._later(0.1, partial(self._claim_port_and_spawn, groups, patient_until_s))
            return
        layout = read_layout(self.data.path)
        host, port = self.port.getsockname()[:2]
        server = msgspec.structs.replace(server, host=host, port=port)
        self.settings = msgspec.structs.replace(self.settings, server=server)
        self.run_dir = make_run_dir()
        self.data.note_run_dir(self.run_dir)
        replace_file(self.run_dir / "settings.json", msgspec.json.encode(self.settings))
        replace_file(self.run_dir / "groups.json", groups)
        logger.info(
            "supervisor.starting",
            version=__version__,
            pid=os.getpid(),
            host=host,
            port=port,
            fronts=server.fronts,
            workers=server.workers,
            data=server.data,
            durability=self.settings.store.durability,
            auth=self.settings.auth.mode,
        )
        if is_settled(self.data.path, layout, workers=server.workers):
            self._spawn_all()
        else:
            # Every store is made by this child, so that one that is missing later was lost.
            self.resharding = start_resharding(self.run_dir)

    def _on_resharded(self, returncode: int) -> None:
        assert self.resharding
        self.resharding = None
        if self.stopping:
            return  # it was killed, which it is made for
        if returncode == 0:
            self._spawn_all()
            return
        fields = describe_exit(returncode, oom_kills=_oom_kills() - self.oom_kills, we_killed=False)
        logger.error("reshard.exited", **fields)
        self._stop(exit_code=1)

    def _spawn_all(self) -> None:
        for seat in self.seats:
            self._spawn(seat)
        self._later(BOOT_DEADLINE_S, self._give_up_boot)
        self.checked_s = self.loop.time()
        self._check_heartbeats()

    def _spawn(self, seat: Seat) -> None:
        seat.waits = False
        if self.stopping or seat.child:
            return
        assert self.run_dir
        self.spawned += 1
        try:
            child = Child(
                seat.role, seat.index, self.spawned, run_dir=self.run_dir, now_s=self.loop.time()
            )
        except OSError as error:
            self._restart_later(seat, None, {"error": f"cannot start it: {error.strerror}"})
            return
        seat.child = child
        fd = child.channel.fileno()
        self.loop.add_reader(fd, self.todo.put_nowait, partial(self._read, child))
        self._send(child, TopologyChanged(self.topology))

    def _give_up_boot(self) -> None:
        if not self.served and not self.stopping:
            waiting = [
                f"{s.role} {s.index}" for s in self.seats if not s.child or not s.child.ready
            ]
            logger.error("supervisor.boot_overdue", deadline_s=BOOT_DEADLINE_S, waiting_for=waiting)
            self._stop(exit_code=1)

    # --- talk with the children ---

    def _children(self, role: Role | None = None) -> list[Child]:
        """The living children, of one role or all."""
        seats = [seat for seat in self.seats if role in (None, seat.role)]
        return [child for seat in seats for child in (seat.child, seat.leaving) if child]

    def _read(self, child: Child) -> None:
        if not child.connected:
            return
        for message in child.channel.receive():
            child.heard_s = self.loop.time()
            match message:
                case Ready():
                    child.ready = message
                case Heartbeat():
                    pass
                case PeerGone():
                    self._disconnect(child)
                case _:
                    assert_never(message)

    def _send(self, child: Child, message: FromSupervisor) -> None:
        if not child.connected:
            return
        if not child.channel.send(message):
            logger.error(f"{child.role}.deaf", index=child.index, pid=child.pid)
            self._kill(child)
        elif child.channel.has_unsent:
            fd = child.channel.fileno()
            self.loop.add_writer(fd, self.todo.put_nowait, partial(self._flush, child))

    def _flush(self, child: Child) -> None:
        if child.connected:
            child.channel.flush()
            if not child.channel.has_unsent:
                self.loop.remove_writer(child.channel.fileno())

    def _disconnect(self, child: Child) -> None:
        if child.connected:
            child.connected = False
            self.loop.remove_reader(child.channel.fileno())
            self.loop.remove_writer(child.channel.fileno())
            child.channel.close()

    def _settle(self) -> None:
        """Draw the consequences of all that has just happened."""
        found = Topology(
            epoch=self.topology.epoch,
            workers=tuple(self._addresses()),
            fronts=tuple(child.identity for child in self._children("front") if child.connected),
        )
        if found != self.topology:
            self.topology = msgspec.structs.replace(found, epoch=found.epoch + 1)
            for child in self._children():
                self._send(child, TopologyChanged(self.topology))
        if self.stopping:
            self._stop_further()
        elif not self.served and all(seat.child and seat.child.ready for seat in self.seats):
            self._announce()
        elif self.rolled:
            self._roll_on(self.rolled)

    def _addresses(self) -> Iterator[WorkerAddress]:
        for child in self._children("worker"):
            if child.connected and child.ready:
                shard = self.shards[child.index]
                yield WorkerAddress(
                    index=child.index,
                    first_slot=shard[0],
                    last_slot=shard[-1],
                    endpoint=child.ready.endpoint,
                    incarnation=child.incarnation,
                )

    def _announce(self) -> None:
        self.served = True
        server = self.settings.server
        host = f"[{server.host}]" if ":" in server.host else server.host
        sys.stdout.write(
            f"ready ws://{host}:{server.port}/ fronts={server.fronts} workers={server.workers}\n"
        )
        sys.stdout.flush()

    # --- deaths and hangs ---

    def _collect_exits(self) -> None:
        if self.resharding and (returncode := self.resharding.poll()) is not None:
            self._on_resharded(returncode)
        for seat in self.seats:
            for child in (seat.child, seat.leaving):
                if child and (returncode := child.exit_code()) is not None:
                    self._on_exit(seat, child, returncode)

    def _on_exit(self, seat: Seat, child: Child, returncode: int) -> None:
        was_leaving = child is seat.leaving
        if was_leaving:
            seat.leaving = None
        else:
            seat.child = None
        self._disconnect(child)
        oom_kills, self.oom_kills = self.oom_kills, _oom_kills()
        fields = {
            "pid": child.pid,
            **describe_exit(
                returncode, oom_kills=self.oom_kills - oom_kills, we_killed=child.we_killed
            ),
            "uptime_s": round(self.loop.time() - child.started_s, 1),
        }
        if self.stopping or was_leaving:
            write = logger.info if returncode == 0 else logger.warning
            write(f"{seat.role}.exited", index=seat.index, **fields)
        else:
            self._restart_later(seat, returncode if returncode >= 0 else None, fields)

    def _restart_later(self, seat: Seat, exit_code: int | None, fields: dict[str, Any]) -> None:
        delay_s = seat.backoff.restart_delay_s(
            uptime_s=fields.get("uptime_s", 0.0), exit_code=exit_code
        )
        fields = {"index": seat.index, **fields, "attempt": seat.backoff.deaths}
        hopeless = exit_code == CANNOT_BOOT or seat.backoff.deaths >= BOOT_ATTEMPTS
        if not self.served and hopeless:
            logger.error(f"{seat.role}.exited", **fields)
            self._stop(exit_code=1)
        else:
            logger.warning(f"{seat.role}.exited", **fields, restart_in_ms=round(delay_s * 1000))
            seat.waits = True
            self._later(delay_s, partial(self._spawn, seat))

    def _check_heartbeats(self) -> None:
        now_s = self.loop.time()
        hung_after_s = self.settings.supervisor.hung_after_s
        # After a pause of our own (SIGSTOP, a suspended machine) the children may have been
        # paused with us: their silence says nothing.
        paused = now_s - self.checked_s > hung_after_s / 2
        self.checked_s = now_s
        if self.next_check:
            self.next_check.cancel()
        self.next_check = self._later(self.settings.supervisor.heartbeat_s, self._check_heartbeats)
        if self.stopping:
            return  # the stop has its own deadline
        for child in self._children():
            if paused:
                child.heard_s = now_s
            limit_s = hung_after_s if child.ready else BOOT_DEADLINE_S
            silent_s = now_s - child.heard_s
            if silent_s > limit_s and not child.hung:
                child.hung = True
                logger.error(
                    f"{child.role}.hung",
                    index=child.index,
                    pid=child.pid,
                    silent_s=round(silent_s, 1),
                )
                child.signal_group(signal.SIGABRT)  # faulthandler writes the stacks
                self._later(ABORT_GRACE_S, partial(self._kill, child))

    def _kill(self, child: Child) -> None:
        if child in self._children():
            child.we_killed = True
            child.signal_group(signal.SIGKILL)

    def _kill_role(self, role: Role) -> None:
        for child in self._children(role):
            logger.warning(f"{role}.stop_overdue", index=child.index, pid=child.pid)
            self._kill(child)

    # --- rolling restart ---

    def _roll(self) -> None:
        """Renew every child, one after another, while the others serve."""
        if not self.served or self.stopping or self.rolled:
            logger.warning("supervisor.not_rolled", reason="it starts, stops or rolls already")
            return
        logger.info("supervisor.rolling", children=len(self.seats))
        self.to_roll = deque(self.seats)
        self._roll_next()

    def _roll_next(self) -> None:
        self.rolled = self.to_roll.popleft() if self.to_roll else None
        if self.rolled is None:
            logger.info("supervisor.rolled")
            return
        seat = self.rolled
        if seat.child is None:
            return  # dead just now; its restart renews it
        seat.leaving, seat.child = seat.child, None
        if seat.role == "front":
            # Its successor listens on the same port first, so that no client finds it closed.
            self._spawn(seat)
        else:
            self._dismiss(seat)

    def _roll_on(self, seat: Seat) -> None:
        """Go a step further with the seat that is being renewed, if its children are so far."""
        leaving = seat.leaving
        if leaving is None and seat.child is None:
            # A store has one holder, so a worker's successor starts when the worker is gone.
            # A successor that died is the backoff's to start again.
            if not seat.waits:
                self._spawn(seat)
        elif leaving is not None and seat.child is not None and seat.child.ready:
            self._dismiss(seat)
        elif leaving is None and seat.child is not None and seat.child.ready:
            self._roll_next()

    def _dismiss(self, seat: Seat) -> None:
        child = seat.leaving
        if child is None or child.dismissed:
            return
        child.dismissed = True
        deadline_s = self.settings.supervisor.stop_deadline_s
        self._send(child, Stop(deadline_s))
        self._later(deadline_s, partial(self._kill, child))

    # --- reload and stop ---

    def _reload(self) -> None:
        # Apart, so that neither file keeps the other from being taken. The limits come first: they
        # hold for the groups of the same signal.
        self._reload_settings()
        self._reload_groups()

    def _reload_settings(self) -> None:
        path = self.sources.config
        if path is None:
            logger.info("settings.not_reloaded", reason="there is no settings file, see --config")
            return
        try:
            asked, changed, needs_restart = apply_live(self.asked, self.sources.load())
            settings = msgspec.structs.replace(asked, server=self.settings.server)
            if changed and self.run_dir:
                replace_file(self.run_dir / "settings.json", msgspec.json.encode(settings))
        except RelayError as error:
            logger.error("settings.refused", path=path, reason=str(error), kept="the old settings")
            return
        changes = [f"{key}: {_word(old)} -> {_word(new)}" for key, (old, new) in changed.items()]
        logger.info("settings.reloaded", path=path, changed=changes)
        if needs_restart:
            logger.warning(
                "settings.not_applied", path=path, keys=needs_restart, reason="they need a restart"
            )
        if changed:
            self.asked, self.settings = asked, settings
            self._adopt()

    def _adopt(self) -> None:
        """Go by the settings as they are now, and have the children do so."""
        log.reconfigure(self.settings.log.format, self.settings.log.level)
        supervisor = self.settings.supervisor
        for seat in self.seats:
            seat.backoff.adopt(min_s=supervisor.restart_min_s, max_s=supervisor.restart_max_s)
        for child in self._children():
            self._send(child, SettingsChanged())
            child.heard_s = self.loop.time()  # its silence until now was by the old interval
        if self.next_check:
            self._check_heartbeats()

    def _load_groups(self) -> bytes:
        path = self.settings.server.groups
        limit = self.settings.limits.group_members
        return dump_groups(load_groups(Path(path), max_members=limit) if path else {})

    def _reload_groups(self) -> None:
        if not self.run_dir:
            return  # the file has yet to be read for the first time
        if not self.settings.server.groups:
            logger.info("groups.not_reloaded", reason="there is no groups file, see --groups")
            return
        try:
            replace_file(self.run_dir / "groups.json", self._load_groups())
        except RelayError as error:
            logger.error("groups.refused", reason=str(error), kept="the old groups")
            return
        for child in self._children("worker"):
            self._send(child, GroupsChanged())
        logger.info("groups.reloaded", path=self.settings.server.groups)

    def _on_stop_signal(self, name: str) -> None:
        if not self.stopping:
            logger.info("supervisor.stopping", signal=name)
            self._stop(exit_code=0)
        elif name == "SIGINT":
            logger.info("supervisor.hurrying", signal=name)
            self.stop_by_s = min(self.stop_by_s, self.loop.time() + HURRY_S)
            self._tell_workers_to_stop()
            self._later(HURRY_S, partial(self._kill_role, "front"))
            self._later(HURRY_S, partial(self._kill_role, "worker"))

    def _stop(self, *, exit_code: int) -> None:
        """Begin to stop; `_settle` carries on as the children go."""
        self.stopping = True
        self.exit_code = exit_code
        deadline_s = self.settings.supervisor.stop_deadline_s
        self.stop_by_s = self.loop.time() + deadline_s
        if self.resharding:
            self.resharding.kill()
        for child in self._children("front"):
            self._send(child, Stop(deadline_s * FRONTS_SHARE))
        self._later(deadline_s * FRONTS_SHARE, partial(self._kill_role, "front"))
        self._later(deadline_s, partial(self._kill_role, "worker"))

    def _stop_further(self) -> None:
        if self.resharding or self._children("front"):
            return
        self._tell_workers_to_stop()
        self.done = not self._children("worker")

    def _tell_workers_to_stop(self) -> None:
        if not self.workers_told_to_stop:
            self.workers_told_to_stop = True
            left_s = max(0.0, self.stop_by_s - self.loop.time())
            for child in self._children("worker"):
                self._send(child, Stop(left_s))

    # --- the loop ---

    def _later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(delay_s, self.todo.put_nowait, call)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.todo.put_nowait(partial(_raise, context))


def _raise(context: dict[str, Any]) -> NoReturn:
    raise RuntimeError(context["message"]) from context.get("exception")


def _word(value: object) -> str:
    """Spell a setting as in the file, a text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value)


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


def main(argv: list[str]) -> int:
    """Run the relay as the command line `argv` says, until a signal; return the exit code."""
    faulthandler.enable()
    os.umask(0o077)  # what is stored here is nobody else's business
    try:
        sources = parse_arguments(argv)
        if sources.check_only:
            return check_config(sources, load_groups)
        settings = sources.load()
        log.configure(settings.log.format, settings.log.level, process="supervisor")
        return asyncio.run(_supervise(sources, settings))
    except SettingsError as error:
        report(error.problems, "supervisor.py")
        return 2
    except RelayError as error:
        report([str(error)], "supervisor.py")
        return 1
