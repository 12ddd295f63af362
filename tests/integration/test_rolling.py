"""A rolling restart renews every process; clients notice a reconnect at most."""

import signal

from tests.outside.client import exchange_marker
from tests.outside.frames import ALICE, BOB, ack_1, delivery
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter


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
