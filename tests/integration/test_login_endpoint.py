"""Mode "http" in a relay: an operator's endpoint decides who gets in."""

from __future__ import annotations

import threading
from typing import Any

from tests.auth.endpoint import Answer, Endpoint, lets_in
from tests.integration.conftest import RelayStarter
from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, EMPTY_Q, Frame, ack_1, delivery
from tests.outside.waiting import DEADLINE_S


def config(endpoint: Endpoint, more: str = "") -> str:
    return f'[auth]\nmode = "http"\n[auth_http]\nurl = "{endpoint.url}"\n{more}'


def auth(user: str, token: str = "secret") -> Frame:
    return ["auth", {"type": "new"}, {"remoteJid": user, "token": token}]


def test_who_is_let_in_chats_and_who_is_not_is_told(start_relay: RelayStarter) -> None:
    def answer(said: dict[str, Any]) -> Answer:
        return lets_in(said) if said["token"] == "secret" else (401, b"")

    with Endpoint(answer) as endpoint:
        relay = start_relay(config=config(endpoint, 'headers = ["User-Agent", "Cookie"]\n'))
        alice, bob, mallory = (relay.connect() for _ in range(3))
        alice.send(auth(ALICE))
        bob.send(auth(BOB))
        mallory.send(auth(ALICE, "guess"))
        for client in (alice, bob):
            client.expect(AUTH_SUCCESS, EMPTY_Q)
        mallory.expect_failure(401)

        alice.send_message(BOB, "M")
        alice.expect(ack_1("M", author=ALICE, to=BOB))
        bob.expect(delivery("M", author=ALICE))

    [said] = [said for said in endpoint.asked if said["token"] == "guess"]
    assert said["user"] == ALICE
    assert said["address"] == "127.0.0.1"
    assert said["headers"].keys() <= {"User-Agent"}
    relay.stop()
    assert "secret" not in relay.log.path.read_text()
    [line] = relay.log.events("front.stopped")
    assert line["logins_refused_401"] == 1


def test_while_the_endpoint_is_away_nobody_new_comes_in_and_the_others_go_on(
    start_relay: RelayStarter,
) -> None:
    with Endpoint(lets_in) as endpoint:
        relay = start_relay(workers=1, config=config(endpoint, "cache_s = 0\n"))
        alice = relay.connect()
        alice.send(auth(ALICE))
        alice.expect(AUTH_SUCCESS, EMPTY_Q)
        port = endpoint.port

    bob = relay.connect()
    bob.send(auth(BOB))
    failure = bob.recv()
    assert failure[1]["code"] == 503
    assert failure[1]["retryAfter"] >= 1
    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))

    with Endpoint(lets_in, port):
        bob.send(auth(BOB))
        assert bob.recv() == AUTH_SUCCESS


def test_traffic_goes_on_while_a_login_is_asked_about(start_relay: RelayStarter) -> None:
    may_answer = threading.Event()

    def answer(said: dict[str, Any]) -> Answer:
        if said["user"] != ALICE:
            assert may_answer.wait(DEADLINE_S)
        return lets_in(said)

    with Endpoint(answer) as endpoint:
        relay = start_relay(workers=1, config=config(endpoint, "timeout_s = 20\n"))
        alice, bob = relay.connect(), relay.connect()
        alice.send(auth(ALICE))
        alice.expect(AUTH_SUCCESS, EMPTY_Q)
        bob.send(auth(BOB))
        bob.send_message(ALICE, "FROM BOB")  # behind his login, and so after it

        alice.send_message(BOB, "M")
        alice.expect(ack_1("M", author=ALICE, to=BOB))
        may_answer.set()

        bob.expect(AUTH_SUCCESS)
        bob.recv()  # his queue
        bob.expect(ack_1("FROM BOB", author=BOB, to=ALICE))
        alice.expect(delivery("FROM BOB", author=BOB))


def test_a_client_that_has_gone_while_it_was_asked_about_is_no_fault(
    start_relay: RelayStarter,
) -> None:
    may_answer = threading.Event()

    def answer(said: dict[str, Any]) -> Answer:
        assert may_answer.wait(DEADLINE_S)
        return lets_in(said)

    with Endpoint(answer) as endpoint:
        relay = start_relay(workers=1, config=config(endpoint, "timeout_s = 20\n"))
        bob = relay.connect()
        bob.send(auth(BOB))
        bob.drop()
        may_answer.set()
        alice = relay.connect()
        alice.send(auth(ALICE))
        alice.expect(AUTH_SUCCESS, EMPTY_Q)
