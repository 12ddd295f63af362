"""The ground of the cluster's tests: hosts are cut off, frozen and killed, and lose their power."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outside.waiting import poll_for

from .host import Host
from .hosts import hosts, why_none
from .network import run

pytestmark = [pytest.mark.slow]

PORT = 8000
# Answers each line on a TCP port.
ECHO = f"""\
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("", {PORT}), Echo) as server:
    print("ready", flush=True)
    server.serve_forever()
"""
# Writes two files, of which it syncs one, and waits.
WRITER = """\
import os, sys, time
for name in ("synced", "unsynced"):
    with open(name, "wb") as file:
        file.write(b"x" * 100_000)
        file.flush()
        if name == "synced":
            os.fsync(file.fileno())
            directory = os.open(".", os.O_RDONLY)
            os.fsync(directory)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    if why := why_none():
        pytest.skip(f"no hosts here: {why}")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with hosts("ab", disks=True) as found:
        yield found["a"], found["b"]


def start(host: Host, program: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    process = host.start([sys.executable, "-c", program], log=tmp_path / "log")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", (tmp_path / "log").read_text()
    return process


def connect(host: Host) -> socket.socket:
    connection = socket.create_connection((host.address, PORT), timeout=5)
    connection.setblocking(False)
    return connection


def answers(connection: socket.socket, *, within_s: float) -> bool:
    connection.send(b"x\n")
    readable, _, _ = select.select([connection], [], [], within_s)
    return bool(readable) and connection.recv(100).startswith(b"x")


def test_what_is_sent_to_a_host_that_is_cut_off_comes_once_it_is_connected_again(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    start(pair[0], ECHO, tmp_path)
    with connect(pair[0]) as connection:
        assert answers(connection, within_s=5)

        pair[0].cut()
        assert not answers(connection, within_s=0.3)

        pair[0].heal()
        readable, _, _ = select.select([connection], [], [], 15)
        assert readable, "TCP sends it again"
        assert connection.recv(100).startswith(b"x"), "nobody was told of the cut"


def test_a_frozen_host_answers_again_when_it_goes_on(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    start(pair[0], ECHO, tmp_path)
    with connect(pair[0]) as connection:
        assert answers(connection, within_s=5)
        pair[0].freeze()
        assert not answers(connection, within_s=0.3)

        pair[0].thaw()

        assert select.select([connection], [], [], 15)[0]


def test_all_that_runs_on_a_host_is_killed_and_nothing_elsewhere(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    first, second = (start(host, ECHO, tmp_path) for host in pair)

    pair[0].kill()

    assert first.poll() == -9
    assert not pair[0].pids()
    assert second.poll() is None
    assert pair[1].find(sys.executable, "-c") == [second.pid]


def test_what_a_host_has_synced_outlives_a_loss_of_power_and_the_rest_does_not(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    start(pair[1], ECHO, tmp_path)  # and who runs elsewhere is no hindrance
    start(pair[0], WRITER, tmp_path)

    pair[0].lose_power()
    pair[0].get_power()

    assert (pair[0].directory / "synced").read_bytes() == b"x" * 100_000
    unsynced = pair[0].directory / "unsynced"
    assert not unsynced.exists() or unsynced.read_bytes() != b"x" * 100_000


def test_a_disk_has_its_power_again_whoever_has_begun_with_copies_of_all_mounts(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    start(pair[0], WRITER, tmp_path)
    # As `ip netns exec` begins a process.
    with subprocess.Popen(["unshare", "--mount", "--propagation", "slave", "sleep", "60"]) as other:
        try:
            poll_for("its mounts", lambda: _mounts(other.pid) != _mounts(os.getpid()))
            pair[0].lose_power()
            pair[0].get_power()

            assert (pair[0].directory / "synced").read_bytes() == b"x" * 100_000
        finally:
            other.kill()


def _mounts(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


def test_hosts_reach_each_other(pair: tuple[Host, Host], tmp_path: Path) -> None:
    start(pair[0], ECHO, tmp_path)
    asks = f"""\
import socket
with socket.create_connection(("{pair[0].address}", {PORT}), timeout=5) as connection:
    connection.sendall(b"from b\\n")
    assert connection.recv(100) == b"from b\\n"
print("ready")
"""
    assert start(pair[1], asks, tmp_path).wait(15) == 0


def test_what_a_killed_test_has_left_behind_is_removed(tmp_path: Path) -> None:
    program = """\
import os, signal
from tests.hosts.hosts import hosts
with hosts("a"):
    print(os.getpid(), flush=True)
    signal.pause()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as left:
        assert left.stdout is not None
        pid = int(left.stdout.readline())
        assert f"rl{pid}a" in run("ip", "netns", "list")
        os.kill(pid, 9)
        left.wait(10)

    with hosts("a"):
        poll_for("the sweep", lambda: f"rl{pid}" not in run("ip", "netns", "list"))
        assert f"rl{pid}" not in run("ip", "-o", "link", "show")
