"""One host: what runs on it, and what happens to it as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from .disk import Disk
from .network import Network

GONE_S: Final = 20.0


class Host:
    """A namespace of a network, with a directory of its own, on a disk if it has one."""

    def __init__(self, name: str, network: Network, directory: Path, disk: Disk | None) -> None:
        self.name = name
        self.directory = disk.path if disk else directory
        self.disk = disk
        self._network = network
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """Where the others reach it."""
        return self._network.address(self.name)

    def start(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program on it, which logs to a file elsewhere, as its disk may go."""
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [*self.within(), *command],
                cwd=cwd or self.directory,
                env=dict(environment) if environment is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def within(self) -> list[str]:
        """Return what a command begins with that is to run on it."""
        return self._network.within(self.name)

    def pids(self) -> list[int]:
        """Return the processes that run on it."""
        return self._network.pids(self.name)

    def find(self, *words: str) -> list[int]:
        """Return the processes whose command line has all those words one after the other."""
        wanted = "\0".join(words).encode()
        return [pid for pid in self.pids() if wanted in _command_line(pid)]

    def running(self, program: str) -> list[int]:
        """Return the processes whose program has that file name."""
        return [pid for pid in self.pids() if _program(pid) == program]

    def cut(self) -> None:
        """Cut it off from all others, without a word to anybody."""
        self._network.cut(self.name)

    def heal(self) -> None:
        """Connect it again."""
        self._network.heal(self.name)

    def freeze(self) -> None:
        """Stop every process on it, as a hypervisor does; those that they just begin, too."""
        self._signal_all(signal.SIGSTOP, until=lambda pid: _state(pid) in "TtZX")

    def thaw(self) -> None:
        """Let them go on."""
        for pid in self.pids():
            _send(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill every process on it; what the kernel was to write to the disk it still writes.

        All stand still first, so that none sees another one die.
        """
        self.freeze()
        self._signal_all(signal.SIGKILL, until=lambda pid: _state(pid) in "ZX")
        for process in self._started:
            process.wait(GONE_S)
            if process.stdout is not None:
                process.stdout.close()
        self._started.clear()

    def lose_power(self) -> None:
        """Lose all that runs on it and all that its disk was not asked to keep; it is off then."""
        assert self.disk is not None, "it has no disk of its own"
        self.freeze()
        self.disk.lose_power()
        self.kill()
        self.disk.unmount()

    def get_power(self) -> None:
        """Have its disk again; nothing runs."""
        assert self.disk is not None, "it has no disk of its own"
        self.disk.mount()

    def _signal_all(self, number: signal.Signals, *, until: Callable[[int], bool]) -> None:
        """Signal all until it has reached each of them."""
        ends_s = time.monotonic() + GONE_S
        while pids := [pid for pid in self.pids() if not until(pid)]:
            # The youngest first: where a parent dies before its children that stand still, the
            # kernel lets those go on for a moment.
            for pid in sorted(pids, reverse=True):
                _send(pid, number)
            if time.monotonic() > ends_s:
                raise AssertionError(f"host {self.name}: {pids} outlive {number.name}")
            time.sleep(0.005)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _state(pid: int) -> str:
    """Return the letter that ps shows; X once there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _program(pid: int) -> str:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))  # may be gone
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
