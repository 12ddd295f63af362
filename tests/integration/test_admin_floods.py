"""Strangers at the admin's port: operators are answered, and messages go their way."""

from __future__ import annotations

import http.client
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.outside.frames import ALICE, BOB, delivery
from tests.outside.operator import Operator
from tests.outside.ports import free_port
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import SOON_S, TOKENS

pytestmark = pytest.mark.ordeal

MANY = 600


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def relay(start_relay: RelayStarter, tmp_path: Path, port: int) -> Relay:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKENS['read']} read\n")
    tokens.chmod(0o600)
    relay = start_relay(admin=True, config=f'[admin]\nport = {port}\ntoken_file = "{tokens}"\n')
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
    Operator(relay).ask("/api/v1/status")
    return relay


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /api/v1/sta",
        b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
    ],
    ids=["nothing", "half a line", "half a body", "the page"],
)
def test_connections_of_strangers_keep_nobody_out(relay: Relay, port: int, said: bytes) -> None:
    operator = Operator(relay)
    alice, bob = relay.logged_in(ALICE, BOB)
    (admin,) = relay.children("admin")
    before = admin.process.num_fds()
    with ExitStack() as stack:
        for _ in range(MANY):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            stranger.sendall(said)
        answers = [operator.ask_port(port, "/api/v1/status", token=TOKENS["read"])]
        answers.append(operator.ask("/api/v1/status"))

        assert [each.status for each in answers] == [200, 200]
        assert max(each.took_s for each in answers) < SOON_S
        assert admin.process.num_fds() < before + 150
        alice.send_message(BOB, "F1")
        alice.recv()
        assert bob.recv() == delivery("F1", author=ALICE)
    name = 'relay_events_total{event="connections_cut",index="0",role="admin"}'
    assert operator.samples()[name] >= MANY - 150


def test_a_body_that_is_not_asked_for_is_not_waited_for(relay: Relay, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.putrequest("POST", "/api/v1/messages")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()

    assert connection.getresponse().status == 401
    connection.close()
