"""Requests of the built-in extensions against a real relay: E2, E13, E15, and E1's capabilities."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from relay import __version__
from tests.outside.client import SheetClient
from tests.outside.frames import ABSENT, check_error
from tests.outside.people import Cast

from .conftest import RelaySharer


def ask(client: SheetClient, text: str) -> Any:
    """Return the answer to a request, without its prefix."""
    prefix = text[: text.index("[")]
    client.send(text)
    answer = client.recv_text()
    assert answer.startswith(prefix)
    return json.loads(answer[len(prefix) :])


@pytest.mark.parametrize("is_logged_in", [False, True])
def test_e13_signs_of_life_are_answered_before_and_after_the_login(
    share_relay: RelaySharer, cast: Cast, is_logged_in: bool
) -> None:
    relay = share_relay()
    client = relay.login(cast.alice) if is_logged_in else relay.connect()

    assert ask(client, '["admin","test"]') == ["Pong", True]
    assert ask(client, 'a1,["admin","test"]') == ["Pong", True]
    tag, body = ask(client, '["ping",{"tag":"x"}]')
    assert tag == "pong"
    assert abs(body.pop("t") - time.time()) < 60
    assert body == {"from": "backend", "tag": "x"}
    assert ask(client, 'a2,["ping"]')[1].keys() == {"from", "t"}
    assert ask(client, '["ping",{"type":"any","tag":"x"}]')[0] == "pong"
    client.send("?,,")
    assert client.recv_text().startswith("!")


@pytest.mark.parametrize("is_logged_in", [False, True])
def test_e15_the_server_says_what_it_is(
    share_relay: RelaySharer, cast: Cast, is_logged_in: bool
) -> None:
    relay = share_relay("[limits]\ngroup_members = 100\n[mailbox]\nttl_days = 2")
    client = relay.login(cast.alice) if is_logged_in else relay.connect()

    tag, body = ask(client, 'q1,["query",{"type":"server","tag":"b1"},null]')

    assert tag == "Props"
    assert abs(body.pop("time") / 1000 - time.time()) < 60
    assert body == {
        "from": "backend",
        "name": "web-server-socket",
        "version": __version__,
        "protocol": 1,
        "caps": [],
        "auth": "open",
        "maxFrame": 262144,
        "maxParticipants": 100,
        "maxQueue": 10000,
        "queueTtl": 172800,
        "retention": 2592000,
        "ping": 20,
        "tag": "b1",
    }


def test_e2_the_error_of_a_request_has_its_name(share_relay: RelaySharer, cast: Cast) -> None:
    alice = share_relay().login(cast.alice)

    check_error(ask(alice, 'x1,["query",{"type":"teleport"}]'), 400, tag="x1", message_id=ABSENT)
    check_error(ask(alice, 'x1,["ping",{"tag":"b1"},1]'), 400, tag="b1", message_id=ABSENT)
    check_error(ask(alice, '["ping",{"tag":7}]'), 400, tag="ping", message_id=ABSENT)


def test_e1_a_login_that_names_capabilities_is_told_which_are_granted(
    share_relay: RelaySharer, cast: Cast
) -> None:
    alice = share_relay().connect()

    alice.send(["auth", {"type": "new", "caps": ["acks", "teleport"]}, {"remoteJid": cast.alice}])

    tag, body = alice.recv()
    assert tag == "auth"
    assert abs(body.pop("t") - time.time()) < 60
    assert len(body.pop("sessionId")) >= 8
    assert body == {"from": "backend", "status": "success", "caps": [], "device": "0"}


def test_answers_come_in_the_order_of_the_requests_behind_a_login_too(
    share_relay: RelaySharer, cast: Cast
) -> None:
    alice = share_relay().connect()

    alice.send(["auth", {"type": "new"}, {"remoteJid": cast.alice}])
    for number in range(20):
        alice.send(["ping", {"tag": f"p{number}"}])
        alice.send(["nonsense"])

    assert [alice.recv()[0] for _ in range(2)] == ["auth", "q"]
    for number in range(19):
        assert alice.recv()[1]["tag"] == f"p{number}"
        assert alice.recv()[0] == "error"
