"""One child process of the supervisor: a front or a worker, from its spawn to its exit code."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from relay.errors import BootError
from relay.process.channel import SupervisorEnd, supervisor_end
from relay.supervision.seats import Role

MODULES: Final[dict[Role, str]] = {"worker": "workers", "front": "relay.front"}

# Where both packages are, so that a child runs the code that its supervisor runs, and never a
# module that happens to lie in the directory the supervisor was called from.
CODE: Final = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Return the environment of a child: it finds the modules that its supervisor finds.

    Behind those in `CODE`. An extension that a check of the settings could import is there for the
    children too, though they start in another directory.
    """
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}


class Child:
    """A running process and its control channel.

    It leads a session and process group of its own: a terminal's Ctrl-C does not reach it, since
    the supervisor stops the children in order. It dies with its supervisor, because the channel
    then ends.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, role: Role, index: int, incarnation: int, *, run_dir: Path) -> None:
        self.incarnation = incarnation
        self.connected = True  # the channel is open
        ours, theirs = socket.socketpair()
        self.channel: SupervisorEnd = supervisor_end(ours)
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-m", MODULES[role]),
                    *("--run-dir", str(run_dir)),
                    *("--index", str(index)),
                    *("--incarnation", str(incarnation)),
                    *("--control-fd", str(theirs.fileno())),
                ],
                cwd=CODE,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=2,  # stdout is for the ready line
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid

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

    def exit_code(self) -> int | None:
        """Collect and return the exit code, negative for a signal; None while the process lives."""
        return self._process.poll()

    def wait(self) -> None:
        """Block until the process has exited; to be called after a SIGKILL."""
        self._process.wait()


def start_resharding(run_dir: Path) -> subprocess.Popen[bytes]:
    """Start the process that lays the stores out for the workers that the settings ask for.

    It ends by itself, or with its supervisor, since its stdin then ends; it may be killed.

    Raises:
        BootError: it cannot be started.
    """
    try:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "workers.tools.reshard", "--run-dir", str(run_dir)],
            cwd=CODE,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=2,  # stdout is for the ready line
            start_new_session=True,
        )
    except OSError as error:
        raise BootError(f"workers.tools.reshard cannot be started: {error.strerror}") from None
