"""What processes cost, while they run and after."""

import os
import subprocess
import sys

import psutil  # type: ignore[import-untyped]
import pytest

from relay.loadgen.run.processes import OwnProcesses


def test_one_of_ours_that_ends_during_the_look_keeps_its_last_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as member:
        assert member.stdout is not None
        member.stdout.readline()  # it is there, and has memory of its own
        processes = OwnProcesses([os.getpid(), member.pid])
        there = processes.look()[member.pid]
    monkeypatch.setattr(psutil, "pid_exists", lambda _: True)  # it was there a moment ago

    after = processes.look()

    assert after[member.pid] == there
    assert after[os.getpid()].cpu_s > 0
