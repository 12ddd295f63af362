"""Engines of a cluster on loopback addresses, each kept by a real child; and who talks to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import msgspec

from relay.cluster.engineconfig import SYSTEM_USER, USER
from relay.cluster.keys import Secrets
from relay.process.control import ChildReady, Heartbeat, PeerGone, Stop
from relay.process.memo import write_memo
from relay.settings.clustering import ClusterSettings
from relay.settings.sizes import MIB
from relay.settings.tables import ServerSettings, Settings, SupervisorSettings
from relay.supervision.child import Child, Inherited, start_child
from tests.outside.ports import free_port

# An election takes up to nine seconds, and a busy machine more.
DEADLINE_S = 40.0
HOSTS = ("a=127.0.0.1", "b=127.0.0.2", "c=127.0.0.3")
ADDRESSES = dict(host.split("=") for host in HOSTS)


def wait_for(condition: Callable[[], Any], *, within_s: float = DEADLINE_S) -> Any:
    """Return the first true thing that `condition` returns."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline_s, "it did not come to be"
        time.sleep(0.02)


def cluster_settings(secrets: Secrets | None = None, **others: Any) -> ClusterSettings:
    """Return those of three hosts on free ports, of host a."""
    made = {} if secrets is None else secrets._asdict()
    return ClusterSettings(
        **{
            "name": "trial",
            "hosts": HOSTS,
            "host_name": "a",
            "ranges": 2,
            "engine_port": free_port(),
            "route_port": free_port(),
            "store_bytes": 64 * MIB,
            **made,
            **others,
        }
    )


class EngineOf:
    """The engine of one host, and its keeper, which is a child of ours."""

    _numbers = count(1)

    def __init__(
        self, cluster: ClusterSettings, host: str, data: Path, *, hung_after_s: float = 15.0
    ) -> None:
        self.hung_after_s = hung_after_s
        self.cluster = msgspec.structs.replace(cluster, host_name=host)
        self.data = data / host
        self.data.mkdir(parents=True, exist_ok=True)
        self.ready = False
        self.beats = 0
        self._child: Child | None = None
        self.start()

    def start(self) -> None:
        """Start it, as after its death."""
        server = ServerSettings(data=str(self.data))
        supervisor = SupervisorSettings(hung_after_s=self.hung_after_s)
        settings = Settings(cluster=self.cluster, server=server, supervisor=supervisor)
        memo = write_memo("settings", msgspec.json.encode(settings))
        self._child = start_child(
            "engine", 0, next(self._numbers), run_dir=self.data, inherited=Inherited(memo)
        )
        os.close(memo)
        self.ready = False

    @property
    def child(self) -> Child:
        assert self._child
        return self._child

    def listen(self) -> bool:
        """Take what it has told; tell whether it is ready."""
        for message in self.child.channel.receive() if self.child.connected else ():
            match message:
                case ChildReady():
                    self.ready = True
                case Heartbeat():
                    self.beats += 1
                case PeerGone():
                    self.child.disconnect()
                case _:
                    raise AssertionError(message)
        return self.ready

    def wait_ready(self) -> EngineOf:
        wait_for(lambda: self.listen() or self.child.exit_code() is not None)
        assert self.ready, f"exit code {self.child.exit_code()}"
        return self

    def exit_code(self) -> int:
        """Wait for its keeper's end; return the exit code."""
        wait_for(lambda: self.child.exit_code() is not None)
        code = self.child.exit_code()
        assert code is not None
        return code

    def stop(self) -> int:
        self.child.channel.send(Stop(20.0))
        return self.exit_code()

    def server_pid(self) -> int:
        """Return the pid of the nats-server, which is the keeper's only child."""
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text()
        [pid] = map(int, children.split())
        return pid

    def close(self) -> None:
        if self.child.exit_code() is None:
            self.child.signal_group(signal.SIGKILL)
            self.child.wait()
        self.child.disconnect()

    def __enter__(self) -> EngineOf:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def tls_context(secrets: Secrets | None, *, shows: bool = True) -> ssl.SSLContext:
    """Return who trusts nobody in particular, and shows the certificate of `secrets`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if secrets and shows:
        fd = os.memfd_create("pair")
        os.write(fd, f"{secrets.certificate}{secrets.certificate_key}".encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}")
        os.close(fd)
    return context


class Client:
    """One who speaks NATS, written anew: what the relay's own does is not asked."""

    opened: ClassVar[list[Client]] = []  # whoever opens them closes them

    def __init__(
        self, address: str, port: int, secrets: Secrets, *, user: str = USER, password: str = ""
    ) -> None:
        sock = socket.create_connection((address, port), timeout=10)
        self._sock = tls_context(secrets).wrap_socket(sock)
        self.opened.append(self)
        self._left = b""
        self.info = json.loads(self._line().removeprefix(b"INFO "))
        said = {"user": user, "pass": password or secrets.password, "verbose": False}
        said |= {"headers": True, "no_responders": True, "lang": "test", "version": "0"}
        self._send(b"CONNECT %s\r\nPING\r\n" % json.dumps(said).encode())
        self.answer = self._line()
        self._number = 0

    def ask(self, subject: str, body: Any = None, *, answers: int = 1, within_s: float = 5) -> Any:
        """Return what is answered: one thing, or a list of up to so many within the time."""
        self._number += 1
        inbox, sid = f"_INBOX.test.{self._number}", self._number
        content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self._send(
            b"SUB %s %d\r\nPUB %s %s %d\r\n%s\r\n"
            % (inbox.encode(), sid, subject.encode(), inbox.encode(), len(content), content)
        )
        found: list[Any] = []
        until_s = time.monotonic() + within_s
        try:
            while len(found) < answers:
                self._sock.settimeout(max(0.01, until_s - time.monotonic()))
                verb, *words = self._line().split()
                if verb == b"PING":
                    self._send(b"PONG\r\n")
                    if time.monotonic() > until_s:
                        raise TimeoutError
                elif verb in (b"MSG", b"HMSG"):
                    payload = self._exactly(int(words[-1]) + 2)[:-2]
                    if int(words[1]) == sid:  # not a late answer to an earlier question
                        found.append(json.loads(payload) if verb == b"MSG" else None)
                else:
                    raise AssertionError((verb, words))
        except TimeoutError:
            if answers == 1:
                raise
        finally:
            self._send(b"UNSUB %d\r\n" % sid)
        return found[0] if answers == 1 else found

    def close(self) -> None:
        self._sock.close()

    def _send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def _line(self) -> bytes:
        while b"\r\n" not in self._left:
            self._more()
        line, _, self._left = self._left.partition(b"\r\n")
        return line

    def _exactly(self, size: int) -> bytes:
        while len(self._left) < size:
            self._more()
        found, self._left = self._left[:size], self._left[size:]
        return found

    def _more(self) -> None:
        chunk = self._sock.recv(65536)
        if not chunk:
            raise ConnectionResetError("it has closed the connection")
        self._left += chunk


def system_client(cluster: ClusterSettings, address: str, secrets: Secrets) -> Client:
    return Client(address, cluster.engine_port, secrets, user=SYSTEM_USER)
