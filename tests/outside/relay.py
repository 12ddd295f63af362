"""The relay under test, as processes; whatever happens nothing is left of it."""

import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil  # type: ignore[import-untyped]
from websockets.uri import parse_uri

from relay.settings.tables import ServerSettings, Settings
from workers.tools.reshard import reshard

from .client import SheetClient
from .log import Log
from .processes import REPOSITORY, Child, children_of, environment_below, groups_document, lives
from .waiting import DEADLINE_S, poll_for

# For the config of a relay that is to take another one.
DEBUG: Final = '[log]\nlevel = "debug"\n'

# For the config of a relay whose clients send more bad frames than a session may.
PATIENT: Final = "[limits]\nmalformed_frames = 1000"

_TAKEN: Final = "settings.taken"
_RELOADED: Final = "settings.reloaded"


class Relay:
    """A relay in processes of its own; as a context manager it is started and always cleaned up.

    `config` is TOML text; `groups` maps a group's jid to its members' local parts. `own_session`
    keeps it out of the caller's session, whose Ctrl-C and niceness it then does not share. Each of
    its processes may open `most_files`, where that is given. `tree` is the checkout that it is
    started from, which may be one of another day; `supervisor` is what Python runs there. Without
    `admin` it has no such process, which most tests do not need. Unless its command line
    `says_workers`, its config must say as many.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        fronts: int = 1,
        config: str = "",
        groups: Mapping[str, Sequence[str]] | None = None,
        own_session: bool = False,
        most_files: int | None = None,
        tree: Path = REPOSITORY,
        supervisor: Sequence[str] = ("supervisor.py",),
        admin: bool = False,
        says_workers: bool = True,
    ) -> None:
        # Not below pytest's long tmp_path: the bus has sockets here, and their paths are bounded.
        self.directory = Path(tempfile.mkdtemp(prefix="relay-test-"))
        self.url = ""
        self._workers = workers
        self._fronts = fronts
        self._own_session = own_session
        self._most_files = most_files
        self._tree = tree
        self._supervisor = supervisor
        self._has_admin = admin
        self._says_workers = says_workers
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._clients: list[SheetClient] = []
        self.log = Log(self.directory / "log")
        self.config_path = self.directory / "relay.toml"
        self.groups_path = self.directory / "groups.json"
        # Every process ever seen: the children of a supervisor that died are no one's children.
        self._seen: set[Any] = set()
        self.config_path.write_text(config)
        self._has_groups = groups is not None
        self.write_groups(groups or {})

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; after a good test also assert that it stops in order and that the log is clean."""
        try:
            if kind is None and self._process is not None:
                # A client that does not read answers no close frame, and the front would wait.
                self.drop_clients()
                self.stop()
                self.log.assert_clean()
        finally:
            self.clean_up()

    @property
    def port(self) -> int:
        return parse_uri(self.url).port

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor; it must have been started."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start on the data of before, if any; return when the ready line has come."""
        # Where the settings say how stores are made, that is left to the supervisor; so is it where
        # another checkout may make them in another way.
        if "[store]" not in self.config_path.read_text() and self._tree == REPOSITORY:
            _lay_out(self.directory / "data", fronts=self._fronts, workers=self._workers)
        command = [sys.executable, *self._supervisor, "--port", "0"]
        command += ["--data", str(self.directory / "data"), "--log-format", "json"]
        command += ["--fronts", str(self._fronts)]
        if self._says_workers:
            command += ["--workers", str(self._workers)]
        command += ["--config", str(self.config_path)]
        if self._has_groups:
            command += ["--groups", str(self.groups_path)]
        if not self._has_admin and self._tree == REPOSITORY:  # others may not know it
            command += ["--no-admin"]
        if self._most_files is not None:
            limited = ["/bin/sh", "-c", 'ulimit -n "$0" && exec "$@"', str(self._most_files)]
            command = limited + command
        run = self.directory / "run"
        run.mkdir(exist_ok=True)
        with self.log.path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._tree,
                env=environment_below(run, tree=self._tree),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=self._own_session,
            )
        self.url = _url_of(self._read_ready_line(), fronts=self._fronts, workers=self._workers)
        self.children()

    def _read_ready_line(self) -> str:
        stdout = self.process.stdout
        assert stdout is not None
        line = b""
        deadline = time.monotonic() + 2 * DEADLINE_S
        while not line.endswith(b"\n"):
            remaining = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([stdout], [], [], remaining)
            byte = os.read(stdout.fileno(), 1) if readable else b""
            if not byte:
                how = f"exit {self.process.poll()}" if readable else "in time"
                raise AssertionError(f"no ready line: {how}; so far {line!r}\n{self.log.text()}")
            line += byte
        return line.decode().rstrip("\n")

    # Clients.

    def connect(
        self, *, answer_pings: bool = True, receive_buffer_bytes: int | None = None
    ) -> SheetClient:
        """Return a new connection, not yet logged in; it is cut when the relay is cleaned up."""
        client = SheetClient(
            self.url, answer_pings=answer_pings, receive_buffer_bytes=receive_buffer_bytes
        )
        self._clients.append(client)
        return client

    def login(self, user: str, *, answer_pings: bool = True) -> SheetClient:
        """Return a new session of `user`; what waited for it is in its `queued`."""
        client = self.connect(answer_pings=answer_pings)
        client.login(user)
        return client

    def logged_in(self, *users: str) -> list[SheetClient]:
        """Return a new session of each of `users`, logged in one after the other."""
        return [self.login(user) for user in users]

    def drop_clients(self) -> None:
        """Cut the connection of every client so far, without a word."""
        while self._clients:
            self._clients.pop().drop()

    # Groups.

    def write_groups(self, groups: Mapping[str, Sequence[str]]) -> None:
        """Write the provisioning file; `reload` makes the relay read it."""
        self.groups_path.write_text(groups_document(groups))

    def reload(self) -> None:
        """Ask the supervisor to read the settings and the provisioning file again."""
        self.process.send_signal(signal.SIGHUP)

    def take(self, config: str) -> dict[str, Any]:
        """Have every process take `config`; return the log's line that tells what changed.

        The log must be at level debug, before and after: only then each says that it took it.
        """
        taken, reloaded = (len(self.log.events(name)) for name in (_TAKEN, _RELOADED))
        self.config_path.write_text(config)
        self.reload()
        everyone = taken + len(self.children())
        poll_for("the reload", lambda: len(self.log.events(_RELOADED)) > reloaded)
        poll_for("all to take it", lambda: len(self.log.events(_TAKEN)) == everyone)
        return self.log.events(_RELOADED)[-1]

    # Processes.

    def children(self, role: str | None = None) -> list[Child]:
        """The living workers and fronts, or those of one role, by index."""
        if self._process is None or self._process.poll() is not None:
            return []
        children = children_of(psutil.Process(self._process.pid))
        self._seen.update(child.process for child in children)
        return [child for child in children if role in (None, child.role)]

    def child(self, role: str) -> Child:
        """The one process of `role`; awaited, since the ready line waits for no admin."""
        poll_for(f"the {role}", lambda: len(self.children(role)) == 1)
        (child,) = self.children(role)
        return child

    def limit_file_size(self, limit_bytes: int | None) -> None:
        """Let no process of the relay, nor a successor, write a file beyond that; None lets them.

        The kernel then refuses such a write as a disk would, while smaller files are written.
        """
        soft = resource.RLIM_INFINITY if limit_bytes is None else limit_bytes
        processes = [psutil.Process(self.process.pid)]
        processes += [child.process for child in self.children()]
        for process in processes:
            process.rlimit(psutil.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def memory_bytes(self) -> int:
        """Resident memory of all workers and fronts together, without the store's mapped file."""
        infos = [child.process.memory_info() for child in self.children()]
        return sum(info.rss - info.shared for info in infos)

    def front_of(self, client: SheetClient) -> int | None:
        """The index of the front that has the socket of `client`; None once it was let go."""
        for child in self.children("front"):
            for connection in child.process.net_connections("tcp"):
                if connection.raddr and connection.raddr.port == client.local_port:
                    return child.index
        return None

    def connect_to_front(self, index: int) -> SheetClient:
        """Connect until the kernel, which spreads connections, has chosen this front."""
        for _ in range(200):
            client = self.connect()
            if self.front_of(client) == index:
                return client
            client.drop()
        raise AssertionError(f"no connection reached front {index}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM; `stop` then waits."""
        self._stopping = True
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop in order: SIGTERM, exit 0, and no process is left."""
        children = self.children()
        if not self._stopping:
            self.ask_to_stop()
        code = self.process.wait(2 * DEADLINE_S)
        assert code == 0, f"exit {code} after SIGTERM\n{self.log.text()}"
        alive = [child for child in children if child.process.is_running()]
        assert not alive, f"left behind: {alive}"
        self._forget_process()

    def kill_everything(self) -> None:
        """SIGKILL the supervisor and all its children, as a power cut would."""
        processes = self._all_processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait(DEADLINE_S)
        poll_for(f"the end of {processes} by SIGKILL", lambda: not any(map(lives, processes)))
        self._forget_process()

    def _all_processes(self) -> list[Any]:
        """The supervisor, stopped so that it starts no further child, and all that was below."""
        if self._process is not None and self._process.poll() is None:
            supervisor = psutil.Process(self._process.pid)
            supervisor.suspend()
            self._seen |= {supervisor, *supervisor.children(recursive=True)}
        return [process for process in self._seen if process.is_running()]

    def _forget_process(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        self._stopping = False

    def clean_up(self) -> None:
        """End every process, cut every client and remove the directory, whatever happened."""
        try:
            self.kill_everything()
        finally:
            self.log.keep()
            self.drop_clients()
            shutil.rmtree(self.directory, ignore_errors=True)


def _lay_out(data: Path, *, fronts: int, workers: int) -> None:
    """Make the stores if there are none: the supervisor would take a process of its own for it.

    Its doing so is what test_supervisor and test_reshard are about.
    """
    if not data.exists():
        data.mkdir(mode=0o700)
        server = ServerSettings(workers=workers, fronts=fronts, data=str(data))
        reshard(data, Settings(server=server))


def _url_of(line: str, *, fronts: int, workers: int) -> str:
    ready, url, *counts = line.split(" ")
    assert ready == "ready", line
    assert counts == [f"fronts={fronts}", f"workers={workers}"], line
    assert url.startswith(("ws://127.0.0.1:", "wss://127.0.0.1:")), line
    assert url.endswith("/"), line
    return url
