"""One child process: started by its command line, ended by a signal or with its channel."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relay import signals
from relay.process.memo import write_memo
from relay.supervision.child import MODULES, Adopted, Child, Inherited, exited_child, start_child

DEADLINE_S = 20.0


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    """A child whose program is a stand-in that has begun."""
    monkeypatch.setitem(MODULES, "front", "tests.supervision.stand_in")
    memos = [write_memo(name, b"") for name in ("settings", "groups", "listener")]
    child = start_child("front", 3, 7, run_dir=tmp_path, inherited=Inherited(*memos))
    for memo in memos:
        os.close(memo)
    try:
        wait_for((tmp_path / "arguments.json").exists)
        yield child
    finally:
        if child.exit_code() is None:
            child.signal_group(signal.SIGKILL)
        child.wait()
        child.disconnect()


def test_its_command_line_is_one_that_every_version_understands(
    child: Child, tmp_path: Path
) -> None:
    options: dict[str, Any] = json.loads((tmp_path / "arguments.json").read_bytes())

    assert list(options) == [
        *("--run-dir", "--index", "--incarnation"),
        *("--control-fd", "--settings-fd", "--groups-fd", "--listener-fd", "--stacks-fd"),
    ]
    assert options["--run-dir"] == str(tmp_path)
    assert (options["--index"], options["--incarnation"]) == ("3", "7")
    assert child.exit_code() is None


def test_it_learns_from_the_end_of_its_channel_that_it_is_to_go(child: Child) -> None:
    child.disconnect()
    child.disconnect()  # once more is no error

    assert not child.connected
    wait_for(lambda: child.exit_code() is not None)
    assert child.exit_code() == 9


def test_a_signal_ends_it_and_is_its_exit_code(child: Child) -> None:
    child.signal_group(signal.SIGKILL)

    child.wait()

    assert child.exit_code() == -signal.SIGKILL


def test_it_has_a_session_of_its_own_that_a_terminal_does_not_reach(child: Child) -> None:
    assert os.getsid(child.pid) == child.pid != os.getsid(0)


def test_it_begins_with_the_signals_held_and_the_supervisor_does_not(child: Child) -> None:
    status = Path(f"/proc/{child.pid}/status").read_text()
    [blocked] = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")]

    assert {n for n in signals.HELD if int(blocked, 16) >> (n - 1) & 1} == set(signals.HELD)
    assert not set(signals.HELD) & signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_one_that_a_predecessor_started_is_collected_by_its_pid(child: Child) -> None:
    adopted = Child(7, Adopted(child.pid), child.channel, child.stacks)
    assert adopted.exit_code() is None

    adopted.signal_group(signal.SIGKILL)

    assert adopted.wait() == -signal.SIGKILL
    assert adopted.exit_code() == -signal.SIGKILL


def test_one_that_has_exited_is_found_until_somebody_collects_it(child: Child) -> None:
    child.signal_group(signal.SIGKILL)
    wait_for(exited_child)
    assert exited_child() == child.pid

    child.wait()

    assert exited_child() is None


def test_its_stacks_are_read_when_it_has_crashed(child: Child) -> None:
    os.write(child.stacks, b"Fatal Python error")  # as the process would, which has it too
    child.signal_group(signal.SIGKILL)
    child.wait()

    assert child.take_stacks() == "Fatal Python error"


def test_one_that_cannot_be_started_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(FileNotFoundError):
        start_child("front", 0, 1, run_dir=tmp_path, inherited=Inherited(0))

    assert len(os.listdir("/proc/self/fd")) == before
