"""How much of its time a thread wants a processor."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from relay.process import demand
from relay.process.demand import Demand


def work(seconds: float) -> None:
    """Run for so long, whatever else does."""
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


@pytest.mark.parametrize("is_counted", [True, False])
def test_time_that_a_thread_runs_is_told_and_time_that_it_sleeps_is_not(
    is_counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_counted:
        monkeypatch.setattr(demand, "_SCHEDULED", Path("/nonexistent"))
    asked = Demand()
    before_s = asked.runnable_s()
    work(0.03)
    after_s = asked.runnable_s()
    time.sleep(0.2)

    assert after_s - before_s >= 0.02
    assert asked.runnable_s() - after_s < 0.15
    asked.close()


def test_time_that_a_thread_waits_for_a_processor_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "schedstat"
    file.write_text("1500000000 500000000 4\n")
    monkeypatch.setattr(demand, "_SCHEDULED", file)

    asked = Demand()

    assert asked.runnable_s() == 2.0
    file.write_text("1500000000 750000000 5\n")
    assert asked.runnable_s() == 2.25
    asked.close()


@pytest.mark.parametrize("text", ["", "nothing to tell", "1 2"])
def test_where_the_kernel_tells_something_else_the_threads_own_clock_is_left(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "schedstat"
    file.write_text(text)
    monkeypatch.setattr(demand, "_SCHEDULED", file)
    asked = Demand()

    before_s = time.thread_time()
    told_s = asked.runnable_s()

    assert before_s <= told_s <= time.thread_time()
    assert asked.runnable_s() >= told_s
    asked.close()


def test_what_was_opened_is_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    asked = Demand()
    asked.runnable_s()
    asked.close()
    asked.close()

    assert len(os.listdir("/proc/self/fd")) == before
