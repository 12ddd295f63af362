"""What a call does when it is interrupted, its terminal closes, or it is killed; real processes."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from tests.loadgen.fakes import served

pytestmark = pytest.mark.ordeal

REPOSITORY = Path(__file__).resolve().parents[3]
DEADLINE_S = 40.0
LONG = ["--pairs", "3", "--warm-up", "50ms", "--for", "10m"]
SPAWNING = ["chat", "--spawn", "--workers 1 --fronts 1", *LONG]
MEASURING = "relay: measured"


@contextmanager
def called(*arguments: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Call the load generator in a process of its own, which is gone afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "relay.loadgen", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read stderr until a line begins with `text`."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(text):
            return
    raise AssertionError(f"it ended before it said {text!r}")


def started_by(pid: int) -> list[psutil.Process]:
    """Return everything below a process; there is a supervisor, a front and a worker among it."""
    below: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    commands = [" ".join(each.cmdline()) for each in below]
    for module in ("relay serve", "relay.front", "workers", "relay.loadgen.run.player"):
        assert any(f"-m {module}" in command for command in commands), commands
    return below


@contextmanager
def nothing_left(processes: list[psutil.Process]) -> Iterator[None]:
    """Assert that all of them are gone soon after the block; they are in any case afterwards."""
    try:
        yield
        deadline_s = time.monotonic() + DEADLINE_S
        while left := [each for each in processes if is_there(each)]:
            assert time.monotonic() < deadline_s, left
            time.sleep(0.02)
    finally:
        for each in processes:
            if is_there(each):
                each.kill()


def is_there(process: psutil.Process) -> bool:
    # Those whose parent is gone wait for whoever takes orphans to reap them.
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_ctrl_c_shows_and_writes_what_was_measured_and_exits_130(tmp_path: Path) -> None:
    # given: a run of ten minutes, some way into its measured time
    armed, enough = threading.Event(), threading.Event()
    count = 0

    def watch(user: str, payload: bytes, pass_on: object) -> None:
        nonlocal count
        count += armed.is_set()
        if count > 200:
            enough.set()
        assert callable(pass_on)
        pass_on(payload)

    files = tmp_path / "a.json", tmp_path / "a.html"
    written = ["--json", str(files[0]), "--html", str(files[1])]
    with (
        served(watch) as url,
        called("chat", "--url", url, *LONG, *written, tmp_path=tmp_path) as process,
    ):
        wait_for(process, MEASURING)
        armed.set()
        assert enough.wait(DEADLINE_S)

        # when
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its processes
        out, err = process.communicate(timeout=DEADLINE_S)

    # then
    assert process.returncode == 130, err
    assert "interrupted: no more traffic" in err
    assert "the relay's run ended in its phase measured" in out
    assert "lost 0" in out
    assert "send → ack 1" in out
    record = json.loads(files[0].read_bytes())
    assert record["interrupted"] is True
    assert record["outcomes"][0]["interrupted"] == "measured"
    assert record["outcomes"][0]["faults"]["kinds"] == {}
    assert record["outcomes"][0]["latencies"]["send → ack 1"]["count"] > 0
    assert '<p class="interrupted">' in files[1].read_text()


def test_rounds_that_were_to_come_are_left_out_after_ctrl_c(tmp_path: Path) -> None:
    with (
        served() as url,
        called("chat", "--url", url, *LONG, "--rounds", "3", tmp_path=tmp_path) as process,
    ):
        wait_for(process, "relay 1/3: measured")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 130
    assert "relay 2/3" not in err


def test_ctrl_c_before_anything_was_measured_reports_nothing(tmp_path: Path) -> None:
    silent = [sys.executable, "-c", "import time; time.sleep(600)"]
    program = (
        "import sys\n"
        "from relay.loadgen.run import servers\n"
        f"servers.relay = lambda *a, **k: servers.Server('relay', {silent!r})\n"
        "from relay.loadgen.cli.commands import main\n"
        "sys.exit(main(['chat', '--spawn', '']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline_s = time.monotonic() + DEADLINE_S
            while not psutil.Process(process.pid).children():
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()

    assert process.returncode == 130
    assert err.endswith("relay-load: interrupted; nothing is reported\n")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_relay_of_its_own_ends_with_it(number: signal.Signals, code: int, tmp_path: Path) -> None:
    with called(*SPAWNING, tmp_path=tmp_path) as process:
        wait_for(process, MEASURING)
        with nothing_left(started_by(process.pid)):
            process.send_signal(number)

            process.communicate(timeout=DEADLINE_S)
            assert process.returncode == code
    if number != signal.SIGKILL:  # which leaves nobody to tidy up
        assert list(tmp_path.iterdir()) == []


def test_a_relay_of_its_own_ends_when_the_terminal_closes(tmp_path: Path) -> None:
    # given: a call that a terminal shows
    pid, terminal = pty.fork()
    if pid == 0:  # in the new process
        os.chdir(REPOSITORY)
        os.environ["TMPDIR"] = str(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "relay.loadgen", *SPAWNING])
    shown = b""
    while MEASURING.encode() not in shown:
        shown += os.read(terminal, 65536)
    with nothing_left(started_by(pid)):
        # when
        os.close(terminal)

        # then
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 129
    assert list(tmp_path.iterdir()) == []


def test_a_call_by_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    # given: a process that ignores SIGHUP, which those that it starts inherit
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        short = ["--pairs", "3", "--warm-up", "50ms", "--for", "300ms"]
        with served() as url, called("chat", "--url", url, *short, tmp_path=tmp_path) as process:
            wait_for(process, MEASURING)
            process.send_signal(signal.SIGHUP)
            out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert process.returncode == 0, err
    assert "lost 0" in out
