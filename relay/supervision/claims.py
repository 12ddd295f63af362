"""What a supervisor holds before it starts anything: the data directory, the port, a run directory.

Each is taken whole or not at all; a BootError says in one line what is in the way. The kernel gives
the lock and the port back however the supervisor dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from relay.disk.files import is_private_directory
from relay.disk.locknote import LockNote, read_lock_note
from relay.errors import BootError

RUN_DIR_PREFIX: Final = "relay-"
# sun_path holds 107 bytes and a NUL; "/w255-9999999999.sock" is the longest name in the directory.
MAX_RUN_DIR_BYTES: Final = 107 - 21
# The children of a killed supervisor may hold the port this long while they stop.
PREDECESSOR_S: Final = 15.0


class ClaimsHeld(msgspec.Struct, frozen=True, kw_only=True):
    """What one process holds, for another program in it; numbers are descriptors."""

    data: str
    lock: int
    left_behind: tuple[str, ...]
    run_dir: str
    port: int
    listeners: dict[int, int]  # by the index of a front
    given: tuple[int, ...] = ()  # the same, of a service manager that holds the port too
    for_good: bool = False  # whether the listeners could not be bound again

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All of them."""
        return (self.lock, self.port, *self.listeners.values(), *self.given)


class Claims:
    """All that one supervisor holds: first the data, then the port, then a run directory."""

    def __init__(
        self, data: DataClaim, *, now_s: float, given: tuple[socket.socket, ...] = ()
    ) -> None:
        """Begin with the data; `now_s` is of a clock that only grows.

        `given` are sockets that listen already, of a service manager that holds the port.
        """
        self._data = data
        self._patient_until_s = now_s + PREDECESSOR_S
        self._given = given
        self._port = given[0] if given else None
        self._listeners: dict[int, socket.socket] = {}  # by the index of a front
        self._for_good = False  # whether the listeners could not be bound again
        self._run_dir: Path | None = None

    @classmethod
    def taken_over(cls, held: ClaimsHeld) -> Claims:
        """Return what a predecessor in this process has `held`."""
        data = DataClaim.taken_over(Path(held.data), held.lock, tuple(map(Path, held.left_behind)))
        given = tuple(socket.socket(fileno=fd) for fd in held.given)
        claims = cls(data, now_s=0.0, given=given)
        claims._port = claims._port or socket.socket(fileno=held.port)
        claims._listeners = {
            front: socket.socket(fileno=fd) for front, fd in held.listeners.items()
        }
        claims._for_good = held.for_good
        claims._run_dir = Path(held.run_dir)
        return claims

    @property
    def held(self) -> ClaimsHeld:
        """What a successor in this process is to hold; all of it is claimed."""
        assert self._port, "the port is claimed"
        return ClaimsHeld(
            data=str(self._data.path),
            lock=self._data.lock,
            left_behind=tuple(map(str, self._data.left_behind)),
            run_dir=str(self._run_dir),
            port=self._port.fileno(),
            listeners={front: each.fileno() for front, each in self._listeners.items()},
            given=tuple(each.fileno() for each in self._given),
            for_good=self._for_good,
        )

    def claim_port(self, host: str, port: int, *, now_s: float) -> tuple[str, int] | None:
        """Claim the port; return the host and port as they were found, or were given.

        None: what a killed supervisor left behind may hold it yet; try again soon.

        Raises:
            BootError: as the function `claim_port`.
        """
        try:
            self._port = self._port or claim_port(host, port)
        except BootError:
            if not self._data.left_behind or now_s > self._patient_until_s:
                raise
            return None
        found: tuple[str, int] = self._port.getsockname()[:2]
        return found

    def listener(self, front: int) -> socket.socket:
        """Return the socket of that front's seat, for whichever incarnation sits there.

        It shares the port, and whoever has connected waits in it, as long as it is open here. Those
        that were given are shared out: the queue of each is one front's, or that of several.

        Raises:
            OSError: there is no descriptor for it, or the address is no longer of this machine.
        """
        assert self._port, "the port is claimed"
        if self._given:
            return self._given[front % len(self._given)]
        if front not in self._listeners:
            self._listeners[front] = share(self._port)
        return self._listeners[front]

    def bind_for_good(self, fronts: int) -> None:
        """Bind the sockets of all seats now: later nobody here could, who is no longer root.

        Raises:
            BootError: they cannot be bound.
        """
        self._for_good = True
        try:
            for front in range(fronts):
                self.listener(front)
        except OSError as error:
            raise BootError(f"the port cannot be shared: {error.strerror}") from None

    def close_listener(self, front: int) -> None:
        """Let the others have whom that front would have got; those who wait in it are reset.

        One that was given stays open, for those who share it, the next front or the next relay.
        """
        if self._for_good and not self._given:
            with contextlib.suppress(OSError):  # nobody has listened on it
                self._listeners[front].shutdown(socket.SHUT_RD)
            return
        if listener := self._listeners.pop(front, None):
            listener.close()

    def close_listeners(self) -> None:
        """Take nobody in any more, once no front does; the port stays claimed."""
        for front in tuple(self._listeners):
            self.close_listener(front)

    def _give_up_listeners(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    @property
    def run_dir(self) -> Path:
        """The run directory; it was made."""
        assert self._run_dir, "the run directory is made"
        return self._run_dir

    def make_run_dir(self) -> Path:
        """Make the run directory and return it, which `release` removes.

        Raises:
            BootError: it cannot be made, or not be noted for whoever comes after a kill.
        """
        self._run_dir = make_run_dir(self._data.path)
        self._data.note_run_dir(self._run_dir)
        return self._run_dir

    def keep_run_dir(self) -> bool:
        """Make the run directory again if somebody has removed it; tell whether that was so.

        Raises:
            OSError: it cannot be made.
        """
        if self._run_dir is None or is_private_directory(self._run_dir):
            return False
        self._run_dir.mkdir(mode=0o700)
        return True

    def release(self) -> None:
        """Give all of it back; no child may live."""
        if self._run_dir:
            remove_run_dir(self._run_dir)
        self._give_up_listeners()
        if self._port:
            self._port.close()
        for given in self._given:
            given.close()
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
            self.lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BootError(f"data directory {path} cannot be used: {error.strerror}") from None
        try:
            note = self._lock()
            self.left_behind = tuple(filter(_is_run_dir, map(Path, note.run_dirs)))
            self._note(*self.left_behind)
        except BaseException:
            os.close(self.lock)
            raise

    @classmethod
    def taken_over(cls, path: Path, lock: int, left_behind: tuple[Path, ...]) -> DataClaim:
        """Return the claim of a predecessor in this process, which is locked by `lock`."""
        claim = cls.__new__(cls)
        claim.path, claim.lock, claim.left_behind = path, lock, left_behind
        return claim

    def _lock(self) -> LockNote:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        """Unlock the directory; nothing is left to remove.

        The file is not emptied: on a disk that is full the next holder would have no room for its
        note, and could not serve what can still be read.
        """
        try:
            self._write(LockNote(pid=0))
        finally:
            os.close(self.lock)

    def _read_note(self) -> LockNote:
        return read_lock_note(self.lock)

    def _note(self, *run_dirs: Path) -> None:
        try:
            self._write(LockNote(pid=os.getpid(), run_dirs=tuple(map(str, run_dirs))))
        except OSError as error:
            # Without the run directories the next supervisor would not know whom to wait for.
            raise BootError(f"{self.path / 'lock'} cannot be written: {error.strerror}") from None

    def _write(self, note: LockNote) -> None:
        line = msgspec.json.encode(note) + b"\n"
        # In this order, a kill in between leaves a whole line, and behind it a rest of the old one.
        os.pwrite(self.lock, line, 0)
        os.ftruncate(self.lock, len(line))


def claim_port(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to `host` and `port`, but does not listen.

    While it is open, no other relay can take the port, not even while there is no front, and the
    fronts' can share it (`share`). Port 0 takes a free one; ask the socket which. Host "::" is
    IPv4's too.

    Raises:
        BootError: the port is in use or not allowed, or the host is not of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # IPv4 first: of a name's addresses it is the one that every client tries.
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        if port:
            # SO_REUSEPORT would share the port with any listener that sets it too, so try without.
            # SO_REUSEADDR overlooks what is left in TIME_WAIT of listeners that set it (as fronts
            # do), but neither a listener nor the holding socket of another relay.
            _bound(family, address, socket.SO_REUSEADDR).close()
        return _bound(family, address, socket.SO_REUSEPORT)
    except socket.gaierror as error:
        raise BootError(f"host {host} is unknown: {error.strerror}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BootError(f"port {port} on {host} is in use") from None
        raise BootError(f"port {port} on {host} cannot be used: {error.strerror}") from None


def share(holder: socket.socket) -> socket.socket:
    """Return another socket bound as `holder` is, to be listened on beside others of it.

    Raises:
        OSError: there can be none.
    """
    return _bound(holder.family, holder.getsockname(), socket.SO_REUSEPORT, socket.SO_REUSEADDR)


def _bound(family: int, address: tuple[object, ...], *options: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            # "::" is every address of this machine: a system's default may leave out IPv4.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def make_run_dir(data: Path) -> Path:
    """Make a private directory with a path short enough for the ipc sockets in it.

    Where a service manager has made one it is in that, so that operators find it: a unit's /tmp may
    be its own. Where none of the usual places can be written, it is in the `data` directory.

    Raises:
        BootError: it can be made nowhere.
    """
    made = os.environ.get("RUNTIME_DIRECTORY", "").split(":")  # of systemd, which may make several
    told = (os.environ.get(name, "") for name in ("XDG_RUNTIME_DIR", "TMPDIR", "TEMP", "TMP"))
    places = dict.fromkeys([*made, *told, "/tmp", "/var/tmp", str(data.absolute())])  # noqa: S108
    refusals = []
    for place in filter(None, places):
        # mkdtemp adds 8 characters to the prefix.
        length = len(os.fsencode(place)) + 1 + len(RUN_DIR_PREFIX) + 8
        if not os.path.isabs(place):
            continue
        if length > MAX_RUN_DIR_BYTES:
            refusals.append(f"{place}: its path is too long for the sockets")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=RUN_DIR_PREFIX, dir=place))
        except OSError as error:
            refusals.append(f"{place}: {error.strerror}")
    raise BootError(f"no run directory can be made ({'; '.join(refusals)}); see XDG_RUNTIME_DIR")


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
