"""A real nginx and a real HAProxy before a relay, with the files of config/."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import psutil  # type: ignore[import-untyped]

from .ports import free_port
from .processes import REPOSITORY
from .waiting import DEADLINE_S, poll_for

_DIRECTORIES: Final = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_TLS: Final = "/etc/relay/tls/chat.example.org"
# What the files say, and tests cannot wait for.
_IDLE, _CHECKED_EVERY = "75s", "inter 2s"


def executable(name: str) -> str | None:
    """Return where a program is, None where it is not installed."""
    return shutil.which(name, path=_DIRECTORIES)


class Proxy:
    """One that runs, with a certificate of its own; its `port` is for TLS unless it says so."""

    def __init__(self, directory: Path, command: list[str], port: int, reload: int) -> None:
        self.directory = directory
        self.port = port
        self._command = command
        self._reload = reload
        self._log = directory / "log"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        poll_for("the proxy to listen", self._listens)
        return self

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as peer:
            return peer.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_: object) -> None:
        processes = [psutil.Process(self._process.pid)]
        processes += processes[0].children(recursive=True)
        for process in processes:
            process.kill()
        self._process.wait(DEADLINE_S)
        psutil.wait_procs(processes, DEADLINE_S)

    def reload(self) -> None:
        """Have it begin anew with its files; return when other processes of it serve."""
        master = psutil.Process(self._process.pid)
        before = {child.pid for child in master.children()}
        signalled_s = 0.0

        def has_others() -> bool:
            # HAProxy may sleep over a signal that comes just before it falls asleep.
            nonlocal signalled_s
            if time.monotonic() - signalled_s > 2:
                signalled_s = time.monotonic()
                master.send_signal(self._reload)
            return not {child.pid for child in master.children()} <= before

        poll_for("other processes", has_others)
        poll_for("the proxy to listen", self._listens)

    def trust(self) -> ssl.SSLContext:
        """Return what a client needs to know its certificate."""
        context = ssl.create_default_context(cafile=str(self.directory / "cert.pem"))
        context.check_hostname = False
        return context


def _own_name() -> str:
    """The user and group of this process: started by root, nginx would drop to one of its own."""
    return f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"


@contextmanager
def nginx(
    relay_port: int, *, idle_s: float = 75, users: str = "", forwards: bool = True
) -> Iterator[Proxy]:
    """Run one with config/nginx.conf, which gives up who is idle for so long.

    Or config/nginx-users.conf, where there are `users`, lines of `NAME:PASSWORD`. Not `forwards`:
    without its line that tells the user.
    """
    with _directory() as directory:
        port = free_port()
        (directory / "users").write_text(users.replace(":", ":{PLAIN}"))
        more = [("/etc/relay/users;", f"{directory}/users;")] if users else []
        if not forwards:
            more.append(("proxy_set_header X-Remote-User $remote_user;", ""))
        snippet = _adapted(
            (REPOSITORY / f"config/nginx{'-users' if users else ''}.conf").read_text(),
            *more,
            ("127.0.0.1:9011", f"127.0.0.1:{relay_port}"),
            ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
            (f"{_TLS}.pem", f"{directory}/cert.pem"),
            (f"{_TLS}.key", f"{directory}/key.pem"),
            (_IDLE, f"{int(idle_s * 1000)}ms"),
        )
        paths = "".join(
            f"    {kind}_temp_path {directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path = directory / "nginx.conf"
        path.write_text(
            f"daemon off;\nuser {_own_name()};\n"
            f"pid {directory}/pid;\nerror_log stderr;\nworker_processes 1;\n"
            f"events {{ }}\nhttp {{\n    access_log off;\n{paths}{snippet}}}\n"
        )
        command = [_needed("nginx"), "-p", str(directory), "-e", "stderr", "-c", str(path)]
        with Proxy(directory, command, port, signal.SIGHUP) as proxy:
            yield proxy


@contextmanager
def haproxy(
    *,
    behind_tls: int | None = None,
    passed_through: int | None = None,
    relay_has_tls: bool = False,
    idle_s: float = 75,
) -> Iterator[Proxy]:
    """Run one with config/haproxy.cfg before relays at these ports.

    The `port` is that of the way whose relay is given. Where that relay has TLS itself, its health
    is asked for by TLS, as a comment of the file says.
    """
    with _directory() as directory:
        tls, through = free_port(), free_port()
        unused = free_port()
        (directory / "both.pem").write_text(
            (directory / "cert.pem").read_text() + (directory / "key.pem").read_text()
        )
        path = directory / "haproxy.cfg"
        path.write_text(
            _adapted(
                (REPOSITORY / "config/haproxy.cfg").read_text(),
                ("127.0.0.1:9011", f"127.0.0.1:{behind_tls or unused}"),
                ("127.0.0.1:9012", f"127.0.0.1:{passed_through or unused}"),
                ("bind :443", f"bind 127.0.0.1:{tls}"),
                ("bind :9443", f"bind 127.0.0.1:{through}"),
                (f"{_TLS}.both.pem", f"{directory}/both.pem"),
                (_IDLE, f"{int(idle_s * 1000)}ms"),
                (_CHECKED_EVERY, "inter 300ms"),
                ("maxconn 20000", "maxconn 1000"),  # it asks for twice as many descriptors
                *([("# check-ssl verify none", "check-ssl verify none")] if relay_has_tls else []),
            )
        )
        command = [_needed("haproxy"), "-W", "-f", str(path)]
        port = through if behind_tls is None else tls
        with Proxy(directory, command, port, signal.SIGUSR2) as proxy:
            yield proxy


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="relay-proxy-") as name:
        directory = Path(name)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subject = ["-subj", "/CN=chat.example.org", "-days", "2"]
        files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
        subprocess.run(
            [_needed("openssl"), "req", "-x509", *key, *subject, *files],
            check=True,
            capture_output=True,
        )
        yield directory


def _adapted(text: str, *changes: tuple[str, str]) -> str:
    """Return a file of config/ as it is for this run; each change has something to change."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def _needed(name: str) -> str:
    path = executable(name)
    assert path is not None, f"{name} is not installed"
    return path
