"""An operator of a relay under test: HTTP at the admin's socket, without the relay's code."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .processes import REPOSITORY
from .waiting import poll_for


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("relay", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class HasDirectory(Protocol):
    """A relay, or a host of one."""

    @property
    def directory(self) -> Path:
        """Where its data and its run directory are."""


class Operator:
    """Asks the admin of `relay`, which must have one."""

    def __init__(self, relay: HasDirectory) -> None:
        self._relay = relay

    @property
    def socket(self) -> Path:
        """The admin's, once it listens."""

        run = self._relay.directory / "run"
        # It is there a moment before it listens, and that of one that was killed stays.
        found: list[Path] = []

        def is_there() -> bool:
            found[:] = filter(_listens, run.glob("*/admin.sock"))
            return bool(found)

        poll_for("the admin's socket", is_there)
        return found[0]

    def ask(self, path: str, *, token: str = "", method: str = "GET", body: Any = None) -> Answer:
        return _ask(_Connection(self.socket), path, token, method, body)

    def ask_port(self, port: int, path: str, *, token: str = "") -> Answer:
        return _ask(http.client.HTTPConnection("127.0.0.1", port, timeout=10), path, token, "GET")

    def samples(self) -> dict[str, float]:
        """What a scrape finds, by name and labels as they stand there."""
        lines = self.ask("/metrics").body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}


class Console(NamedTuple):
    """A `relay console`, and the address that it has printed."""

    pid: int
    address: str


@contextmanager
def console_of(relay: HasDirectory) -> Iterator[Console]:
    """Run `relay console` until the context ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "relay", "console", "--data", str(relay.directory / "data")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Console(process.pid, process.stdout.readline().split()[1])
    finally:
        process.terminate()
        process.communicate()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as trial:
        return trial.connect_ex(str(path)) == 0


def _ask(
    connection: http.client.HTTPConnection, path: str, token: str, method: str, body: Any = None
) -> Answer:
    begun_s = time.monotonic()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    return Answer(
        answer.status,
        {name.lower(): value for name, value in answer.getheaders()},
        body,
        time.monotonic() - begun_s,
    )
