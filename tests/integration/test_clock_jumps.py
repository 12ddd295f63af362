"""A clock that is set by years for seconds, under a running relay: nothing is lost or doubled.

The clock of every process is shifted by what a file says, and nothing else of it is touched: a
module that Python imports at its start does it. How long things wait is made short.
"""

import os
import time
from pathlib import Path

import pytest

from tests.outside.frames import ALICE, BOB, ack_1, delivery
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_tokens import LOGOUT, logged_in, token_of
from .test_tokens import config as token_config

pytestmark = pytest.mark.ordeal

DAY_S = 86_400
WAITS_S = 12.0
CONFIG = f"[mailbox]\nttl_days = {WAITS_S / DAY_S}\n"
SHIFT = """\
import os, sys, time
_real = time.time_ns
_path = os.environ["TEST_CLOCK"]
def _shifted():
    asker = sys._getframe(1).f_back
    if asker and asker.f_code.co_name == "_look_at_calendar":
        with open(_path + ".looks", "ab") as file:
            file.write(b".")
    with open(_path) as file:
        return _real() + int(file.read() or 0) * 1_000_000_000
time.time_ns = _shifted
"""


class Clock:
    """What every process takes for the time, and how often workers have looked what day it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looks = path.with_suffix(".looks")
        self._looks.touch()
        self.set_by(0)

    def set_by(self, seconds: int) -> None:
        aside = self._path.with_suffix(".new")
        aside.write_text(str(seconds))
        aside.replace(self._path)

    @property
    def looks(self) -> int:
        """Each sweep of a worker begins with one; there is a sweep a second."""
        return self._looks.stat().st_size


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    (tmp_path / "sitecustomize.py").write_text(SHIFT)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("TEST_CLOCK", str(tmp_path / "offset"))
    return Clock(tmp_path / "offset")


def send(relay: Relay, *ids: str) -> None:
    alice = relay.login(ALICE)
    for message_id in ids:
        alice.send_message(BOB, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))
    alice.drop()


def waiting(relay: Relay) -> list[object]:
    """Return the ids of what waits for Bob, who acks nothing."""
    bob = relay.login(BOB)
    bob.drop()
    return [frame[2][0]["key"]["id"] for frame in bob.queued]


def wait_for_sweeps(clock: Clock) -> None:
    """Wait for two, for the day is another one by the second if a jump is believed too soon."""
    before = clock.looks
    poll_for("two sweeps", lambda: clock.looks >= before + 2)


@pytest.mark.parametrize("days", [40, 730, -40])
def test_a_clock_that_is_set_for_two_sweeps_takes_nothing_and_all_expires_in_its_time(
    start_relay: RelayStarter, clock: Clock, days: int
) -> None:
    relay = start_relay(workers=1, fronts=1, config=CONFIG)
    send(relay, "BEFORE")
    stored_at = time.monotonic()

    clock.set_by(days * DAY_S)
    send(relay, "MEANWHILE")
    wait_for_sweeps(clock)
    clock.set_by(0)
    [doubted] = relay.log.events("clock.doubted")
    assert abs(doubted["ahead_s"] - days * DAY_S) <= 5

    # Nothing is lost, and an id that was acked is known: it is not delivered twice.
    send(relay, "BEFORE", "MEANWHILE", "AFTER")
    assert waiting(relay) == ["BEFORE", "MEANWHILE", "AFTER"]
    assert time.monotonic() - stored_at < WAITS_S

    # Expiry goes on: by the time that has passed, not by that of the numbers.
    poll_for("all to expire", lambda: not waiting(relay), deadline_s=3 * WAITS_S)
    assert time.monotonic() - stored_at > WAITS_S


def test_a_start_by_a_clock_that_is_ahead_takes_nothing(
    start_relay: RelayStarter, clock: Clock
) -> None:
    relay = start_relay(workers=1, fronts=1)
    send(relay, "BEFORE")
    relay.stop()

    clock.set_by(40 * DAY_S)
    relay.start()
    wait_for_sweeps(clock)
    assert relay.log.events("clock.doubted")
    assert waiting(relay) == ["BEFORE"]
    relay.kill_everything()
    clock.set_by(0)
    relay.start()

    send(relay, "BEFORE")
    bob = relay.login(BOB)
    assert bob.queued == [delivery("BEFORE", author=ALICE)]


def test_who_asks_something_by_a_clock_that_is_ahead_keeps_the_session(
    start_relay: RelayStarter, clock: Clock, tmp_path: Path
) -> None:
    """A token's time is taken by the clock at the login."""
    relay = start_relay(workers=1, config=token_config(tmp_path))
    alice = logged_in(relay, ALICE, token_of(ALICE))
    bob = logged_in(relay, BOB, token_of(BOB, left_s=2))

    def is_answered() -> bool:
        alice.send(["ping", {}])
        return bool(alice.recv()[0] == "pong")

    clock.set_by(40 * DAY_S)
    assert is_answered()
    bob.expect(LOGOUT)  # so those whose time is over have been sent away
    bob.expect_close(4401)
    assert is_answered()
    clock.set_by(0)

    assert is_answered()
