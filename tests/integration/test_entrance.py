"""Who is let in at the port of a relay: strangers, crowds, and a relay short of descriptors."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.integration.conftest import RelayStarter
from tests.outside.frames import ALICE, BOB, ack_1, delivery
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S, poll_for

# All of 127.0.0.0/8 is this machine, so a test has as many addresses as it wants.
CROWD, SOMEBODY = "127.0.0.2", "127.0.0.3"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NOBODY_EXEMPT = "[admission]\nexempt = []\n"
KIB = 1024


class Crowd:
    """Connections of strangers, each from the address that it is given."""

    def __init__(self, relay: Relay, stack: ExitStack) -> None:
        self._relay = relay
        self._stack = stack

    def connect(self, address: str, said: bytes = b"") -> socket.socket:
        peer = socket.create_connection(
            ("127.0.0.1", self._relay.port), DEADLINE_S, source_address=(address, 0)
        )
        self._stack.callback(peer.close)
        peer.sendall(said)
        return peer

    def status(self, address: str) -> bytes:
        """The status of the response to a handshake from there; b"" where it is cut."""
        return _read(self.connect(address, REQUEST))[9:12]


def _read(peer: socket.socket) -> bytes:
    try:
        return peer.recv(4096)
    except ConnectionError:
        return b""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def memory_kib(relay: Relay) -> int:
    info = relay.children("front")[0].process.memory_info()
    return int(info.rss - info.shared) // KIB


def counters(relay: Relay) -> dict[str, int]:
    """Stop the relay; return what its front has counted."""
    relay.drop_clients()
    relay.stop()
    [line] = relay.log.events("front.stopped")
    return {key: value for key, value in line.items() if isinstance(value, int)}


def exchange(relay: Relay, message_id: str) -> None:
    """Have two people log in and send a message, as if nothing were the matter."""
    alice, bob = relay.logged_in(ALICE, BOB)
    alice.send_message(BOB, message_id)
    alice.expect(ack_1(message_id, author=ALICE, to=BOB))
    bob.expect(delivery(message_id, author=ALICE))
    relay.drop_clients()


def test_a4_headers_without_end_cost_a_front_a_few_kib(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    # Those who wait for others to be refused are not to be cut for that, however long it takes.
    relay = start_relay(workers=1, config="[admission]\nhandshake_s = 600")
    exchange(relay, "BEFORE")
    before = memory_kib(relay)
    crowd = Crowd(relay, stack)
    line = b"X: " + b"x" * 8000 + b"\r\n"
    peers = [crowd.connect(CROWD, b"GET / HTTP/1.1\r\n") for _ in range(200)]
    for peer in peers:
        with suppress(ConnectionError):  # it is refused
            for _ in range(20):
                peer.sendall(line)

    for peer in peers:
        while _read(peer):
            pass
    assert memory_kib(relay) - before < 16 * 200
    stack.close()
    assert counters(relay)["handshakes_too_large"] == 200


def test_a4_the_memory_of_those_who_never_logged_in_is_given_back(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(workers=1)
    exchange(relay, "BEFORE")
    before = memory_kib(relay)
    with ExitStack() as stack:
        crowd = Crowd(relay, stack)
        for _ in range(600):
            crowd.connect(CROWD, b"GET / HTTP/1.1\r\nX: " + b"x" * 8000)
        poll_for("all to be held", lambda: memory_kib(relay) - before > 8 * 600)
        assert memory_kib(relay) - before < 12 * 600

    poll_for("it to be given back", lambda: memory_kib(relay) - before < 2 * 600)
    exchange(relay, "AFTER")


def test_a4_a_large_request_is_answered_431(start_relay: RelayStarter, stack: ExitStack) -> None:
    relay = start_relay(workers=1, config="[admission]\nhandshake_bytes = 4096")
    crowd = Crowd(relay, stack)

    large = crowd.connect(CROWD, REQUEST[:-2] + b"Cookie: " + b"x" * 5000 + b"\r\n\r\n")
    small = crowd.connect(CROWD, REQUEST[:-2] + b"Cookie: " + b"x" * 3000 + b"\r\n\r\n")

    assert _read(large).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert _read(small).startswith(b"HTTP/1.1 101 ")


def test_a4_a_slow_request_is_cut_long_before_the_time_to_log_in_is_over(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    relay = start_relay(workers=1, config="[admission]\nhandshake_s = 0.5")
    crowd = Crowd(relay, stack)
    slow, silent = crowd.connect(CROWD, b"GET / HTTP/1.1\r\n"), crowd.connect(CROWD)

    assert _read(slow) == b""
    assert _read(silent) == b""
    assert counters(relay)["handshakes_overdue"] == 2


def test_strangers_of_one_address_keep_nobody_else_out(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    relay = start_relay(workers=1, config=NOBODY_EXEMPT + "address_unauthenticated = 5")
    crowd = Crowd(relay, stack)
    for _ in range(5):
        crowd.connect(CROWD)

    assert crowd.status(CROWD) == b"429"
    assert crowd.status(SOMEBODY) == b"101"
    exchange(relay, "M")
    stack.close()
    poll_for("the line of it", lambda: bool(relay.log.events("connections.refused")))
    [line] = relay.log.events("connections.refused")
    assert (line["address_unauthenticated_refused"], line["last_address"]) == (1, CROWD)
    assert counters(relay)["address_unauthenticated_refused"] == 1


def test_a_login_makes_room_for_the_next_of_its_address(start_relay: RelayStarter) -> None:
    """The clients here are all of one address."""
    relay = start_relay(workers=1, config=NOBODY_EXEMPT + "address_unauthenticated = 1")

    relay.logged_in(*(str(number) for number in range(20)))


def test_an_address_has_so_many_connections_and_its_rate_of_new_ones(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    relay = start_relay(
        workers=1,
        config=NOBODY_EXEMPT
        + "address_connections = 3\naddress_handshakes_per_s = 0.01\naddress_handshakes_burst = 6",
    )
    crowd = Crowd(relay, stack)

    assert [crowd.status(CROWD) for _ in range(5)] == [b"101"] * 3 + [b"429"] * 2
    assert [crowd.status(SOMEBODY) for _ in range(2)] == [b"101"] * 2
    assert [crowd.status(CROWD) for _ in range(3)] == [b"429"] * 3
    stack.close()
    counted = counters(relay)
    assert counted["address_connections_refused"] == 3
    assert counted["address_handshakes_refused"] == 2


def test_strangers_and_connections_are_bounded_in_all(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    relay = start_relay(
        workers=1, config="[admission]\nunauthenticated = 2\n[limits]\nconnections = 4"
    )
    crowd = Crowd(relay, stack)
    relay.logged_in(ALICE, BOB)

    assert [crowd.status(f"127.0.1.{number}") for number in range(3)] == [b"101", b"101", b"503"]
    poll_for("the line of it", lambda: bool(relay.log.events("connections.refused")))
    [line] = relay.log.events("connections.refused")
    assert line["connections_refused"] == 1


def test_changed_admission_holds_at_once(start_relay: RelayStarter, stack: ExitStack) -> None:
    debug = '[log]\nlevel = "debug"\n'
    relay = start_relay(workers=1, config=debug)
    crowd = Crowd(relay, stack)
    assert crowd.status(CROWD) == b"101"

    relay.take(debug + NOBODY_EXEMPT + "address_connections = 1")

    assert crowd.status(SOMEBODY) == b"101"
    assert crowd.status(SOMEBODY) == b"429"


def test_c5_a_front_full_of_clients_survives_the_return_of_its_workers(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    relay = start_relay(most_files=200)
    [warning] = relay.log.events("supervisor.few_descriptors")
    assert (warning["open_files"], warning["connections"]) == (200, 100_000)
    crowd = Crowd(relay, stack)
    alice, bob = relay.logged_in(ALICE, BOB)
    [front] = relay.children("front")
    peers = [crowd.connect(CROWD, REQUEST) for _ in range(200)]
    statuses = [_read(peer)[9:12] for peer in peers]
    let_in = statuses.count(b"101")
    assert 50 < let_in < 150
    assert statuses[let_in:].count(b"503") >= 16
    assert not set(statuses[let_in:]) - {b"503", b""}

    for worker in relay.children("worker"):
        worker.process.kill()
        worker.process.wait(DEADLINE_S)

    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))
    bob.expect(delivery("M", author=ALICE))
    assert [child.process.pid for child in relay.children("front")] == [front.process.pid]
    assert not relay.log.events("front.exited")
    # What had room before has room again.
    for peer in peers:
        peer.close()
    poll_for("room again", lambda: crowd.status(SOMEBODY) == b"101")
    stack.close()
    [line, *_] = relay.log.events("connections.refused")
    assert line["connections_without_descriptor_refused"] >= 1
    assert counters(relay)["connections_without_descriptor_refused"] >= 200 - let_in
