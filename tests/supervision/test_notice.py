"""What systemd is told, and that nothing depends on it."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.process.control import Heartbeat
from relay.supervision.condition import Condition, Phase, Places
from relay.supervision.notice import (
    READY,
    STATUS_EVERY_S,
    ServiceManager,
    give_notice,
    reloading,
)

SERVING = Condition(
    phase=Phase.SERVING, fronts=Places(1, 1), workers=Places(1, 1), told={1: Heartbeat(5)}
)
STUCK = replace(SERVING, stuck=("worker 0",))


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_service_manager_that_listens_is_told(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name if kind == "path" else "\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", name if kind == "path" else "@" + name)

        give_notice(READY)
        give_notice(reloading())

        assert manager.recv(100) == b"READY=1"
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(100))


@pytest.mark.parametrize("address", ["", "nonsense"])
def test_without_one_nothing_is_said(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with capture_logs() as lines:
        give_notice(READY)

    assert lines == []


def test_one_that_has_gone_is_a_line_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    with capture_logs() as lines:
        give_notice(READY)

    assert [line["event"] for line in lines] == ["supervisor.notice_lost"]


# --- how it is, and that it gets on ---


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager that has a watchdog of 20 s for this process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield sock


def told(manager: socket.socket) -> list[str]:
    """All that has come, a line each."""
    lines = []
    try:
        while True:
            lines += manager.recv(1000).decode().split("\n")
    except BlockingIOError:
        return lines


def test_a_sign_of_life_comes_at_half_of_the_time_that_is_allowed(manager: socket.socket) -> None:
    ours = ServiceManager()
    signs = []
    for second in range(100, 131):
        ours.look(SERVING, now_s=second)
        signs += [second for line in told(manager) if line == "WATCHDOG=1"]

    assert signs == [100, 110, 120, 130]


@pytest.mark.parametrize(("allowed_us", "every_s"), [("20000000", 1.0), ("300000", 0.15)])
def test_a_short_time_is_looked_at_often_enough(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, allowed_us: str, every_s: float
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", allowed_us)

    assert ServiceManager().look_every_s(1.0) == every_s


def test_while_a_process_hangs_that_cannot_be_ended_no_sign_of_life_comes(
    manager: socket.socket,
) -> None:
    ours = ServiceManager()
    with capture_logs() as lines:
        for second in range(100, 160):
            ours.look(STUCK, now_s=second)
    held_back = told(manager)
    ours.look(SERVING, now_s=160)

    assert "WATCHDOG=1" not in held_back
    assert "WATCHDOG=1" in told(manager)
    assert [(line["event"], line["seats"]) for line in lines] == [
        ("supervisor.stuck", ("worker 0",))
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WATCHDOG_PID", "1"),
        ("WATCHDOG_USEC", ""),
        ("WATCHDOG_USEC", "0"),
        ("WATCHDOG_USEC", "soon"),
    ],
)
def test_where_no_sign_of_life_is_expected_of_this_process_none_comes(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ours = ServiceManager()

    ours.look(SERVING, now_s=100)

    assert told(manager) == ["STATUS=serving: 1 front, 1 worker, 5 sessions"]
    assert ours.look_every_s(1.0) == 1.0


def test_the_status_comes_every_few_seconds_where_it_has_changed(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC")
    ours = ServiceManager()
    at = {}
    for second in range(100, 130):
        sessions = 5 if second < 112 else 6
        ours.look(replace(SERVING, told={1: Heartbeat(sessions)}), now_s=second)
        if lines := told(manager):
            [at[second]] = lines

    assert STATUS_EVERY_S == 5
    assert list(at) == [100, 105, 115]  # without rates, with them, with another session
    assert at[115] == "STATUS=serving: 1 front, 1 worker, 6 sessions, 0.0 logins/s, 0.0 messages/s"


def test_another_phase_is_told_at_once(manager: socket.socket) -> None:
    ours = ServiceManager()
    ours.look(replace(SERVING, phase=Phase.STARTING, told={}), now_s=100)
    ours.look(SERVING, now_s=101)

    assert [line for line in told(manager) if line.startswith("STATUS=")] == [
        "STATUS=starting: 1 front, 1 worker",
        "STATUS=serving: 1 front, 1 worker, 5 sessions",
    ]


def test_without_a_service_manager_nothing_is_told(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET")

    ServiceManager().look(SERVING, now_s=100)

    assert told(manager) == []
