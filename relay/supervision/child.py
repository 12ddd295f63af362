"""One child process of the supervisor: a front or a worker, from its spawn to its exit code."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from relay import signals
from relay.errors import BootError
from relay.process.channel import SupervisorEnd, supervisor_end
from relay.process.memo import read_memo, write_memo
from relay.supervision.program import OWN
from relay.supervision.seats import Role

MODULES: Final[dict[Role, str]] = {
    "worker": "workers",
    "front": "relay.front",
    "admin": "relay.admin",
    "agent": "relay.cluster",
    "engine": "relay.cluster.engine",
}
IN_CLUSTERS: Final = frozenset[Role]({"agent", "engine"})  # who is there in no other relay


def environment(code: Path) -> dict[str, str]:
    """Return the environment of a child: it finds the modules that its supervisor finds.

    Behind those in `code`. An extension that a check of the settings could import is there for the
    children too, though they start in another directory.
    """
    path = os.pathsep.join([str(code), *map(os.path.abspath, sys.path)])
    return {**os.environ, "PYTHONPATH": path}


class Inherited(NamedTuple):
    """The descriptors that a child is given at its start; they stay the supervisor's."""

    settings: int
    groups: int | None = None  # a worker's
    listener: int | None = None  # a front's
    keys: int | None = None  # a front's, if some were fetched


class Process(Protocol):
    """A process of ours, whoever of us has started it."""

    pid: int

    def poll(self) -> int | None:
        """Collect and return the exit code, negative for a signal; None while it lives."""

    def wait(self) -> int:
        """Return the exit code, when it has exited."""


class Adopted:
    """A process that a predecessor of this program has started, under the same pid as ours."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Collect and return the exit code, negative for a signal; None while it lives."""
        return self._collect(os.WNOHANG)

    def wait(self) -> int:
        """Return the exit code, when it has exited."""
        code = self._collect(0)
        assert code is not None
        return code

    def _collect(self, options: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


class Child:
    """A running process and its control channel.

    It leads a session and process group of its own: a terminal's Ctrl-C does not reach it, since
    the supervisor stops the children in order. It dies with its supervisor, because the channel
    then ends.
    """

    def __init__(
        self, incarnation: int, process: Process, channel: SupervisorEnd, stacks: int
    ) -> None:
        """`stacks` is a memo, from here on ours, for its stacks when it crashes."""
        self.incarnation = incarnation
        self.stacks = stacks
        self.connected = True  # the channel is open
        self.channel = channel
        self.pid = process.pid
        self._process = process

    def disconnect(self) -> None:
        """Close the channel, from which a process learns that it is to stop."""
        if self.connected:
            self.connected = False
            self.channel.close()

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and all that it has started; not after `exit_code` returned one."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # dead, and about to be collected

    def take_stacks(self) -> str:
        """Return what it has left of its stacks, "" for nothing; once, when it has exited."""
        try:
            return read_memo(self.stacks).decode(errors="replace")
        finally:
            os.close(self.stacks)

    def exit_code(self) -> int | None:
        """Collect and return the exit code, negative for a signal; None while the process lives."""
        return self._process.poll()

    def wait(self) -> int:
        """Block until the process has exited, as after a SIGKILL; collect and return as above."""
        return self._process.wait()


def exited_child() -> int | None:
    """Return the pid of a process that has exited and is to be collected, None if none has."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def start_child(
    role: Role, index: int, incarnation: int, *, run_dir: Path, inherited: Inherited
) -> Child:
    """Start the process of a seat.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    channel = supervisor_end(ours)
    stacks = write_memo("stacks", b"")
    descriptors = {
        "--control-fd": theirs.fileno(),
        "--settings-fd": inherited.settings,
        "--groups-fd": inherited.groups,
        "--listener-fd": inherited.listener,
        "--keys-fd": inherited.keys,
        "--stacks-fd": stacks,
    }
    given = {option: fd for option, fd in descriptors.items() if fd is not None}
    try:
        process = start(
            [
                *("-m", MODULES[role]),
                *("--run-dir", str(run_dir)),
                *("--index", str(index)),
                *("--incarnation", str(incarnation)),
                *(word for option, fd in given.items() for word in (option, str(fd))),
            ],
            pass_fds=tuple(given.values()),
            stdin=subprocess.DEVNULL,
        )
    except BaseException:
        channel.close()
        os.close(stacks)
        raise
    finally:
        theirs.close()
    return Child(incarnation, process, channel, stacks)


def start_resharding(settings: int) -> subprocess.Popen[bytes]:
    """Start the process that lays the stores out for the workers that the `settings` memo asks for.

    It ends by itself, or with its supervisor, since its stdin then ends; it may be killed.

    Raises:
        BootError: it cannot be started.
    """
    try:
        return start(
            ["-m", "workers.tools.reshard", "--settings-fd", str(settings)],
            pass_fds=(settings,),
            stdin=subprocess.PIPE,
        )
    except OSError as error:
        raise BootError(f"workers.tools.reshard cannot be started: {error.strerror}") from None


def start(
    arguments: list[str], *, pass_fds: tuple[int, ...], stdin: int
) -> subprocess.Popen[bytes]:
    """Start a Python of ours with the code of ours, in a session of its own.

    Raises:
        OSError: it cannot be started.
    """
    # It begins with the signals held, until it says what is to come of them.
    code = OWN.code()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.HELD)
    try:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, *arguments],
            cwd=code,
            env=environment(code),
            stdin=stdin,
            stdout=2,  # stdout is for the ready line
            pass_fds=pass_fds,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
