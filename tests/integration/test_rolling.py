"""A rolling restart renews every process; clients notice a reconnect at most."""

import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    ALICE,
    AUTH_SUCCESS,
    BOB,
    ack_1,
    auth_frame,
    delivery,
    user_jid,
)
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for
from tests.outside.websocket import ConnectionOver

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal


def roll(relay: Relay, times: int) -> None:
    before = {child.process.pid for child in relay.children()}
    relay.process.send_signal(signal.SIGUSR2)
    expect_rolled(relay, before, times)


def expect_rolled(relay: Relay, before: set[int], times: int) -> None:
    poll_for("its end", lambda: relay.log.text().count("supervisor.rolled") == times)
    after = {child.process.pid for child in relay.children()}
    assert len(after) == len(before)
    assert not after & before


def test_a_rolling_restart_renews_every_process_and_never_closes_the_port(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(fronts=1, workers=2)
    alice, bob = relay.logged_in(ALICE, BOB)
    exchange_marker(alice, bob)
    before = {child.process.pid for child in relay.children()}
    relay.process.send_signal(signal.SIGUSR2)
    # Workers go first: their clients stay connected and are served by the successors.
    number = 0
    while len(before & {child.process.pid for child in relay.children("worker")}):
        number += 1
        alice.send_message(BOB, f"M{number}")
        alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB))
        bob.expect(delivery(f"M{number}", author=ALICE))
    assert number

    for client in (alice, bob):
        client.wait_for_close()
        assert client.close_code == 1012
    # Its successor listens before the old front goes.
    alice, bob = relay.logged_in(ALICE, BOB)

    assert len(bob.queued) == number
    expect_rolled(relay, before, 1)
    exchange_marker(alice, bob)


def test_a_rolling_restart_can_be_repeated(start_relay: RelayStarter) -> None:
    relay = start_relay(fronts=2, workers=2)

    roll(relay, 1)
    roll(relay, 2)

    exchange_marker(relay.login(ALICE), relay.login(BOB))


def test_nobody_who_connects_during_a_rolling_restart_is_reset(start_relay: RelayStarter) -> None:
    relay = start_relay(fronts=2, workers=1)
    answers: Counter[str] = Counter()
    stopped = threading.Event()

    def connect(number: int) -> None:
        # Another user each time: one who is back before his session has ended takes it over.
        for attempt in count():
            if stopped.is_set():
                break
            try:
                with SheetClient(relay.url) as client:
                    client.send(auth_frame(user_jid(f"91{number}{attempt:09}")))
                    first = client.recv()
                    answers["in" if first == AUTH_SUCCESS else f"{first}"] += 1
            except ConnectionOver as over:
                answers[f"close {over.code}"] += 1
            except (OSError, AssertionError) as error:
                answers[repr(error)] += 1

    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(connect, number) for number in range(8)]
        try:
            for times in (1, 2):
                roll(relay, times)
        finally:
            stopped.set()
        for task in tasks:
            task.result()

    assert answers["in"] > 100
    # Neither a reset nor a `Cmd` before the login (R2).
    assert set(answers) <= {"in", "close 1012"}
