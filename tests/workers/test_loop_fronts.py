"""Which fronts a worker listens to, while they come, go and are renewed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .loop_harness import RunningWorker


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningWorker]:
    # The bus has a socket in its run directory, and the paths of sockets are bounded.
    with tempfile.TemporaryDirectory(prefix="relay-test-") as run_dir:
        running = RunningWorker(Path(run_dir), monkeypatch)
        yield running
        running.close()


def test_the_death_of_a_successor_does_not_silence_the_front_that_it_was_to_renew(
    worker: RunningWorker,
) -> None:
    old = worker.connect("front-0-4")
    worker.list_fronts("front-0-4")
    assert worker.log_in(old, 1)

    worker.list_fronts("front-0-4", "front-0-9")  # a rolling restart begins
    worker.list_fronts("front-0-4")  # and its successor dies in its boot

    assert worker.log_in(old, 2)


def test_a_front_that_died_before_its_first_word_is_not_listened_to(worker: RunningWorker) -> None:
    dead, living = worker.connect("front-0-4"), worker.connect("front-1-5")
    worker.list_fronts("front-0-4", "front-1-5")
    worker.list_fronts("front-1-5")
    assert worker.log_in(living, 1)

    worker.ask(dead, 1)
    assert worker.log_in(living, 2)
    assert worker.log_in(living, 3)

    assert not dead.poll(0)


def test_a_front_that_is_not_listed_yet_is_listened_to(worker: RunningWorker) -> None:
    worker.list_fronts("front-0-4")

    assert worker.log_in(worker.connect("front-1-5"), 1)
