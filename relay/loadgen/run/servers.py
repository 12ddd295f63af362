"""Servers that the generator starts for itself: a relay, and the reference."""

import ctypes
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from relay.errors import RelayError

_READY_WITHIN_S: Final = 60.0
_STOP_WITHIN_S: Final = 40.0  # a relay drains for up to 30 s
_LOG_LINES: Final = 20
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)

_libc: Final = ctypes.CDLL(None, use_errno=True)


class RunFailed(RelayError):
    """The run cannot go on: nothing answers, or a server or process of ours died."""


class Server:
    """A server in a process of its own, on a free port; as a context manager it is stopped."""

    def __init__(
        self,
        what: str,
        command: list[str],
        *,
        data_option: str = "",
        groups: bytes = b"",
        cpus: tuple[int, ...] = (),
    ) -> None:
        self.what = what
        self.url = ""
        self._command = command
        self._data_option = data_option
        self._groups = groups
        self._cpus = cpus
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            RunFailed: it does not come up; the message has the end of its log.
        """
        self._directory = Path(tempfile.mkdtemp(prefix="relay-load-"))
        command = list(self._command)
        if self._data_option:
            command += [self._data_option, str(self._directory / "data")]
        try:
            if self._groups:
                groups = self._directory / "groups.json"
                groups.write_bytes(self._groups)
                command += ["--groups", str(groups)]
            # It has a session of its own: Ctrl-C at the terminal is for us, who then stop it. Where
            # we are killed and cannot, it gets SIGTERM from the kernel.
            with pinned(self._cpus), self._log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own programs
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=partial(end_with, os.getpid()),
                )
            self.url = self._ready_url()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    def _ready_url(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        text = b""
        deadline = time.monotonic() + _READY_WITHIN_S
        while not text.endswith(b"\n"):
            left_s = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self._process.stdout], [], [], left_s)
            read = os.read(self._process.stdout.fileno(), 4096) if readable else b""
            if not read:
                raise RunFailed(f"the {self.what} did not start:\n{self._log_tail()}")
            text += read
        return text.decode().split()[1]

    def _log_tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join(f"  {each}" for each in lines) or "  (it said nothing)"

    def _stop(self) -> None:
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_WITHIN_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                # A Ctrl-C here is for the waiting: what was measured is still to be shown.
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def end_with(parent: int) -> None:
    """In a new process: ask the kernel for SIGTERM when `parent` is gone, also by SIGKILL.

    The kernel means the thread that made this process, which here is the main one.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before we asked
        os._exit(1)


def relay(arguments: str, *, groups: bytes, cpus: tuple[int, ...] = ()) -> Server:
    """Return a relay with these options of `relay serve`, and a directory for its data."""
    command = [sys.executable, "-m", "relay", "serve", "--port", "0", *shlex.split(arguments)]
    return Server("relay", command, data_option="--data", groups=groups, cpus=cpus)


def reference(*, groups: bytes, cpus: tuple[int, ...] = ()) -> Server:
    """Return the reference (relay.loadgen.run.reference)."""
    command = [sys.executable, "-m", "relay.loadgen.run.reference", "--port", "0"]
    return Server("reference", command, groups=groups, cpus=cpus)


@contextmanager
def pinned(cpus: tuple[int, ...]) -> Iterator[None]:
    """Run the block on these CPUs; processes started in it stay there. Empty: as it is."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
