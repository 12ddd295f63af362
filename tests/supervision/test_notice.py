"""What systemd is told, and that nothing depends on it."""

import re
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.supervision.notice import READY, give_notice, reloading


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
