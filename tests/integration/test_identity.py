"""A relay that root starts: it binds, and goes on as somebody else."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.outside.certificates import Authority, tls_config
from tests.outside.processes import REPOSITORY, children_of
from tests.outside.waiting import DEADLINE_S, poll_for

USER = "nobody"

# Of a Python below somebody's home another user can start nothing.
ENVIRONMENT = {"PYTHONPATH": ":".join([str(REPOSITORY), sysconfig.get_path("purelib")])}


def interpreter() -> str:
    """Return a Python that the user may run, with what the relay needs; "" where there is none."""
    for path in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [path, "-c", "import zmq, uvloop, lmdb"],
                env={**os.environ, **ENVIRONMENT},
                user=USER,
                cwd="/",
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return path
    return ""


PYTHON = interpreter() if os.geteuid() == 0 else ""

pytestmark = [
    pytest.mark.ordeal,
    pytest.mark.skipif(not PYTHON, reason="only root can become somebody else"),
]


def low_port() -> int:
    """Return a port that only root may bind, and that nobody has."""
    for port in range(1023, 600, -1):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


@contextmanager
def started(directory: Path, config: str) -> Iterator[subprocess.Popen[bytes]]:
    """A relay on a port of root's, with what it needs in `directory`."""
    path = directory / "relay.toml"
    path.write_text(config)
    path.chmod(0o644)
    command = [PYTHON, "supervisor.py", "--config", str(path), "--port", str(low_port())]
    command += ["--workers", "1", "--fronts", "1", "--data", str(directory / "data")]
    environment = {**os.environ, **ENVIRONMENT, "TMPDIR": str(directory), "XDG_RUNTIME_DIR": ""}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=log
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            finally:
                process.kill()


@pytest.fixture
def directory() -> Iterator[Path]:
    entry = pwd.getpwnam(USER)
    path = Path("/tmp") / f"relay-identity-{os.getpid()}"  # short, for sockets
    path.mkdir(mode=0o755)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def ready_line(process: subprocess.Popen[bytes], directory: Path) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    assert line.startswith("ready "), (directory / "log").read_text()
    return line


def port_of(line: str) -> int:
    return int(line.split()[1].rpartition(":")[2].rstrip("/"))


def test_all_of_it_goes_on_as_the_user_and_a_front_that_dies_listens_again(
    directory: Path,
) -> None:
    with started(directory, f'[server]\nuser = "{USER}"\n') as process:
        port = port_of(ready_line(process, directory))
        uid = pwd.getpwnam(USER).pw_uid
        supervisor = psutil.Process(process.pid)
        roles = ["admin", "front", "worker"]
        poll_for("all", lambda: sorted(c.role for c in children_of(supervisor)) == roles)
        children = children_of(supervisor)
        for each in (supervisor, *(child.process for child in children)):
            assert set(each.uids()) == {uid}
            assert set(each.gids()) == {pwd.getpwnam(USER).pw_gid}
        assert (directory / "data").stat().st_uid == uid
        front = next(child for child in children if child.role == "front")

        front.process.kill()

        def has_another() -> bool:
            fronts = [c for c in children_of(supervisor) if c.role == "front"]
            return bool(fronts) and fronts[0].process.pid != front.process.pid and serves(port)

        poll_for("another front to serve", has_another)
        process.send_signal(signal.SIGUSR2)
        poll_for("the roll", lambda: b"supervisor.rolled" in (directory / "log").read_bytes())
        assert serves(port)
        assert set(supervisor.uids()) == {uid}


def serves(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as peer:
            peer.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            return peer.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def test_a_key_that_only_root_may_read_refuses_the_start(directory: Path) -> None:
    certificate = Authority().issue("chat.example.org")
    pair = certificate.write(directory, "it")
    pair[0].chmod(0o644)

    with started(directory, f'[server]\nuser = "{USER}"\n' + tls_config(pair)) as process:
        assert process.wait(DEADLINE_S) == 2, (directory / "log").read_text()

    log = (directory / "log").read_text()
    assert "tls.key_files" in log
    assert "cannot be read: Permission denied" in log


@pytest.mark.parametrize(("user", "said"), [("root", "is root"), ("nobody-here", "no user")])
def test_a_user_that_cannot_be_refuses_the_start(directory: Path, user: str, said: str) -> None:
    with started(directory, f'[server]\nuser = "{user}"\n') as process:
        assert process.wait(DEADLINE_S) == 2

    assert said in (directory / "log").read_text()


def test_root_without_it_is_warned(directory: Path) -> None:
    with started(directory, "") as process:
        ready_line(process, directory)

    assert "supervisor.runs_as_root" in (directory / "log").read_text()
