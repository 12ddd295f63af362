"""Servers that are started, and stopped whatever happens."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from relay.loadgen.run.servers import RunFailed, Server

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready ws://127.0.0.1:1/", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_ctrl_c_while_a_server_is_waited_for_ends_the_waiting_and_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Server("relay", [sys.executable, "-c", STUBBORN]) as server:
        pid = server.pid
        # Whoever presses Ctrl-C is another process; here a thread, once this one waits.
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_ends_before_it_is_ready_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    complaining = "import sys; sys.exit('no such option')"

    with pytest.raises(RunFailed, match="the relay did not start:\n  no such option"):
        Server("relay", [sys.executable, "-c", complaining]).__enter__()
    assert list(tmp_path.iterdir()) == []
