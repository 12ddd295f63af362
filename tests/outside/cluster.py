"""Several hosts that are one relay, all on this machine: each has an address of its own.

They cannot be cut off from each other here. The addresses are those of one cluster alone: whoever
else runs such tests at the same time could take the ports of a host while it is down.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Final, Self

import psutil  # type: ignore[import-untyped]

from .client import SheetClient
from .log import Log
from .processes import REPOSITORY, Child, children_of, environment_below, lives
from .waiting import DEADLINE_S, poll_for

# For three engines to find each other and elect, and some streams to be made, on a busy machine.
READY_S: Final = 60.0
PORT: Final = 9011
AMISS: Final = 3  # the exit code of `relay cluster status` where something is
# A drain moves one range after the other.
COMMAND_S: Final = 180.0


class Host:
    """One of them, as processes."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        config: Path,
        admin: bool = False,
        own_files: bool = False,
    ) -> None:
        """With `own_files` it has a copy of `config` and a groups file for itself, and an admin."""
        self.name = name
        self.address = address
        self.url = f"ws://{address}:{PORT}/"
        # Not below pytest's long tmp_path: the bus has sockets here, and their paths are bounded.
        self.directory = Path(tempfile.mkdtemp(prefix=f"relay-host-{name}-"))
        self.log = Log(self.directory / "log")
        self.groups = self.directory / "groups.json"
        if own_files:
            config = Path(shutil.copy(config, self.directory))
            self.groups.write_text("{}")
        self.config = config
        self._has_admin = admin or own_files
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[SheetClient] = []
        self._seen: set[Any] = set()
        self._said = b""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor; it must have been started."""
        assert self._process is not None
        return self._process

    @property
    def lives(self) -> bool:
        """Whether there is a supervisor."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it on the data of before, if any; `await_ready` then waits."""
        run = self.directory / "run"
        run.mkdir(exist_ok=True)
        command = [sys.executable, "supervisor.py", "--config", str(self.config)]
        command += ["--host-name", self.name, "--host", self.address, "--port", str(PORT)]
        command += ["--data", str(self.directory / "data"), "--fronts", "1"]
        command += ["--groups", str(self.groups)] if self.groups.exists() else []
        command += [] if self._has_admin else ["--no-admin"]
        command += ["--log-format", "json"]
        self._said = b""
        with self.log.path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=environment_below(run),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    def await_ready(self, deadline_s: float = READY_S) -> None:
        """Wait for the ready line."""
        stdout = self.process.stdout
        assert stdout is not None
        until_s = time.monotonic() + deadline_s
        while not self._said.endswith(b"\n"):
            readable, _, _ = select.select([stdout], [], [], max(0.0, until_s - time.monotonic()))
            chunk = os.read(stdout.fileno(), 4096) if readable else b""
            if not chunk:
                how = f"exit {self.process.poll()}" if readable else "in time"
                raise AssertionError(f"{self.name}: no ready line: {how}\n{self.log.text()}")
            self._said += chunk
        assert self._said.startswith(f"ready {self.url} ".encode()), self._said
        self.children()

    def children(self, role: str | None = None) -> list[Child]:
        """Return its living processes below the supervisor, or those of one role, by index."""
        if not self.lives:
            return []
        supervisor = psutil.Process(self.process.pid)
        self._seen.update(supervisor.children(recursive=True))
        children = children_of(supervisor)
        return [child for child in children if role in (None, child.role)]

    def connect(self) -> SheetClient:
        """Return a new connection with its front, not yet logged in."""
        client = SheetClient(self.url)
        self._clients.append(client)
        return client

    def login(self, user: str) -> SheetClient:
        """Return a new session of `user` here."""
        client = self.connect()
        client.login(user)
        return client

    def kill(self) -> None:
        """SIGKILL everything that runs on it, as the loss of the host would."""
        processes: set[Any] = set()
        if self.lives:
            supervisor = psutil.Process(self.process.pid)
            supervisor.suspend()
            processes = {supervisor, *supervisor.children(recursive=True)}
        for process in processes | {each for each in self._seen if each.is_running()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait(DEADLINE_S)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
        poll_for(f"the end of {self.name}", lambda: not any(map(lives, processes | self._seen)))
        self._seen.clear()

    def stop(self) -> None:
        """Stop it in order: exit 0."""
        self.drop_clients()
        self.children()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(4 * DEADLINE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        assert code == 0, f"{self.name}: exit {code} after SIGTERM\n{self.log.text()}"

    def drop_clients(self) -> None:
        """Cut its clients' connections, without a word."""
        while self._clients:
            self._clients.pop().drop()

    def clean_up(self) -> None:
        """Leave nothing of it, whatever happened."""
        try:
            self.kill()
        finally:
            self.log.keep()
            self.drop_clients()
            shutil.rmtree(self.directory, ignore_errors=True)


class Cluster:
    """Hosts by name; as a context manager they are started, and always cleaned up."""

    def __init__(
        self,
        names: Iterable[str] = "abc",
        *,
        ranges: int = 4,
        config: str = "",
        backup: Path | None = None,
        own_files: bool = False,
        admin: bool = False,
    ) -> None:
        """`config` are lines of [cluster], and of tables behind it.

        With `own_files` each host has files of its own.

        With a `backup`, which has so many ranges, they wait for what is in it.
        """
        self._waits = backup is not None
        self._directory = Path(tempfile.mkdtemp(prefix="relay-cluster-"))
        path = self.path = self.config = self._directory / "cluster.toml"
        self.new = self._directory / "cluster.new.toml"  # what `add` and `remove` write
        self._net = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"
        addresses = {name: self.address(name) for name in names}
        subprocess.run(
            [
                *(sys.executable, "-m", "relay", "cluster", "init", "--file", str(path)),
                *(("--backup", str(backup)) if backup else ("--ranges", str(ranges))),
                *(f"{name}={address}" for name, address in addresses.items()),
            ],
            check=True,
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
        )
        with path.open("a") as file:
            file.write(f"store_bytes = {1 << 30}\n{config}\n")
        self.hosts = {
            name: Host(name, address, config=path, admin=admin, own_files=own_files)
            for name, address in addresses.items()
        }

    def __enter__(self) -> Self:
        try:
            for host in self.hosts.values():
                host.start()
            if not self._waits:
                self.await_ready()
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.clean_up()

    def await_ready(self, deadline_s: float = READY_S) -> None:
        """Wait for the ready line of each."""
        for host in self.hosts.values():
            host.await_ready(deadline_s)

    def address(self, name: str) -> str:
        """Return where the host of a name is, of one small letter; it may be one yet to come."""
        return f"{self._net}.{1 + ascii_lowercase.index(name)}"

    def take_new(self, name: str = "") -> None:
        """Let the new file be that of all hosts, and a host be one of them, if one is named."""
        self.new.replace(self.config)
        if name:
            self.hosts[name] = Host(name, self.address(name), config=self.config)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())

    def status(self) -> str:
        """Return what `relay cluster status` says, be something amiss or not."""
        return self.command("status", codes=(0, AMISS))

    def command(self, *words: str, codes: Collection[int] = (0,)) -> str:
        """Run `relay cluster` with its file; return what it says. It ends with one of `codes`."""
        done = subprocess.run(
            [sys.executable, "-m", "relay", "cluster", *words, "--config", str(self.path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        assert done.returncode in codes, done.stderr
        return done.stdout

    def clean_up(self) -> None:
        """Leave nothing of any of them."""
        for host in self.hosts.values():
            host.clean_up()
        shutil.rmtree(self._directory, ignore_errors=True)
