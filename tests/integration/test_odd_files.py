"""An operator's file that is a fifo, a directory or a device by now: nobody waits for it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.outside.frames import ALICE, GROUP
from tests.outside.processes import children_of

from .test_relative_paths import Home, send_to

pytestmark = pytest.mark.ordeal

FILES = {
    "secrets/hs256": r"auth\.keys_unusable",
    "lists/deny": r"auth\.deny_list_unusable",
    "tls/it.pem": r"tls\.certificates_unusable",
    "etc/groups.json": r"groups\.refused",
    "etc/relay.toml": r"settings\.refused",
}


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="relay-test-") as run, ExitStack() as stack:
        yield Home(tmp_path, Path(run), stack)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, a_device])
def test_what_is_no_file_any_more_is_told_and_costs_a_running_relay_nothing(
    home: Home, make: Callable[[Path], object]
) -> None:
    children = {child.process.pid for child in children_of(home_process(home))}
    for name, event in FILES.items():
        path = home.directory / name
        kept = path.with_name(path.name + ".kept")
        path.rename(kept)
        make(path)
        home.command.process.send_signal(signal.SIGHUP)
        home.command.wait_for_log(event)

        alice = home.login(ALICE)
        assert home.ask(alice, send_to(GROUP, f"M-{name}"))[1]["ack"] == 1
        home.close(alice)
        path.rename(kept.with_name(path.name + ".odd"))
        kept.rename(path)

    assert {child.process.pid for child in children_of(home_process(home))} == children
    home.command.process.terminate()
    assert home.command.wait() == 0


@pytest.mark.parametrize("name", FILES)
def test_a_start_does_not_wait_for_what_is_no_file(home: Home, name: str) -> None:
    home.command.process.terminate()
    home.command.wait()
    path = home.directory / name
    path.unlink()
    os.mkfifo(path)

    home.start()

    assert home.command.wait() == 2
    assert "Is a fifo, and must be a file" in home.command.stderr


def home_process(home: Home) -> psutil.Process:
    return psutil.Process(home.command.process.pid)
