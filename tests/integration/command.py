"""The supervisor as a command: any options, what it prints, its exit code and its processes."""

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.outside.processes import REPOSITORY, lives
from tests.outside.waiting import DEADLINE_S, poll_for

READY = re.compile(r"ready ws://127\.0\.0\.1:(\d+)/ fronts=1 workers=(\d)\n")


_AS_SYSTEMD = """
import os, sys
fds = list(map(int, sys.argv[1].split(",")))
at = [os.dup(fd) for fd in fds]
while min(at) < 3 + len(at):  # none may lie where another one is to be
    at = [os.dup(fd) for fd in at]
for place, fd in enumerate(at, start=3):
    os.dup2(fd, place)
os.closerange(3 + len(at), 1000)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(at)))
os.environ.update(LISTEN_FDNAMES=":".join(["relay.socket"] * len(at)))
os.execv(sys.argv[2], sys.argv[2:])
"""


def handing_over(sockets: Sequence[socket.socket]) -> list[str]:
    """Return what is to stand before a command, so that it gets these as systemd hands them over.

    The one who runs it must pass their descriptors on.
    """
    fds = ",".join(str(each.fileno()) for each in sockets)
    return [sys.executable, "-c", _AS_SYSTEMD, fds]


class Command:
    """`python supervisor.py` with any options and one front."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        workers: int = 1,
        cwd: Path = REPOSITORY,
        program: tuple[str, ...] = (str(REPOSITORY / "supervisor.py"),),
        environment: Mapping[str, str] | None = None,
        stderr: int | None = None,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        """Start it; its `stderr` may go elsewhere, and `program` may be another.

        `sockets` are handed over as systemd does it.
        """
        self._workers = workers
        self._stdout, self._stderr = (
            Path(tempfile.mkstemp(dir=directory, prefix=name)[1]) for name in ("stdout", "stderr")
        )
        self._seen: set[Any] = set()
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(handing_over(sockets) if sockets else ()),
                    *(sys.executable, *program),
                    *("--port", "0", "--workers", str(workers), "--fronts", "1", "--no-admin"),
                    *options,
                ],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log if stderr is None else stderr,
                pass_fds=[each.fileno() for each in sockets],
            )

    @property
    def stdout(self) -> str:
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def wait_until_ready(self) -> int:
        """Wait for the ready line and return the port."""

        def ready_or_over() -> bool:
            return bool(READY.search(self.stdout)) or self.process.poll() is not None

        poll_for("the ready line", ready_or_over)
        found = READY.fullmatch(self.stdout)
        assert found, f"stdout {self.stdout!r}\n{self.stderr}"
        assert int(found[2]) == self._workers
        return int(found[1])

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        poll_for(f"{pattern!r} in the log", lambda: bool(re.search(pattern, self.stderr)))
        found = re.search(pattern, self.stderr)
        assert found
        return found

    def processes(self) -> list[Any]:
        """The supervisor and its children, those of earlier calls too, as far as they live."""
        try:
            root = psutil.Process(self.process.pid)
            self._seen |= {root, *root.children(recursive=True)}
        except psutil.NoSuchProcess:
            pass
        return [process for process in self._seen if lives(process)]

    def wait(self) -> int:
        """Return the exit code; no process is left behind."""
        code = self.process.wait(DEADLINE_S)
        assert self.processes() == []
        return code

    def clean_up(self) -> None:
        for process in self.processes():
            process.kill()
        self.process.wait(DEADLINE_S)
