"""Real NATS servers on this machine, as a cluster has them: TLS, a password, every write synced."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

import pytest

from relay.cluster.jetstream import account
from relay.cluster.natswire import Login, Server, Wire
from relay.errors import RelayError
from tests.outside.certificates import Authority
from tests.outside.ports import free_port
from tests.outside.waiting import poll_for

PASSWORD: Final = "it is said to nobody else"


def binary() -> str:
    """Return the server's path; skip the test where the extra `cluster` is not installed."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        pytest.skip("no nats-server: the extra `cluster` is not installed")
    return found


class Engines:
    """Some servers that are one cluster; as a context manager. They are told apart by number."""

    def __init__(
        self,
        directory: Path,
        number: int = 3,
        *,
        tls_first: bool = True,
        max_payload: int = 8 << 20,
    ) -> None:
        self._program = binary()
        self._directory = directory
        self._authority = Authority()
        own = self._authority.issue("127.0.0.1")
        self._files = own.write(directory, "engine")
        (directory / "ca.pem").write_bytes(self._authority.pem)
        self._tls_first = tls_first
        self._max_payload = max_payload
        self._routes = [free_port() for _ in range(number)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.names = [f"n{index}" for index in range(number)]
        self.servers = [Server("127.0.0.1", free_port()) for _ in range(number)]
        self.login = Login(
            user="relay",
            password=PASSWORD,
            ca=self._authority.pem.decode(),
            certificate=own.chain.decode(),
            key=own.key.decode(),
        )

    def __enter__(self) -> Self:
        try:
            for index in range(len(self.servers)):
                self.start(index)
            poll_for("JetStream has a leader", self._can_be_asked, deadline_s=40)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for index in list(self._processes):
            self.kill(index)

    def wire(self, *indexes: int, name: str = "test", connect_s: float = 5.0) -> Wire:
        """Connect to the first of these that answers; to any without them."""
        chosen = [self.servers[index] for index in indexes] or self.servers
        return Wire(chosen, self.login, name=name, connect_s=connect_s)

    def start(self, index: int) -> None:
        path = self._directory / f"{self.names[index]}.conf"
        path.write_text(self._config(index))
        with (self._directory / f"{self.names[index]}.log").open("ab") as log:
            self._processes[index] = subprocess.Popen(
                [self._program, "-c", str(path)], stdout=log, stderr=log
            )

    def kill(self, index: int) -> None:
        process = self._processes.pop(index)
        process.kill()
        process.wait(10)

    def freeze(self, index: int) -> None:
        """Return once none of its threads runs."""
        process = self._processes[index]
        process.send_signal(signal.SIGSTOP)
        poll_for("it stands still", lambda: _is_stopped(process.pid))

    def thaw(self, index: int) -> None:
        self._processes[index].send_signal(signal.SIGCONT)

    def index_of(self, name: str) -> int:
        return self.names.index(name)

    def _can_be_asked(self) -> bool:
        try:
            for index in range(len(self.servers)):
                wire = self.wire(index)
                try:
                    account(wire, 2.0)
                finally:
                    wire.close()
        except (RelayError, TimeoutError):
            return False
        return True

    def _config(self, index: int) -> str:
        certificate, key = map(str, self._files)
        tls = {
            "cert_file": certificate,
            "key_file": key,
            "ca_file": str(self._directory / "ca.pem"),
            "verify": True,
        }
        first = {"handshake_first": True} if self._tls_first else {}
        cluster = {
            "cluster": {
                "name": "test",
                "listen": f"127.0.0.1:{self._routes[index]}",
                "routes": [f"nats://127.0.0.1:{port}" for port in self._routes],
            }
        }
        if len(self.servers) == 1:
            cluster = {}  # it would wait for another
        # A configuration may be JSON.
        return json.dumps(
            {
                "server_name": self.names[index],
                "listen": f"127.0.0.1:{self.servers[index].port}",
                "max_payload": self._max_payload,
                "tls": {**tls, **first},
                "accounts": {
                    "RELAY": {
                        "jetstream": "enabled",
                        "users": [{"user": "relay", "password": PASSWORD}],
                    },
                    "SYSTEM": {"users": [{"user": "system", "password": PASSWORD}]},
                },
                "system_account": "SYSTEM",
                "jetstream": {
                    "store_dir": str(self._directory / self.names[index]),
                    "sync_interval": "always",
                    "max_file_store": 1 << 30,
                    "max_memory_store": 1 << 20,
                },
                **cluster,
            },
            indent=1,
        )


def _is_stopped(pid: int) -> bool:
    try:
        stats = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return False  # a thread has just ended
    return bool(stats) and all(") T " in stat for stat in stats)
