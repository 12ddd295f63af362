"""Many requests of one client, and what they must not do: end it, fill a store, be half done."""

from __future__ import annotations

import json

import pytest

from tests.outside.client import SheetClient
from tests.outside.frames import action, auth_frame, element
from tests.outside.people import Cast
from tests.outside.relay import Relay

from .conftest import RelaySharer

# Deeper than Python's stack, were each of them a call within the last.
MANY = 2000


def texts_until(client: SheetClient, count: int) -> list[str]:
    """Return the next `count` texts that are answers to `?,,`."""
    found: list[str] = []
    while len(found) < count:
        text = client.recv_text()
        if text.startswith("!"):
            found.append(text)
    return found


@pytest.fixture
def relay(share_relay: RelaySharer) -> Relay:
    return share_relay()


def test_i7_requests_behind_a_login_are_all_answered(relay: Relay, cast: Cast) -> None:
    alice = relay.connect()

    alice.send(auth_frame(cast.alice))
    for _ in range(MANY):
        alice.send("?,,")

    assert [alice.recv()[0] for _ in range(2)] == ["auth", "q"]
    assert len(texts_until(alice, MANY)) == MANY
    alice.ping()


def test_i7_requests_behind_too_many_sends_are_all_answered(relay: Relay, cast: Cast) -> None:
    alice = relay.login(cast.alice)

    alice.send(action(*(element(cast.bob, f"SEND-{number}") for number in range(64))))
    for _ in range(MANY):
        alice.send("?,,")

    assert len(texts_until(alice, MANY)) == MANY
    alice.ping()


def test_e2_each_of_many_requests_gets_its_own_answer(relay: Relay, cast: Cast) -> None:
    alice = relay.login(cast.alice)

    for number in range(MANY):
        alice.send(json.dumps(["ping", {"tag": f"p{number}"}]))

    assert [alice.recv()[1]["tag"] for _ in range(MANY)] == [f"p{n}" for n in range(MANY)]
