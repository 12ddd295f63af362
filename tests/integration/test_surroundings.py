"""What is around a relay does not end it: cleaned files, signals, an unread log, terminals."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from relay import signals
from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import ALICE, BOB, GROUP, ack_1
from tests.outside.processes import REPOSITORY, lives
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import DEADLINE_S, poll_for

from .command import READY, Command
from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

NOBODY = b'{"pid":0,"run_dirs":[]}\n'  # what an orderly stop leaves in the lock

Launcher = Callable[..., Command]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the run directories are made; of a short path, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="relay-test-") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield Path(name)


@pytest.fixture
def launch(tmp_path: Path, runs: Path) -> Iterator[Launcher]:
    """A function that starts `supervisor.py` on `tmp_path/data` with more options."""
    with ExitStack() as stack:

        def start(*options: str, **arguments: Any) -> Command:
            command = Command(tmp_path, "--data", str(tmp_path / "data"), *options, **arguments)
            stack.callback(command.clean_up)
            return command

        yield start


def kill_and_wait(relay: Relay, role: str) -> None:
    """Kill the processes of a role; return when others serve in their place."""
    dead = relay.children(role)
    started = len(relay.log.events(f"{role}.started"))
    for child in dead:
        child.process.kill()
    poll_for(
        f"the successors of {dead}",
        lambda: len(relay.log.events(f"{role}.started")) == started + len(dead),
    )


def talk(relay: Relay) -> None:
    """Have a message and its ack go by, between users of both workers."""
    with_patience: list[SheetClient] = []

    def both_are_in() -> bool:
        with suppress(AssertionError, OSError):
            with_patience[:] = relay.logged_in(ALICE, BOB)
        return len(with_patience) == 2

    poll_for("two logins", both_are_in)
    exchange_marker(*with_patience)
    relay.drop_clients()


# --- files that others clean up ---


def test_the_run_directory_may_be_emptied_or_removed_at_any_time(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=2)
    [run_dir] = (relay.directory / "run").iterdir()
    for role in ("worker", "front"):
        for path in run_dir.iterdir():
            path.unlink()
        kill_and_wait(relay, role)
        talk(relay)

        shutil.rmtree(run_dir)
        kill_and_wait(relay, role)
        talk(relay)

    poll_for("the directory", run_dir.is_dir)
    assert run_dir.stat().st_mode & 0o777 == 0o700


def test_groups_outlive_their_file_and_every_process(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1)
    relay.groups_path.unlink()
    relay.config_path.unlink()

    kill_and_wait(relay, "worker")

    alice = relay.login(ALICE)
    alice.send_message(GROUP, "M")
    alice.expect(ack_1("M", author=ALICE, to=GROUP))


# --- signals ---


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_during_the_start_ends_nothing(launch: Launcher, number: signal.Signals) -> None:
    command = launch()
    # Its mask tells that its first instruction has been.
    poll_for("it", lambda: holds_signals(command.process.pid))

    command.process.send_signal(number)

    command.wait_until_ready()
    command.process.terminate()
    assert command.wait() == 0


def holds_signals(pid: int) -> bool:
    blocked = int(Path(f"/proc/{pid}/status").read_text().partition("SigBlk:")[2].split()[0], 16)
    return bool(blocked >> (signal.SIGHUP - 1) & 1)


def test_a_signal_to_every_process_is_the_supervisors_alone(start_relay: RelayStarter) -> None:
    """As `systemctl kill`, the end of a session and a terminal's Ctrl-C do it."""
    relay = start_relay(workers=1)
    before = relay.children()
    for number in signals.HELD:
        for child in before:
            child.process.send_signal(number)
    relay.process.send_signal(signal.SIGHUP)
    relay.process.send_signal(signal.SIGUSR1)

    poll_for("the reload", lambda: bool(relay.log.events("groups.reloaded")))
    talk(relay)
    assert relay.children() == before


def test_a_child_overlooks_signals_from_its_first_instruction_on(launch: Launcher) -> None:
    command = launch()
    command.wait_for_log(r"supervisor\.starting")
    while not READY.search(command.stdout):
        assert command.process.poll() is None, command.stderr
        for process in command.processes():
            if process.pid != command.process.pid:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGHUP)

    assert "exited" not in command.stderr


def test_many_reloads_at_once_are_one_or_two(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    relay.write_groups({GROUP: [ALICE, BOB]})
    supervisor = psutil.Process(relay.process.pid)
    supervisor.suspend()
    for _ in range(10):
        relay.reload()
    supervisor.resume()

    poll_for("the reload", lambda: bool(relay.log.events("groups.reloaded")))
    talk(relay)
    assert len(relay.log.events("groups.reloaded")) <= 2


# --- a log that is not read, or cannot be written ---


def test_a_log_that_nobody_reads_stops_nothing(launch: Launcher) -> None:
    read, write = os.pipe()
    command = launch("--log-level", "debug", stderr=write)
    port = command.wait_until_ready()
    fill(write)
    [front] = [p for p in command.processes() if "relay.front" in p.cmdline()]

    front.kill()

    poll_for("a successor", lambda: answers(port) and not lives(front))
    command.process.terminate()
    assert command.wait() == 0
    os.close(read)
    os.close(write)


def fill(pipe: int) -> None:
    """Have a pipe be full, whoever writes into it besides."""
    flags = os.get_blocking(pipe)
    copy = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)  # one of its own
    for chunk in (b"x" * 4096, b"x"):
        with suppress(BlockingIOError):
            while True:
                os.write(copy, chunk)
    os.close(copy)
    assert os.get_blocking(pipe) == flags


def answers(port: int) -> bool:
    with suppress(OSError, AssertionError):
        client = SheetClient(f"ws://127.0.0.1:{port}/")
        try:
            client.login(ALICE)
        finally:
            client.drop()
        return True
    return False


@pytest.mark.parametrize(
    "redirection", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"]
)
def test_streams_that_cannot_be_written_stop_nothing(
    redirection: str, tmp_path: Path, runs: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--port {port} --workers 1 --fronts 1 --no-admin --data {tmp_path / 'data'}"
    with shell(f"exec {sys.executable} supervisor.py {options} {redirection}") as process:
        poll_for("a login", lambda: answers(port))

        process.terminate()

        assert process.wait(DEADLINE_S) == 0
    assert (tmp_path / "data" / "lock").read_bytes() == NOBODY  # and not the log


@contextmanager
def shell(line: str, **arguments: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a line of a shell; whatever is below it is killed at the end."""
    process = subprocess.Popen(
        ["sh", "-c", line],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **arguments,
    )
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
        process.kill()
        process.wait(DEADLINE_S)


def test_a_json_log_tells_in_json_why_it_cannot_start(launch: Launcher) -> None:
    for options in (["--workers", "x"], ["--data", "/dev/null/x"]):
        command = launch("--log-format", "json", *options)
        assert command.wait() in (1, 2)
        [line] = command.stderr.splitlines()
        assert json.loads(line)["event"] == "supervisor.cannot_start"


def test_a_crash_is_one_event_of_a_json_log(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1)
    relay.log.expect("Fatal Python error")
    [worker] = relay.children("worker")

    worker.process.send_signal(signal.SIGABRT)

    poll_for("its stack", lambda: bool(relay.log.events("child.crashed")))
    [crash] = relay.log.events("child.crashed")
    assert crash["pid"] == worker.process.pid
    assert "Fatal Python error: Aborted" in crash["exception"]
    talk(relay)


# --- terminals, containers, addresses ---


@pytest.mark.parametrize("nohup", [False, True])
def test_it_ends_with_its_terminal_unless_told_not_to(
    nohup: bool, tmp_path: Path, runs: Path
) -> None:
    options = f"--port 0 --workers 1 --fronts 1 --no-admin --data {tmp_path / 'data'}"
    words = "exec nohup" if nohup else "exec"
    line = f"{words} {sys.executable} supervisor.py {options} >{tmp_path}/out 2>{tmp_path}/log"
    (tmp_path / "out").touch()
    (tmp_path / "log").touch()
    pid, terminal = pty.fork()
    if pid == 0:  # in the new process
        os.chdir(REPOSITORY)
        os.execv("/bin/sh", ["sh", "-c", line])
    supervisor = psutil.Process(pid)
    try:
        poll_for("it", lambda: "ready" in (tmp_path / "out").read_text())
        children = supervisor.children()
        supervisor.send_signal(signal.SIGHUP)
        poll_for("a reload", lambda: "settings.not_reloaded" in (tmp_path / "log").read_text())
        assert lives(supervisor)

        os.close(terminal)

        log = (tmp_path / "log").read_text
        if nohup:
            supervisor.send_signal(signal.SIGHUP)
            poll_for("another", lambda: log().count("settings.not_reloaded") >= 2)
            assert lives(supervisor)
            supervisor.terminate()
        poll_for("its end", lambda: not lives(supervisor))
        assert ("signal=SIGHUP" in log()) is not nohup
        assert not any(map(lives, children))
    finally:
        for process in (supervisor, *supervisor.children(recursive=True)):
            process.kill()
        os.waitpid(pid, 0)


def test_children_that_were_stopped_do_not_outlive_a_killed_supervisor(launch: Launcher) -> None:
    killed = launch()
    port = killed.wait_until_ready()
    for process in killed.processes():
        if process.pid != killed.process.pid:
            process.suspend()
    killed.process.kill()

    successor = launch("--port", str(port))

    assert successor.wait_until_ready() == port
    poll_for("the end of the old children", lambda: killed.processes() == [])


def test_as_the_first_process_of_a_container_it_leaves_no_zombies(
    tmp_path: Path, runs: Path
) -> None:
    orphan = "(sleep 0.2 & exec sleep 0.1) &"  # whose parent ends before it
    options = f"--port 0 --workers 1 --fronts 1 --no-admin --data {tmp_path / 'data'}"
    inner = f"{orphan} exec {sys.executable} supervisor.py {options} >{tmp_path}/out"
    if subprocess.run(["unshare", "-rpf", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may make no container")
    (tmp_path / "out").touch()
    with shell(f"exec unshare -rpf --kill-child sh -c '{inner}'") as process:
        poll_for("it", lambda: "ready" in (tmp_path / "out").read_text())
        root = psutil.Process(process.pid)

        def states() -> list[str]:
            return [each.status() for each in root.children(recursive=True)]

        poll_for("no sleeper and no zombie", lambda: len(states()) == 3)
        assert psutil.STATUS_ZOMBIE not in states()


def test_every_address_is_ipv4s_too(launch: Launcher) -> None:
    command = launch("--host", "::", "--insecure-open")
    poll_for("it", lambda: "ready ws://[::]:" in command.stdout)
    port = int(command.stdout.partition("]:")[2].partition("/")[0])

    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), timeout=5).close()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


def test_a_service_manager_is_told_what_happens(
    launch: Launcher, tmp_path: Path, runs: Path
) -> None:
    with service_manager(runs) as (told, environment):
        command = launch(environment=environment)
        command.wait_until_ready()
        command.process.send_signal(signal.SIGHUP)
        command.wait_for_log(r"settings\.not_reloaded")
        command.process.terminate()
        assert command.wait() == 0
        poll_for("the last word", lambda: told[-1:] == ["STOPPING=1"])

    assert [
        each for each in told if each.partition("=")[0] in ("READY", "RELOADING", "STOPPING")
    ] == [*("READY=1", "RELOADING=1", "READY=1", "STOPPING=1")]


@contextmanager
def service_manager(runs: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield what one is told, a line each, and the environment of a service of it."""
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(runs / "notify"))

        def listen() -> None:
            while line := manager.recv(1000).decode():
                told.extend(line.split("\n"))

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield told, {**os.environ, "NOTIFY_SOCKET": str(runs / "notify")}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(runs / "notify"))
        listener.join(DEADLINE_S)


def test_a_service_manager_is_told_who_is_there_and_that_all_get_on(
    launch: Launcher, tmp_path: Path, runs: Path
) -> None:
    with service_manager(runs) as (told, environment):
        command = launch(environment={**environment, "WATCHDOG_USEC": "400000"})
        port = command.wait_until_ready()
        client = SheetClient(f"ws://127.0.0.1:{port}/")
        client.login(ALICE)
        poll_for("her login", lambda: any("1 worker, 1 session" in each for each in told))
        told.clear()
        poll_for("signs of life", lambda: told.count("WATCHDOG=1") >= 5)

        psutil.Process(command.process.pid).suspend()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as marker:
            marker.sendto(b"MARKER", environment["NOTIFY_SOCKET"])
        poll_for("all that was said before", lambda: told[-1:] == ["MARKER"])
        told.clear()
        with pytest.raises(AssertionError):
            poll_for("a sign of life of one that is stopped", lambda: bool(told), deadline_s=1)
        psutil.Process(command.process.pid).resume()

        poll_for("signs of life again", lambda: told.count("WATCHDOG=1") >= 2)
        client.drop()
        command.process.terminate()
        assert command.wait() == 0


def test_a_newer_supervisor_goes_on_with_the_signs_of_life(launch: Launcher, runs: Path) -> None:
    with service_manager(runs) as (told, environment):
        command = launch(environment={**environment, "WATCHDOG_USEC": "400000"})
        command.wait_until_ready()
        command.process.send_signal(signal.SIGUSR2)
        command.wait_for_log(r"supervisor\.rolled")
        told.clear()

        poll_for("signs of life", lambda: told.count("WATCHDOG=1") >= 2)
        command.process.terminate()
        assert command.wait() == 0
