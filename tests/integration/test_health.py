"""Health checks at the clients' port of a relay, through its whole life."""

from __future__ import annotations

import http.client
import signal

import pytest

from tests.outside.frames import ALICE, BOB, ack_1
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S, poll_for

from .conftest import RelayStarter

NOTICE_S = 2.0


def check(relay: Relay, path: str, method: str = "GET") -> tuple[int, str]:
    """Ask; return the status and the text."""
    connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=DEADLINE_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode().strip()
    finally:
        connection.close()


def test_a_relay_that_serves_is_alive_and_ready(shared_relay: Relay) -> None:
    assert check(shared_relay, "/healthz") == (200, "serving")
    assert check(shared_relay, "/readyz") == (200, "ready")
    assert check(shared_relay, "/readyz", "HEAD") == (200, "")
    assert check(shared_relay, "/", "OPTIONS") == (200, "ready")
    assert check(shared_relay, "/", "GET")[0] == 426


def test_a_relay_that_misses_a_worker_is_alive_and_not_ready(start_relay: RelayStarter) -> None:
    relay = start_relay(config="[supervisor]\nrestart_min_s = 2.0")
    relay.children("worker")[1].process.kill()

    poll_for("it is not ready", lambda: check(relay, "/readyz") == (503, "waiting"))
    assert check(relay, "/healthz") == (200, "serving")
    poll_for("it is ready again", lambda: check(relay, "/readyz") == (200, "ready"))


def test_a_stop_fails_the_check_first_and_sends_clients_away_later(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config=f"[supervisor]\ndrain_notice_s = {NOTICE_S}")
    [alice] = relay.logged_in(ALICE)

    relay.ask_to_stop()

    poll_for("it is not ready", lambda: check(relay, "/readyz") == (503, "draining"))
    assert check(relay, "/healthz") == (200, "serving")
    late = relay.login(BOB)  # whom a balancer sends that has not looked yet
    late.send_message(ALICE, "LATE")
    late.expect(ack_1("LATE", author=BOB, to=ALICE))
    assert alice.recv()[0] == "action"
    [line] = relay.log.events("front.draining")
    assert line["clients_leave_in_s"] == NOTICE_S
    assert alice.recv() == ["Cmd", {"type": "disconnect", "kind": "shutdown"}]
    alice.expect_close(1012)
    relay.drop_clients()
    relay.stop()
    [stopped] = relay.log.events("front.stopped")
    assert stopped["health_checks_failed"] >= 1


def test_a_renewal_gives_no_notice(start_relay: RelayStarter) -> None:
    """A successor serves at the same port: a balancer must not take the relay out."""
    relay = start_relay(config="[supervisor]\ndrain_notice_s = 10.0")

    relay.process.send_signal(signal.SIGUSR2)

    poll_for("all are renewed", lambda: bool(relay.log.events("supervisor.rolled")))
    assert not relay.log.events("front.draining")
    assert check(relay, "/readyz") == (200, "ready")
    relay.kill_everything()  # else the stop would take its time


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_check_is_answered_where_no_client_is_let_in(
    start_relay: RelayStarter, path: str
) -> None:
    relay = start_relay(config="[limits]\nconnections = 1")
    relay.login(ALICE)

    assert check(relay, path)[0] == 200
    assert check(relay, "/")[0] == 503
