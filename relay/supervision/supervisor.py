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
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, NoReturn, assert_never

from relay import __version__, log, signals
from relay.auth.modes import authenticator_of
from relay.auth.tls import all_warnings_of
from relay.disk.groupfile import load_groups
from relay.disk.layout import is_settled, read_layout
from relay.errors import BootError, RelayError, SettingsError
from relay.extensions.registry import tables_of
from relay.process import descriptors
from relay.process.channel import supervisor_end
from relay.process.control import (
    AccordSettled,
    AccordWanted,
    ChildReady,
    ClusterTold,
    GroupsChanged,
    Heartbeat,
    KeysChanged,
    KeysWanted,
    LogLost,
    Outcome,
    PeerGone,
    Standing,
    Wish,
)
from relay.settings.agreement import exposure
from relay.settings.check import check_config, report
from relay.settings.commandline import PROGRAM, Sources, parse_arguments, serve_command
from relay.settings.tables import Settings
from relay.supervision import hostdata
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
from relay.supervision.activation import take_listeners
from relay.supervision.announcing import announce, log_start
from relay.supervision.child import Adopted, Child, Inherited, start_child, start_resharding
from relay.supervision.claims import Claims, DataClaim
from relay.supervision.deaths import parse_oom_kills
from relay.supervision.events import (
    AccordAsked,
    Asker,
    Beat,
    ChannelClosed,
    Claimed,
    ClusterSeen,
    DrainAsked,
    Event,
    Exited,
    FoundLoss,
    GroupsTaken,
    KeysAsked,
    KeysTaken,
    NotRenewed,
    Rehearsed,
    Resharded,
    RollAsked,
    Served,
    SettingsTaken,
    Spawned,
    SpawnFailed,
    StoodBy,
    StopAsked,
    WentDeaf,
)
from relay.supervision.fleet import Fleet
from relay.supervision.handover import (
    Handover,
    Rehearsal,
    execute,
    keep_open,
    read_handover,
    rehearse,
)
from relay.supervision.identity import Identity, user_of
from relay.supervision.keysource import KeySource
from relay.supervision.notice import READY, STOPPING, ServiceManager, give_notice, reloading
from relay.supervision.program import OWN
from relay.supervision.reload import InForce, Report
from relay.supervision.sharing import Sharing, Taken, Wanted
from relay.supervision.terminal import Terminal, minds_hangups
from relay.webhooks.signing import Secrets

# Between two tries to claim the port of a supervisor that was killed.
CLAIM_AGAIN_S: Final = 0.1
# Between two looks at what others may take away (the run directory, the terminal), at most.
LOOK_S: Final = 1.0
# For the import of all that a process is, on a machine that is busy.
REHEARSAL_S: Final = 60.0
# Between the last signal that is taken and the execution of the next program: what had come before
# is done by then.
RENEW_AFTER_S: Final = 0.05
# For messages that are on their way, and for a process that ends just now.
RENEW_WITHIN_S: Final = 5.0
# For an agent to say whether a majority has what is to be shared: it gives up sooner by itself.
SHARED_WITHIN_S: Final = 20.0

logger = log.get_logger()


class Supervisor:
    """Everything between the settings and the exit code; call `run` once, then `close`.

    Over 15 fields and over 25 methods: whatever happens to a relay is carried out here.
    """

    def __init__(self, sources: Sources, settings: Settings, *, minds_terminal: bool) -> None:
        """Run with `settings`, which were loaded from `sources`; SIGHUP loads them again."""
        self._loop = asyncio.get_running_loop()
        self._todo: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._in_force = InForce(sources, settings)
        self._sharing = Sharing(self._in_force, _read_secrets) if settings.cluster.is_on else None
        self._terminal = Terminal(minds=minds_terminal)
        self._manager = ServiceManager()
        self._keys = KeySource(settings, now_s=self._loop.time())
        self._reload_asked = False
        self._claims: Claims | None = None
        self._identity = Identity("")  # until all is claimed
        self._run_dir = Path()  # once all is claimed
        self._resharding: subprocess.Popen[bytes] | None = None
        self._rehearsal: Rehearsal | None = None
        self._children: dict[int, Child] = {}  # that live, by incarnation
        self._fleet = Fleet(
            settings,
            random=Random(),  # noqa: S311  # restarts need not be repeatable, only spread
            oom_kills=_oom_kills(),
            now_s=self._loop.time(),
        )
        self._exit_code: int | None = None

    async def run(self, predecessor: Handover | None = None) -> int:
        """Start, serve and stop; return the exit code. Take over from a `predecessor` if any.

        Raises:
            SettingsError: the groups file or a key is unusable; nothing was started.
            BootError: something is in the way of starting; nothing was started.
        """
        self._loop.set_exception_handler(
            lambda _, context: self._todo.put_nowait(partial(_raise, context))
        )
        calls: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: partial(self._happened, StopAsked("SIGTERM")),
            signal.SIGINT: partial(self._happened, StopAsked("SIGINT")),
            signal.SIGUSR2: partial(self._happened, RollAsked()),
            signal.SIGCHLD: self._collect_exits,
        }
        for number, call in calls.items():
            self._loop.add_signal_handler(number, self._todo.put_nowait, call)
        self._loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signals.release()
        self._todo.put_nowait(partial(self._take_over, predecessor) if predecessor else self._claim)
        self._todo.put_nowait(self._look)
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
        rehearsal = self._rehearsal and self._rehearsal.process
        for process in (self._resharding, rehearsal, self._keys.process):
            if process:
                process.kill()
                process.wait()
        if self._claims:
            self._claims.release()

    # --- start ---

    def _claim(self) -> None:
        given = take_listeners()
        if len(given) > self._in_force.settings.server.fronts:
            # The clients of one that no front takes would wait for ever.
            raise BootError(
                f"systemd hands over {len(given)} sockets, for"
                f" {self._in_force.settings.server.fronts} fronts: one, or one a front"
            )
        self._identity = Identity(self._in_force.settings.server.user)
        authenticator_of(self._in_force.settings)  # it refuses keys that are unusable
        all_warnings_of(self._in_force.settings)
        if self._sharing is not None:
            self._sharing.join()
        self._in_force.load_groups()
        data = DataClaim(Path(self._in_force.settings.server.data))
        self._claims = Claims(data, now_s=self._loop.time(), given=given)
        self._claim_port(self._claims)

    def _claim_port(self, claims: Claims) -> None:
        if self._fleet.is_stopping:
            return
        server = self._in_force.settings.server
        with self._identity.privileged():
            found = claims.claim_port(server.host, server.port, now_s=self._loop.time())
        if found is None:
            self._later(CLAIM_AGAIN_S, partial(self._claim_port, claims))
            return
        if self._identity.changes:
            with self._identity.privileged():
                claims.bind_for_good(server.fronts)
            self._identity.settle()
        data = Path(server.data)
        layout = read_layout(data)
        self._run_dir = claims.make_run_dir()
        self._keys.begin(self._loop.time())
        self._in_force.found(*found)
        if refusal := exposure(self._in_force.settings):  # by a socket that was given
            raise BootError(refusal)
        log_start(
            self._in_force.settings,
            cores=len(os.sched_getaffinity(0)),
            is_root=os.geteuid() == 0,
            most_files=descriptors.limit(),
        )
        if self._in_force.settings.cluster.is_on:
            assert self._sharing
            self._sharing.place_files()
            self._sharing.look_at_files()
            hostdata.prepare(data, server.workers)
            numbers = hostdata.count_boot(data) << hostdata.BOOT_SHIFT
            self._happened(Claimed(laid_out=True, numbers=numbers))
            return
        # The child that lays the stores out compacts them too.
        laid_out = is_settled(data, layout, workers=server.workers)
        compacts = self._in_force.settings.store.compact
        self._happened(Claimed(laid_out=laid_out and not compacts))

    def _take_over(self, predecessor: Handover) -> None:
        self._claims = Claims.taken_over(predecessor.claims)
        self._run_dir = Path(predecessor.claims.run_dir)
        self._in_force.found(predecessor.host, predecessor.port)
        self._in_force.take_over(predecessor.groups)
        if self._sharing is not None:
            self._sharing.take_over(predecessor.accord)
        self._keys.take_over(predecessor.keys)
        for each in predecessor.fleet.children:
            channel = supervisor_end(socket.socket(fileno=predecessor.channels[each.incarnation]))
            stacks = predecessor.stacks[each.incarnation]
            self._watch(Child(each.incarnation, Adopted(each.pid), channel, stacks))
        keep_open(predecessor, keeps=False)
        logger.info("supervisor.renewed", version=__version__, pid=os.getpid(), code=OWN.code())
        self._happened(predecessor.fleet)
        self._collect_exits()  # whoever has died in between

    # --- what is looked at now and then: what others may take away, and how all of it is ---

    def _look(self) -> None:
        now_s = self._loop.time()
        self._terminal.look(now_s=now_s)
        if not self._fleet.is_stopping:
            self._keys.look(now_s)
        self._manager.look(self._fleet.condition(now_s=now_s), now_s=now_s)
        try:
            if self._claims and self._claims.keep_run_dir():
                logger.warning("supervisor.run_dir_made_again", directory=self._run_dir)
        except OSError as error:
            logger.error("supervisor.run_dir_gone", directory=self._run_dir, reason=error.strerror)
        self._later(self._manager.look_every_s(LOOK_S), self._look)

    # --- what happens ---

    def _happened(self, event: Event) -> None:
        self._carry_out(self._fleet.handle(event, now_s=self._loop.time()))

    def _collect_exits(self) -> None:
        while (pid := exited_child()) is not None:
            self._collect(pid)

    def _collect(self, pid: int) -> None:
        if self._resharding and self._resharding.pid == pid:
            returncode = self._resharding.wait()
            self._resharding = None
            self._happened(Resharded(returncode, _oom_kills()))
        elif self._rehearsal and self._rehearsal.process.pid == pid:
            refusal, self._rehearsal = self._rehearsal.end(), None
            self._happened(Rehearsed(refusal))
        elif (has_changed := self._keys.has_ended(pid, self._loop.time())) is not None:
            if has_changed:
                self._happened(KeysTaken())
        elif child := next((c for c in self._children.values() if c.pid == pid), None):
            returncode = child.wait()
            if stacks := child.take_stacks():
                logger.error("child.crashed", pid=pid, exception=stacks)
            del self._children[child.incarnation]
            self._disconnect(child)
            self._happened(Exited(child.incarnation, returncode, _oom_kills()))
        else:
            # Of a process that has died before it: as the first process of a container we are the
            # one to whom such are left.
            os.waitpid(pid, 0)

    def _read(self, child: Child) -> None:
        if child.connected:
            for message in child.channel.receive():
                if isinstance(message, PeerGone):
                    self._disconnect(child)
                if isinstance(message, Wish):
                    self._obey(child, message)
                elif isinstance(message, AccordSettled):
                    self._settle(message.number, message.refusal)
                else:
                    self._happened(event_of(child, message))

    def _obey(self, child: Child, wish: Wish) -> None:
        """Do what an operator wants, and say what came of it."""
        by = Asker(child.incarnation, wish.number)
        match wish.what:
            case "reload" | "groups" | "accord":
                said = Outcome(wish.number, "failed", "it rolls or stops: try again after that")
                if not self._fleet.is_rolling and not self._fleet.is_stopping:
                    self._in_force.take_report()
                    if wish.what == "reload":
                        self._reload(by)
                    elif wish.what == "groups":
                        self._took(Taken(groups=self._in_force.reload_groups()))
                    elif self._sharing is not None:
                        self._took(self._sharing.take())
                    said = _outcome_of(wish.number, self._in_force.take_report())
                if not self._is_asking_for(by):  # else that is told when it is settled
                    self._carry_out([Instruct(child.incarnation, said)])
            case "roll":
                self._happened(RollAsked(by))
            case "drain":
                self._happened(DrainAsked(wish.role, wish.index, by))
            case "workers":
                said = self._in_force.want_workers(wish.number, wish.index)
                self._carry_out([Instruct(child.incarnation, said)])
            case _:
                assert_never(wish.what)

    def _hung_up(self) -> None:
        if self._terminal.is_closed(now_s=self._loop.time()):
            self._todo.put_nowait(partial(self._happened, StopAsked("SIGHUP")))
        elif not self._reload_asked:  # many at once are one
            self._reload_asked = True
            self._todo.put_nowait(self._reload)

    def _reload(self, by: Asker | None = None) -> None:
        asks = self._sharing is not None and self._sharing.wanted is not None
        if self._fleet.is_rolling or (asks and by is None):
            # Those that are still of the version before would not know what is new in them. And a
            # signal that comes while the other hosts are asked is one more.
            self._later(LOOK_S, self._reload)
            return
        self._reload_asked = False
        give_notice(reloading())
        if self._sharing is None:
            # Apart, so that neither file keeps the other from being taken. The limits come first:
            # they hold for the groups of the same signal.
            self._took(Taken(settings=self._in_force.reload_settings()))
            self._took(Taken(groups=self._in_force.reload_groups()))
        elif isinstance(found := self._sharing.begin(by), Wanted):
            self._share(found)
            return
        else:
            self._took(found)
        if self._fleet.has_served:
            give_notice(READY)

    def _took(self, taken: Taken) -> None:
        """Let the children know."""
        if taken.settings:
            settings = self._in_force.settings
            log.reconfigure(settings.log.format, settings.log.level)
            self._happened(SettingsTaken(settings))
        if taken.groups:
            self._happened(GroupsTaken())

    # --- what is to hold on all hosts of a cluster ---

    def _share(self, wanted: Wanted) -> None:
        """Have the agent ask for a majority; `_settle` goes on."""
        assert self._sharing
        origin = self._sharing.origin
        asked = AccordWanted(wanted.number, (origin.number, origin.by, origin.at_ms))
        actions = self._fleet.handle(AccordAsked(asked), now_s=self._loop.time())
        if not actions:
            refusal = "there is no agent just now: try again"
            self._todo.put_nowait(partial(self._settle, wanted.number, refusal))
            return
        late = f"no answer of the cluster in {SHARED_WITHIN_S:g} s; it may hold nevertheless"
        self._later(SHARED_WITHIN_S, partial(self._settle, wanted.number, late))
        self._carry_out(actions)

    def _settle(self, number: int, refusal: str) -> None:
        """Take what became of it, unless that was settled before."""
        kept = self._in_force.take_report()
        settled = self._sharing.settle(number, refusal) if self._sharing is not None else None
        if settled is None:
            self._in_force.report = kept
            return
        taken, wanted = settled
        self._took(taken)
        by, report = wanted.by, self._in_force.take_report()
        if by is not None and (child := self._children.get(by.incarnation)) and child.connected:
            self._carry_out([Instruct(by.incarnation, _outcome_of(by.number, report))])
        if self._fleet.has_served:
            give_notice(READY)

    def _is_asking_for(self, by: Asker) -> bool:
        wanted = self._sharing.wanted if self._sharing is not None else None
        return wanted is not None and wanted.by == by

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
            case FetchKeys():
                self._keys.wanted(self._loop.time())
            case Announce():
                announce(self._in_force.settings)
            case CloseListener(index):
                if self._claims:
                    self._claims.close_listener(index)
            case Rehearse():
                return self._rehearse()
            case Renew():
                signals.hold()
                give_up_s = self._loop.time() + RENEW_WITHIN_S
                self._later(RENEW_AFTER_S, partial(self._renew, give_up_s))
            case StartResharding():
                # Every store is made by this child, so that one that is missing later was lost.
                memo = self._in_force.write_settings_memo()
                self._resharding = start_resharding(memo)
                os.close(memo)
            case KillResharding():
                assert self._resharding
                self._resharding.kill()
            case Exit(exit_code):
                self._exit_code = exit_code
            case _:
                assert_never(action)
        return None

    def _spawn(self, spawn: Spawn) -> Event:
        assert self._claims
        number, index, settings = spawn.incarnation, spawn.index, None
        try:
            settings = self._in_force.write_settings_memo()
            if spawn.role == "front":
                listener = self._claims.listener(index).fileno()
                given = Inherited(settings, listener=listener, keys=self._keys.memo)
            elif spawn.role == "worker":
                given = Inherited(settings, groups=self._in_force.groups_memo)
            else:
                given = Inherited(settings)
            self._claims.keep_run_dir()
            child = start_child(spawn.role, index, number, run_dir=self._run_dir, inherited=given)
        except OSError as error:
            return SpawnFailed(number, str(error))
        finally:
            if settings is not None:
                os.close(settings)
        self._watch(child)
        return Spawned(number, child.pid)

    def _watch(self, child: Child) -> None:
        self._children[child.incarnation] = child
        fd = child.channel.fileno()
        self._loop.add_reader(fd, self._todo.put_nowait, partial(self._read, child))

    def _instruct(self, action: Instruct) -> Event | None:
        child, memo = self._children[action.incarnation], None
        if isinstance(action.message, GroupsChanged):
            memo = self._in_force.groups_memo
        elif isinstance(action.message, KeysChanged):
            memo = self._keys.memo
        elif isinstance(action.message, AccordWanted) and self._sharing is not None:
            memo = self._sharing.memo
        if not child.channel.send(action.message, descriptor=memo):
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

    # --- another program in this process ---

    def _rehearse(self) -> Event | None:
        try:
            self._rehearsal = Rehearsal(self._handover())
        except OSError as error:
            return Rehearsed(f"the code that is in place cannot be started: {error}")
        self._later(REHEARSAL_S, self._rehearsal.give_up)
        return None

    def _handover(self) -> Handover:
        assert self._claims
        assert self._in_force.groups_memo is not None
        server = self._in_force.settings.server
        return Handover(
            claims=self._claims.held,
            settings=self._in_force.asked,
            host=server.host,
            port=server.port,
            groups=self._in_force.groups_memo,
            keys=self._keys.memo,
            accord=self._sharing.origin if self._sharing is not None else None,
            channels={n: child.channel.fileno() for n, child in self._children.items()},
            stacks={n: child.stacks for n, child in self._children.items()},
            fleet=self._fleet.as_it_is(),
            minds_terminal=self._terminal.minds,
        )

    def _renew(self, give_up_s: float) -> None:
        if self._fleet.is_stopping:
            signals.release()
            return
        self._collect_exits()
        for child in list(self._children.values()):
            self._read(child)
        connected = all(child.connected for child in self._children.values())
        quiet = all(child.channel.is_quiet for child in self._children.values() if child.connected)
        if not (connected and quiet and self._todo.empty()):
            if self._loop.time() < give_up_s:
                self._later(RENEW_AFTER_S, partial(self._renew, give_up_s))
            else:
                signals.release()
                self._happened(NotRenewed("a process has closed its channel, and has not ended"))
            return
        log.flush()
        try:
            execute(self._handover())
        except OSError as error:
            signals.release()
            self._happened(NotRenewed(f"the code in place cannot be executed: {error}"))

    # --- the loop ---

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, self._todo.put_nowait, call)


def _raise(context: dict[str, Any]) -> NoReturn:
    raise RuntimeError(context["message"]) from context.get("exception")


def _outcome_of(number: int, report: Report) -> Outcome:
    taken, refusals = report
    if refusals:
        return Outcome(number, "failed", "; ".join([*refusals, *taken]))
    return Outcome(number, "done", "; ".join(taken) or "there is no file to read")


def event_of(
    child: Child,
    message: ChildReady | Heartbeat | KeysWanted | PeerGone | Standing | LogLost | ClusterTold,
) -> Event:
    """Return what a message of `child` means to the fleet."""
    match message:
        case ChildReady(endpoint, tcp, epoch):
            return Served(child.incarnation, endpoint, tcp, epoch)
        case Standing(applied):
            return StoodBy(child.incarnation, applied)
        case LogLost():
            return FoundLoss(child.incarnation)
        case ClusterTold():
            return ClusterSeen(child.incarnation, message)
        case Heartbeat():
            return Beat(child.incarnation, message)
        case KeysWanted():
            return KeysAsked()
        case PeerGone():
            return ChannelClosed(child.incarnation)
        case _:
            assert_never(message)


def exited_child() -> int | None:
    """Return the pid of a child that has exited and is to be collected, None if none has."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _oom_kills() -> int:
    try:
        return parse_oom_kills(Path("/proc/vmstat").read_text())
    except OSError:
        return 0  # not Linux


async def _supervise(sources: Sources, settings: Settings, predecessor: Handover | None) -> int:
    minds = predecessor.minds_terminal if predecessor else minds_hangups()
    supervisor = Supervisor(sources, settings, minds_terminal=minds)
    try:
        return await supervisor.run(predecessor)
    finally:
        give_notice(STOPPING)
        supervisor.close()


def run(sources: Sources, *, program: str) -> int:
    """Run the relay that `sources` ask for, until a signal; return the exit code.

    What keeps it from starting is told on stderr, by the name of the `program`, or in the log where
    that is for machines.
    """
    faulthandler.enable()
    os.umask(0o077)  # what is stored here is nobody else's business
    descriptors.raise_limit()
    try:
        if sources.rehearse is not None:
            rehearse(read_handover(sources.rehearse))
            return 0
        if sources.check_only:
            return check_config(
                sources,
                load_groups,
                _read_secrets,
                all_warnings_of,
                user_of,
                tables_of=tables_of,
                program=program,
            )
        if sources.take_over is not None:
            predecessor = read_handover(sources.take_over)
            settings = predecessor.settings
        else:
            predecessor, settings = None, sources.load(tables_of)
            _read_webhook_secrets(settings)  # the admin, which needs them, may come late
        log.configure(settings.log.format, settings.log.level, process="supervisor")
        return asyncio.run(_supervise(sources, settings, predecessor))
    except SettingsError as error:
        return _refused(sources, error.problems, program, exit_code=2)
    except RelayError as error:
        return _refused(sources, (str(error),), program, exit_code=1)


def _read_secrets(settings: Settings) -> None:
    """Read every file that says who may come in, or signs what is posted.

    Raises:
        SettingsError: what is unusable of them.
    """
    problems: list[str] = []
    try:
        authenticator_of(settings)
    except SettingsError as error:
        problems += error.problems
    try:
        _read_webhook_secrets(settings)
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(*problems)


def _read_webhook_secrets(settings: Settings) -> None:
    if settings.webhooks.secret_file:
        Secrets(settings.webhooks.secret_file)


def _refused(sources: Sources, problems: tuple[str, ...], program: str, *, exit_code: int) -> int:
    signals.release()
    given = sources.draft(tables_of).settings.log
    if given.format == "json" and sources.rehearse is None:
        log.configure(given.format, given.level, process="supervisor")
        for problem in problems:
            logger.error("supervisor.cannot_start", reason=problem)
    else:
        report(problems, program)
    return exit_code


serve: Final = serve_command(partial(run, program="relay serve"))


def main(argv: list[str]) -> int:
    """Run the relay as the command line of `supervisor.py` says; return the exit code."""
    try:
        sources = parse_arguments(argv)
    except SettingsError as error:
        report(error.problems, PROGRAM)
        return 2
    return run(sources, program=PROGRAM)
