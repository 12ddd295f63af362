"""What a supervisor holds before it starts anything: the data directory, the port, a run directory.

Each is taken whole or not at all; a BootError says in one line what is in the way. The kernel gives
the lock and the port back however the supervisor dies.
"""

import errno
import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from relay.errors import BootError

RUN_DIR_PREFIX: Final = "relay-"
# sun_path holds 107 bytes and a NUL; "/w255-9999999999.sock" is the longest name in the directory.
MAX_RUN_DIR_BYTES: Final = 107 - 21
# The children of a killed supervisor may hold the port this long while they stop.
PREDECESSOR_S: Final = 15.0


class _LockNote(msgspec.Struct, frozen=True):
    """data/lock: who holds it, and the run directories that are to be removed at the end."""

    pid: int
    run_dirs: tuple[str, ...] = ()


class Claims:
    """All that one supervisor holds: first the data, then the port, then a run directory.

    Raises:
        BootError: as `DataClaim`; nothing is held.
    """

    def __init__(self, data: Path, *, now_s: float) -> None:
        """Claim the data; `now_s` is of a clock that only grows."""
        self._data = DataClaim(data)
        self._patient_until_s = now_s + PREDECESSOR_S
        self._port: socket.socket | None = None
        self._run_dir: Path | None = None

    def claim_port(self, host: str, port: int, *, now_s: float) -> tuple[str, int] | None:
        """Claim the port; return the host and port as they were found.

        None: what a killed supervisor left behind may hold it yet; try again soon.

        Raises:
            BootError: as the function `claim_port`.
        """
        try:
            self._port = claim_port(host, port)
        except BootError:
            if not self._data.left_behind or now_s > self._patient_until_s:
                raise
            return None
        found: tuple[str, int] = self._port.getsockname()[:2]
        return found

    def make_run_dir(self) -> Path:
        """Make the run directory and return it, which `release` removes.

        Raises:
            BootError: it cannot be made, or not be noted for whoever comes after a kill.
        """
        self._run_dir = make_run_dir()
        self._data.note_run_dir(self._run_dir)
        return self._run_dir

    def release(self) -> None:
        """Give all of it back; no child may live."""
        if self._run_dir:
            remove_run_dir(self._run_dir)
        if self._port:
            self._port.close()
        for path in self._data.left_behind:
            remove_run_dir(path)
        self._data.release()


class DataClaim:
    """The data directory, made if missing and locked.

    `left_behind` are run directories of supervisors that were killed; their children may still be
    stopping in them.

    Raises:
        BootError: not creatable, not writable, or held by another supervisor.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BootError(f"data directory {path} cannot be used: {error.strerror}") from None
        try:
            note = self._lock()
            self.left_behind = tuple(filter(_is_run_dir, map(Path, note.run_dirs)))
            self._note(*self.left_behind)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> _LockNote:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = self._read_note().pid
            raise BootError(
                f"data directory {self.path} is in use by another supervisor"
                f" (pid {pid or 'unknown'})"
            ) from None
        return self._read_note()

    def note_run_dir(self, run_dir: Path) -> None:
        """Write down who holds the lock and what to remove, for whoever finds it after a kill."""
        self._note(run_dir, *self.left_behind)

    def release(self) -> None:
        """Unlock the directory; nothing is left to remove."""
        try:
            os.ftruncate(self._fd, 0)
        finally:
            os.close(self._fd)

    def _read_note(self) -> _LockNote:
        line, _, _ = os.pread(self._fd, 1 << 16, 0).partition(b"\n")
        try:
            return msgspec.json.decode(line, type=_LockNote)
        except msgspec.DecodeError:
            return _LockNote(pid=0)  # new

    def _note(self, *run_dirs: Path) -> None:
        note = _LockNote(pid=os.getpid(), run_dirs=tuple(map(str, run_dirs)))
        line = msgspec.json.encode(note) + b"\n"
        try:
            # In this order, a kill in between leaves a whole line, and behind it a rest of the old
            # one. Without the run directories the next supervisor would not know whom to wait for.
            os.pwrite(self._fd, line, 0)
            os.ftruncate(self._fd, len(line))
        except OSError as error:
            raise BootError(f"{self.path / 'lock'} cannot be written: {error.strerror}") from None


def claim_port(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to `host` and `port`, but does not listen.

    While it is open, no other relay can take the port, not even between the death of the last
    front and the start of the next, and the fronts can share it by SO_REUSEPORT. Port 0 takes a
    free one; ask the socket which.

    Raises:
        BootError: the port is in use or not allowed, or the host is not of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # IPv4 first: of a name's addresses it is the one that every client tries.
        family, kind, proto, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        if port:
            # SO_REUSEPORT would share the port with any listener that sets it too, so try without.
            # SO_REUSEADDR overlooks what is left in TIME_WAIT of listeners that set it (as fronts
            # do), but neither a listener nor the holding socket of another relay.
            with socket.socket(family, kind, proto) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        holder = socket.socket(family, kind, proto)
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(address)
        except BaseException:
            holder.close()
            raise
    except socket.gaierror as error:
        raise BootError(f"host {host} is unknown: {error.strerror}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BootError(f"port {port} on {host} is in use") from None
        raise BootError(f"port {port} on {host} cannot be used: {error.strerror}") from None
    return holder


def make_run_dir() -> Path:
    """Make a private directory with a path short enough for the ipc sockets in it.

    Raises:
        BootError: none of the usual places for it is writable.
    """
    places = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108
    for place in places:
        # mkdtemp adds 8 characters to the prefix.
        length = len(os.fsencode(place)) + 1 + len(RUN_DIR_PREFIX) + 8
        if not os.path.isabs(place) or length > MAX_RUN_DIR_BYTES:
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=RUN_DIR_PREFIX, dir=place))
        except OSError:
            continue
    raise BootError(f"no run directory can be made in any of {', '.join(filter(None, places))}")


def remove_run_dir(path: Path) -> None:
    """Remove a run directory with all that is in it; it may be gone already."""
    shutil.rmtree(path, ignore_errors=True)


def _is_run_dir(path: Path) -> bool:
    """Whether `path`, read from a file, looks like one that `make_run_dir` made for this user."""
    return (
        path.is_absolute()
        and path.name.startswith(RUN_DIR_PREFIX)
        and path.is_dir()
        and not path.is_symlink()
        and path.stat().st_uid == os.geteuid()
    )
