"""The supervisor with real children: starting, refusing to start, deaths, reload and stop."""

import fcntl
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from relay.disk.layout import DATA_FORMAT
from relay.settings.tables import ServerSettings, Settings
from tests.outside.client import exchange_marker
from tests.outside.frames import ALICE, BOB, GROUP, ack_1
from tests.outside.processes import Child, lives
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import DEADLINE_S, poll_for, slowest_s
from workers.tools.reshard import reshard

from .command import READY, Command
from .conftest import RelayStarter

Launcher = Callable[..., Command]


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    """One worker and one front: most of what a supervisor does shows on them."""
    return start_relay(workers=1)


@pytest.fixture
def run_dirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the run directories are made, removed at the end; of a short path, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="relay-test-") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield Path(name)


@pytest.fixture
def launch(tmp_path: Path, run_dirs: Path) -> Iterator[Launcher]:
    """A function that starts `supervisor.py` on `tmp_path/data` with more options."""
    with ExitStack() as stack:

        def start(*options: str, **arguments: Any) -> Command:
            command = Command(tmp_path, "--data", str(tmp_path / "data"), *options, **arguments)
            stack.callback(command.clean_up)
            return command

        yield start


def assert_refused(command: Command, code: int, complaint: str) -> None:
    """It exits with `code`, one line that fits `complaint`, and nothing else."""
    assert command.wait() == code, command.stderr
    assert command.stdout == ""
    [line] = command.stderr.splitlines()
    assert re.search(complaint, line), line


def one(relay: Relay, role: str) -> Child:
    return relay.children(role)[0]


def wait_for_successor(relay: Relay, dead: Child) -> Child:
    """Wait until another process has the place of `dead`."""

    def found() -> list[Child]:
        return [c for c in relay.children(dead.role) if c.index == dead.index]

    poll_for(
        f"a successor of {dead}",
        lambda: any(child.process.pid != dead.process.pid for child in found()),
    )
    return found()[0]


def can_log_in(relay: Relay, user: str) -> bool:
    try:
        relay.login(user)
    except (AssertionError, OSError):
        return False
    return True


# --- start and stop ---


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_it_says_ready_once_and_a_signal_stops_it_in_order(
    launch: Launcher, stop_signal: signal.Signals
) -> None:
    command = launch(workers=2)
    port = command.wait_until_ready()
    assert len(command.processes()) == 4
    socket.create_connection(("127.0.0.1", port)).close()

    command.process.send_signal(stop_signal)

    assert command.wait() == 0
    assert READY.fullmatch(command.stdout)
    exits = re.findall(r"(\w+)\.exited .*?index=(\d) .*?exit_code=(\d)", command.stderr)
    assert exits[0] == ("front", "0", "0")  # the fronts go first
    assert sorted(exits[1:]) == [("worker", "0", "0"), ("worker", "1", "0")]


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_ready_stops_it_in_order(
    launch: Launcher, stop_signal: signal.Signals
) -> None:
    command = launch()
    command.wait_for_log(r"supervisor\.starting")

    command.process.send_signal(stop_signal)

    assert command.wait() == 0
    assert command.stdout == ""


def test_a_second_interrupt_does_not_wait_for_a_child_that_does_not_stop(
    launch: Launcher,
) -> None:
    command = launch()
    command.wait_until_ready()
    for process in command.processes():
        if process.pid != command.process.pid:
            process.suspend()

    command.process.send_signal(signal.SIGINT)
    command.wait_for_log(r"supervisor\.stopping")
    command.process.send_signal(signal.SIGINT)

    assert command.wait() == 0  # within less than the stop deadline of 30 s
    assert len(re.findall(r"exited .*signal=SIGKILL", command.stderr)) == 2


def test_a_child_that_does_not_stop_is_killed_at_the_deadline(
    launch: Launcher, tmp_path: Path
) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[supervisor]\nstop_deadline_s = 0.5\n")
    command = launch("--config", str(config))
    command.wait_until_ready()
    for process in command.processes():
        if process.pid != command.process.pid:
            process.suspend()

    command.process.send_signal(signal.SIGTERM)

    assert command.wait() == 0


def test_the_run_directory_goes_with_the_supervisor(relay: Relay) -> None:
    [run_dir] = (relay.directory / "run").iterdir()
    assert run_dir.stat().st_mode & 0o777 == 0o700
    assert {path.suffix for path in run_dir.iterdir()} == {".sock"}

    relay.stop()

    assert list((relay.directory / "run").iterdir()) == []


def test_it_starts_from_any_directory(launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('the wrong module')\n")

    launch(cwd=tmp_path).wait_until_ready()


def test_the_port_can_be_taken_again_at_once(launch: Launcher) -> None:
    """Connections that the relay closed first linger in TIME_WAIT; they must not be in the way."""
    first = launch()
    port = first.wait_until_ready()
    with socket.create_connection(("127.0.0.1", port)) as client:
        first.process.terminate()
        assert first.wait() == 0
        client.close()

    assert launch("--port", str(port)).wait_until_ready() == port


# --- refusals ---


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--wrokers", "2"], "--wrokers"),
        (["--groups", "/nowhere/groups.json"], "/nowhere/groups.json: cannot read"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    launch: Launcher, options: list[str], complaint: str
) -> None:
    assert_refused(launch(*options), 2, complaint)


def test_a_bad_setting_is_one_line_and_exit_2(launch: Launcher, tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[server]\nprot = 9011\n")

    assert_refused(launch("--config", str(config)), 2, "relay.toml.* server.prot.* server.port")


def test_a_start_tells_every_mistake_of_the_settings(launch: Launcher, tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[server]\nprot = 9011\n[limits]\nnesting = 1\n")

    command = launch("--config", str(config), "--log-level", "loud")

    assert command.wait() == 2
    lines = command.stderr.splitlines()
    for line, part in zip(lines, ("server.prot", "limits.nesting", "--log-level"), strict=True):
        assert line.startswith("supervisor.py: ")
        assert part in line
    assert command.stdout == ""
    assert not (tmp_path / "data").exists()


def test_the_settings_and_groups_are_checked_without_a_start(
    launch: Launcher, tmp_path: Path
) -> None:
    config, groups = tmp_path / "relay.toml", tmp_path / "groups.json"
    config.write_text("[limits]\nnesting = 1\n")
    groups.write_text('{"nonsense": {}}')
    options = ("--check-config", "--config", str(config), "--groups", str(groups))

    bad = launch(*options)
    assert bad.wait() == 2
    first, second = bad.stderr.splitlines()
    assert re.search(r"relay\.toml: limits\.nesting = 1 .* from 4 to 100", first)
    assert re.search(r"groups\.json: .*nonsense.*no group jid", second)
    assert bad.stdout == ""

    config.write_text("")
    groups.write_text("{}")
    good = launch(*options)
    assert good.wait() == 0
    assert good.stdout.startswith(f"ok settings of {config}, ")
    assert good.stdout.endswith(f", 0 groups of {groups}\n")
    assert good.stderr == ""
    assert not (tmp_path / "data").exists()


def test_a_bad_groups_file_is_one_line_and_exit_2(launch: Launcher, tmp_path: Path) -> None:
    groups = tmp_path / "groups.json"
    groups.write_text('{"nonsense": {}}')

    assert_refused(launch("--groups", str(groups)), 2, "groups.json.*nonsense")
    assert not (tmp_path / "data").exists()


def test_a_port_in_use_is_one_line_and_exit_1(launch: Launcher) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # it must not be shared
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        assert_refused(launch("--port", str(port)), 1, f"port {port} on 127.0.0.1 is in use")


def test_an_unusable_data_directory_is_one_line_and_exit_1(
    launch: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    assert_refused(launch("--data", str(tmp_path / "file" / "data")), 1, "file/data cannot be used")


def test_a_second_supervisor_on_the_same_data_is_one_line_and_exit_1(launch: Launcher) -> None:
    first = launch()
    first.wait_until_ready()

    assert_refused(launch(), 1, rf"another supervisor \(pid {first.process.pid}\)")
    assert first.process.poll() is None


def lay_out(data: Path, workers: int) -> None:
    """Have a data directory in order."""
    data.mkdir(mode=0o700)
    reshard(data, Settings(server=ServerSettings(workers=workers, fronts=1, data=str(data))))


def test_data_of_another_format_are_one_line_and_exit_1(launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "data" / "worker-0").mkdir(parents=True)
    (tmp_path / "data" / "meta.json").write_text('{"format":1,"workers":1}')

    assert_refused(launch(), 1, f"has format 1, but this version reads format {DATA_FORMAT}")


def test_data_without_their_layout_are_one_line_and_exit_1(
    launch: Launcher, tmp_path: Path
) -> None:
    lay_out(tmp_path / "data", workers=1)
    (tmp_path / "data" / "meta.json").unlink()

    assert_refused(launch(), 1, r"holds stores but no meta\.json")


@pytest.fixture
def resharding(launch: Launcher, tmp_path: Path) -> Iterator[Command]:
    """A supervisor whose re-sharding waits for a store that something else holds."""
    lay_out(tmp_path / "data", workers=2)
    with (tmp_path / "data" / "gen-1" / "worker-1" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = launch(workers=3)
        poll_for("the re-sharding", lambda: len(command.processes()) == 2)
        yield command


def test_a_signal_while_the_data_are_laid_out_anew_stops_it(resharding: Command) -> None:
    resharding.process.terminate()

    assert resharding.wait() == 0
    assert resharding.stdout == ""


def test_the_re_sharding_ends_with_a_killed_supervisor(resharding: Command) -> None:
    resharding.process.kill()

    poll_for("the end of it", lambda: resharding.processes() == [])


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4096])


def move_away(file: Path) -> None:
    file.parent.rename(file.parent.with_name("aside"))


# What else can be wrong with a file: tests/workers/store/test_storefile.py.
@pytest.mark.parametrize(
    ("break_it", "workers", "complaint"),
    [
        (cut_off, 2, "it is cut off"),
        (move_away, 2, "its directory is missing"),
        (cut_off, 3, "it is cut off"),  # found before it is laid out anew
    ],
)
def test_a_store_that_is_not_whole_ends_the_start_with_exit_1_and_is_left_alone(
    launch: Launcher,
    tmp_path: Path,
    break_it: Callable[[Path], None],
    workers: int,
    complaint: str,
) -> None:
    lay_out(tmp_path / "data", workers=2)
    file = tmp_path / "data" / "gen-1" / "worker-1" / "data.mdb"
    break_it(file)
    content = file.read_bytes() if file.exists() else None

    command = launch(workers=workers)

    assert command.wait() == 1
    assert command.stdout == ""
    [line] = re.findall(r".*process\.cannot_boot .*", command.stderr)
    assert f"{file} cannot be used: {complaint}" in line
    assert "restore the data directory from a backup" in line
    assert re.search(r"(worker|reshard)\.exited .*exit_code=3", command.stderr)
    assert "Traceback" not in command.stderr
    assert content == (file.read_bytes() if file.exists() else None)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_answer_and_exit_0(launch: Launcher, option: str) -> None:
    command = launch(option)

    assert command.wait() == 0
    assert command.stdout
    assert command.stderr == ""


# --- deaths ---


@pytest.mark.parametrize("role", ["worker", "front"])
def test_a_killed_child_is_restarted_and_its_death_is_one_line(relay: Relay, role: str) -> None:
    dead = one(relay, role)

    dead.process.kill()

    wait_for_successor(relay, dead)
    poll_for("a login", lambda: can_log_in(relay, ALICE) and can_log_in(relay, BOB))
    [death] = relay.log.events(f"{role}.exited")
    assert death["index"] == 0
    assert death["pid"] == dead.process.pid
    assert death["signal"] == "SIGKILL"
    assert death["attempt"] == 1
    assert death["uptime_s"] >= 0
    assert 50 <= death["restart_in_ms"] <= 100
    assert death["hint"]


def test_deaths_in_a_row_are_answered_ever_later(relay: Relay) -> None:
    for _ in range(4):
        dead = one(relay, "worker")
        dead.process.kill()
        wait_for_successor(relay, dead)

    delays = [death["restart_in_ms"] for death in relay.log.events("worker.exited")]
    assert delays == sorted(delays)
    assert delays[-1] >= 400


def test_a_child_that_crashes_leaves_its_stack_in_the_log(launch: Launcher) -> None:
    command = launch()
    command.wait_until_ready()
    for process in command.processes():
        if process.pid != command.process.pid:
            process.send_signal(signal.SIGABRT)

    for role in ("front", "worker"):
        command.wait_for_log(rf"{role}\.exited .*index=0 .*signal=SIGABRT .*hint=.*stack")
    # The dumps of two processes may be mixed within a line.
    assert command.stderr.count("Fatal Python error") == 2


def test_a_hung_child_is_killed_and_restarted(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    relay.log.expect("worker.hung")
    alice, bob = relay.logged_in(ALICE, BOB)
    # The front beats as often, and is not to be thought hung where it only waits for its turn.
    hung_after_s = 1 + 10 * slowest_s(lambda: exchange_marker(alice, bob))
    beats = f"heartbeat_s = 0.05\nhung_after_s = {hung_after_s}\n"
    relay.take(f"{DEBUG}[supervisor]\n{beats}")
    hung = one(relay, "worker")

    hung.process.suspend()

    wait_for_successor(relay, hung)
    [line] = relay.log.events("worker.hung")
    assert line["pid"] == hung.process.pid
    assert line["silent_s"] >= round(hung_after_s, 1)
    [death] = relay.log.events("worker.exited")
    assert death["signal"] in ("SIGKILL", "SIGABRT")


def test_one_that_cannot_boot_later_is_tried_slowly_while_the_rest_serves(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(workers=2)
    dead = one(relay, "worker")
    store = relay.directory / "data" / "gen-1" / "worker-0"
    # It dies and cannot start again: its directory has become a file.
    dead.process.suspend()
    store.rename(store.with_name("aside-0"))
    store.touch()
    relay.log.expect('"process":"worker-0"')
    dead.process.kill()

    poll_for("a failed restart", lambda: len(relay.log.events("worker.exited")) == 2)

    failure = relay.log.events("worker.exited")[1]
    assert failure["exit_code"] == 3
    assert failure["restart_in_ms"] == 10_000
    assert [child.index for child in relay.children()] == [0, 1]  # the front, the other worker


def test_children_stop_when_the_supervisor_is_killed(relay: Relay) -> None:
    children = relay.children()
    assert len(children) == 2

    relay.process.kill()
    relay.process.wait(DEADLINE_S)

    poll_for("the end of all children", lambda: not any(lives(c.process) for c in children))
    relay.kill_everything()  # there is nothing left to kill; it can start again
    relay.start()
    assert len(relay.children()) == 2


def test_a_new_supervisor_takes_over_at_once_from_a_killed_one(
    launch: Launcher, run_dirs: Path
) -> None:
    """The old children may still hold the port and the stores: it waits for them to go."""
    killed = launch()
    port = killed.wait_until_ready()
    assert len(killed.processes()) == 3
    killed.process.kill()

    successor = launch("--port", str(port))

    assert successor.wait_until_ready() == port
    poll_for("the end of the old children", lambda: killed.processes() == [])
    successor.process.terminate()
    assert successor.wait() == 0
    assert list(run_dirs.iterdir()) == []  # not even what the killed one left


def test_the_workers_own_their_stores_alone(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=2)
    for index in range(2):
        path = relay.directory / "data" / "gen-1" / f"worker-{index}" / "lock"
        with path.open("a") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


# --- reload ---


def test_sighup_takes_new_groups(relay: Relay) -> None:
    relay.write_groups({GROUP: [ALICE, BOB]})

    relay.reload()

    poll_for("the reload", lambda: bool(relay.log.events("groups.reloaded")))
    [line] = relay.log.events("groups.reloaded")
    assert (line["added"], line["removed"], line["changed"]) == (0, 0, 1)
    assert line["names"] == [f"changed {GROUP}"]


def test_sighup_refuses_bad_groups_whole_and_keeps_the_old(relay: Relay) -> None:
    relay.log.expect("groups.refused")
    relay.groups_path.write_text('{"nonsense": {}}')

    relay.reload()

    poll_for("the refusal", lambda: bool(relay.log.events("groups.refused")))
    [refusal] = relay.log.events("groups.refused")
    assert "nonsense" in refusal["reason"]
    [alice] = relay.logged_in(ALICE)
    alice.send_message(GROUP, "M")
    alice.expect(ack_1("M", author=ALICE, to=GROUP))


def test_sighup_without_a_groups_file_changes_nothing(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, groups=None)

    relay.reload()

    poll_for("a log line", lambda: bool(relay.log.events("settings.reloaded")))
    assert len(relay.children()) == 2


def test_sighup_without_a_settings_file_changes_nothing(launch: Launcher) -> None:
    command = launch()
    command.wait_until_ready()

    command.process.send_signal(signal.SIGHUP)

    command.wait_for_log(r"groups\.not_reloaded")  # the last that is said of it
    assert re.search(r"settings\.not_reloaded", command.stderr)
    assert len(command.processes()) == 3
