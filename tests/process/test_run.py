"""How a child process ends: what its exit code and its last line say."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from relay.process.exitcodes import CANNOT_BOOT, WRITE_FAILED
from relay.process.memo import write_memo
from relay.settings.tables import LogSettings, ServerSettings, Settings

pytestmark = pytest.mark.slow  # processes of their own
REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from relay.errors import *
from relay.process.control import Heartbeat
from relay.process.run import run
def main(place):
    {main}
sys.exit(run("worker", main))
"""


def ends(directory: Path, main: str) -> tuple[int, str, bytes]:
    """Run `main` as a child; return its exit code, its log and what it sent to its supervisor."""
    settings = Settings(server=ServerSettings(data="here"), log=LogSettings(format="json"))
    memo = write_memo("settings", msgspec.json.encode(settings))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.run(
            [
                *(sys.executable, "-c", PROGRAM.format(main=main)),
                *("--run-dir", str(directory), "--index", "2", "--incarnation", "7"),
                *("--control-fd", str(theirs.fileno()), "--settings-fd", str(memo)),
            ],
            cwd=REPOSITORY,
            pass_fds=[theirs.fileno(), memo],
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
        theirs.close()
        os.close(memo)
        return child.returncode, child.stderr, ours.recv(1000)


def test_one_that_returns_has_stopped_in_order(tmp_path: Path) -> None:
    assert ends(tmp_path, "pass") == (0, "", b"")


def test_it_is_told_its_place_and_has_its_channel(tmp_path: Path) -> None:
    code, _, sent = ends(
        tmp_path,
        f"assert str(place.run_dir) == {str(tmp_path)!r}\n"
        "    assert (place.index, place.incarnation) == (2, 7)\n"
        "    assert str(place.data_dir) == 'here'\n"
        "    place.control.send(Heartbeat())",
    )

    assert (code, sent) == (0, b'{"type":"heartbeat"}\n')


@pytest.mark.parametrize(
    ("error", "code", "event"),
    [
        ("BootError", CANNOT_BOOT, "process.cannot_boot"),
        ("StoreWriteError", WRITE_FAILED, "store.write_failed"),
        ("LogDamaged", CANNOT_BOOT, "range.log_unreadable"),
    ],
)
def test_what_is_nobodys_bug_is_one_line_and_a_code_of_its_own(
    tmp_path: Path, error: str, code: int, event: str
) -> None:
    found, log, _ = ends(tmp_path, f"raise {error}('the reason')")

    line = json.loads(log)
    assert found == code
    assert (line["event"], line["reason"]) == (event, "the reason")
    assert line["process"] == "worker-2"


def test_a_bug_escapes_with_its_traceback(tmp_path: Path) -> None:
    code, log, _ = ends(tmp_path, "1 / 0")

    assert code == 1
    assert "ZeroDivisionError" in log


def test_under_a_supervisor_that_gives_it_no_settings_it_says_what_to_do() -> None:
    child = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM.format(main="pass")),
            *("--run-dir", "/nowhere", "--index", "2", "--incarnation", "7", "--control-fd", "0"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert child.returncode == CANNOT_BOOT
    assert "must be stopped and started" in child.stderr


def test_what_it_stores_is_nobody_elses_business(tmp_path: Path) -> None:
    ends(tmp_path, "(place.run_dir / 'file').touch()")

    assert os.stat(tmp_path / "file").st_mode & 0o077 == 0
