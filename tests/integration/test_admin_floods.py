"""Strangers at the admin's port: operators are answered, and messages go their way."""

from __future__ import annotations

import http.client
import socket
from contextlib import ExitStack, suppress
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
    admin = relay.child("admin")
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
    is_refused = said.startswith(b"POST")  # and so it has left by itself
    assert is_refused or operator.samples()[name] >= MANY - 150


def test_a_body_that_is_not_asked_for_is_not_waited_for(relay: Relay, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.putrequest("POST", "/api/v1/messages")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()

    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_what_is_no_request_is_counted_and_not_logged(relay: Relay, port: int, said: bytes) -> None:
    lines = len(relay.log.text().splitlines())
    with socket.create_connection(("127.0.0.1", port), 10) as stranger:
        stranger.sendall(said)
        assert stranger.recv(1 << 16).startswith(b"HTTP/1.1 ")

    name = 'relay_admin_requests_total{index="0",role="admin",status="400"}'
    is_none = b"Upgrade" not in said
    assert Operator(relay).samples().get(name, 0) == is_none
    assert "uvicorn" not in "".join(relay.log.text().splitlines()[lines:])


def test_of_a_strangers_requests_one_is_answered(relay: Relay, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as stranger:
        stranger.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        said = b""
        with suppress(ConnectionResetError):
            while got := stranger.recv(1 << 16):
                said += got

    assert said.count(b"HTTP/1.1 401") == 1
    assert Operator(relay).ask("/metrics").status == 200
