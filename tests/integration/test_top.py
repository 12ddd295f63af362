"""`relay top` of a relay that runs, in a terminal and without one."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from tests.outside.operator import Operator
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay

pytestmark = pytest.mark.ordeal


@pytest.fixture(scope="module")
def seen() -> Iterator[Relay]:
    """A relay with an admin."""
    with Relay(admin=True) as relay:
        Operator(relay).ask("/api/v1/status")  # it loads what answers
        yield relay


def command(relay: Relay, *arguments: str) -> list[str]:
    directory = str(relay.directory / "data")
    return [sys.executable, "-m", "relay", "top", *arguments, "--data", directory]


def test_without_a_terminal_it_shows_one_look(seen: Relay) -> None:
    shown = subprocess.run(
        command(seen), cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=True
    ).stdout

    assert re.search(r"^front 0 +\d+% ", shown, re.M)
    assert re.search(r"^worker 1 ", shown, re.M)
    assert "\x1b" not in shown


def test_as_json_it_has_what_has_happened(seen: Relay) -> None:
    process = subprocess.Popen(
        command(seen, "--json", "--every", "3"),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    alice = seen.login("alice")
    sent, ends_s = 0, time.monotonic() + 20
    while process.poll() is None and time.monotonic() < ends_s:
        alice.send_message("nobody", f"J{sent}")
        alice.recv()
        sent += 1
        time.sleep(0.05)  # so that some are sent between its two looks, whenever those are
    found = json.loads(process.communicate(timeout=10)[0])

    assert found["per_s"]["messages"] > 0
    assert found["p50_ms"] > 0
    assert {each["name"] for each in found["processes"]} >= {"front 0", "worker 0", "admin"}


@pytest.mark.parametrize(("key", "columns"), [(b"q", 100), (b"\x03", 40)])
def test_in_a_terminal_it_goes_on_until_a_key(seen: Relay, key: bytes, columns: int) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command(seen, "--every", "0.3"),
        cwd=REPOSITORY,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(follower)
    seen_so_far, ends_s = b"", time.monotonic() + 30
    try:
        while b"worker 1" not in seen_so_far and time.monotonic() < ends_s:
            if select.select([leader], [], [], 0.5)[0]:
                seen_so_far += os.read(leader, 65536)
        os.write(leader, key)
        while process.poll() is None and time.monotonic() < ends_s:
            if select.select([leader], [], [], 0.2)[0]:
                try:
                    seen_so_far += os.read(leader, 65536)
                except OSError:
                    break  # it has ended
        code = process.wait(timeout=10)
    finally:
        process.kill()
        os.close(leader)

    assert b"worker 1" in seen_so_far
    assert b"quit" in seen_so_far
    assert code == 0
    assert b"\x1b[?1049l" in seen_so_far  # the screen of before is back
