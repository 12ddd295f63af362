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
from .test_tokens import config as token_config
from .test_tokens import logged_in, token_of

pytestmark = pytest.mark.ordeal

DAY_S = 86_400
WAITS_S = 12.0
CONFIG = f"[mailbox]\nttl_days = {WAITS_S / DAY_S}\n"
SHIFT = """\
import os, time
_real = time.time_ns
def _shifted():
    with open(os.environ["TEST_CLOCK"]) as file:
        return _real() + int(file.read() or 0) * 1_000_000_000
time.time_ns = _shifted
"""


class Clock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.set_by(0)

    def set_by(self, seconds: int) -> None:
        aside = self._path.with_suffix(".new")
        aside.write_text(str(seconds))
        aside.replace(self._path)


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


def swept(relay: Relay) -> None:
    """Wait for two sweeps, which come once a second."""
    time.sleep(3)


@pytest.mark.parametrize("days", [40, 730, -40])
def test_a_clock_that_is_set_for_three_seconds_takes_nothing_and_all_expires_in_its_time(
    start_relay: RelayStarter, clock: Clock, days: int
) -> None:
    relay = start_relay(workers=1, fronts=1, config=CONFIG)
    send(relay, "BEFORE")
    stored_at = time.monotonic()

    clock.set_by(days * DAY_S)
    send(relay, "MEANWHILE")
    swept(relay)
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
    swept(relay)
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

    clock.set_by(40 * DAY_S)
    for _ in range(2):
        alice.send(["ping", {}])
        assert alice.recv()[0] == "pong"
        time.sleep(0.5)  # in which it would be sent away
    clock.set_by(0)

    alice.send(["ping", {}])
    assert alice.recv()[0] == "pong"
