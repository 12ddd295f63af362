"""Below the frames, PROTOCOL 2.1: the handshake, WebSocket errors, and ways to leave."""

import json
import socket
import struct
from collections.abc import Callable

from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    ALICE,
    AUTH_SUCCESS,
    ack_1,
    action,
    auth_frame,
    delivery,
    element,
    message_id_of,
)
from tests.outside.people import Cast
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S

from .conftest import RelayStarter


def web_socket_frame(opcode: int, data: bytes, *, mask: bool = True, head: int = 0x80) -> bytes:
    """The bytes of a frame with any opcode; `head` holds FIN and the reserved bits."""
    assert len(data) < 126
    key = b"\x01\x02\x03\x04" if mask else b""
    masked = bytes(byte ^ key[i % 4] for i, byte in enumerate(data)) if mask else data
    return bytes([head | opcode, (0x80 if mask else 0) | len(data)]) + key + masked


def test_any_path_is_served_and_who_speaks_no_web_socket_is_turned_away(
    shared_relay: Relay, cast: Cast
) -> None:
    for path in ("", "socket", "a/b/c?x=1&y=%20", "?token=t"):
        with connect(shared_relay.url + path, subprotocols=[Subprotocol("chat")]) as client:
            assert client.subprotocol is None
            client.send(json.dumps(auth_frame("1")))
            assert json.loads(client.recv(DEADLINE_S)) == AUTH_SUCCESS

    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    openings = (
        b"",
        b"\x00" * 300,
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 500,
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
    )
    for opening in openings:
        with socket.create_connection(("127.0.0.1", shared_relay.port), DEADLINE_S) as peer:
            try:
                peer.sendall(opening)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65_536):
                    pass
            except ConnectionError:
                pass  # turned away before it had said everything
    exchange_marker(alice, bob)


VIOLATIONS: dict[str, tuple[int, bytes]] = {
    "no mask": (1002, web_socket_frame(1, b"[]", mask=False)),
    "unknown opcode": (1002, web_socket_frame(3, b"[]")),
    "reserved bit": (1002, web_socket_frame(1, b"[]", head=0xC0)),
    "continues nothing": (1002, web_socket_frame(0, b"[]")),
    "begins another": (
        1002,
        web_socket_frame(1, b"[", head=0) + web_socket_frame(1, b"]"),
    ),
    "ping in fragments": (1002, web_socket_frame(9, b"", head=0)),
    "long ping": (1002, b"\x89\xfe\x01\x00" + b"\x00" * 260),
    "close of one byte": (1002, web_socket_frame(8, b"\x03")),
    "close code for no one to send": (1002, web_socket_frame(8, struct.pack("!H", 1006))),
    "frame of 2^63 - 1 bytes": (1009, b"\x81\xff\x7f" + b"\xff" * 7 + b"mask"),
}


def test_a_violation_of_rfc_6455_closes_that_connection_alone(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    expected = []
    for name, (code, data) in VIOLATIONS.items():
        victim = shared_relay.login(cast.carol)
        # What is on its way when the connection ends is not lost.
        alice.send_message(cast.carol, name)
        victim.send_raw(data)
        assert (name, victim.wait_for_close()) == (name, code)
        alice.expect(ack_1(name, author=cast.alice, to=cast.carol))
        exchange_marker(alice, bob)
        expected.append(delivery(name, author=cast.alice))
    assert shared_relay.login(cast.carol).queued == expected


def close_and_go(client: SheetClient) -> None:
    client.send_raw(WebSocketFrame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
    client.drop()


WAYS_TO_LEAVE: dict[str, Callable[[SheetClient], None]] = {
    "closing in order": SheetClient.close,
    "cutting the connection": SheetClient.drop,
    "closing without waiting": close_and_go,
    "half-closing": SheetClient.half_close,
    "breaking the protocol": lambda client: client.send_raw(b"\xff" * 40),
    "sending too much": lambda client: client.send("x" * 300_000),
    "sending half a frame": lambda client: client.send_raw(b"\x81\xfe\x01"),
}


def test_whichever_way_a_client_leaves_nothing_is_lost_and_no_one_else_notices(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice, carol = shared_relay.logged_in(cast.alice, cast.carol)
    ids = [f"M{number:03}" for number in range(20 * len(WAYS_TO_LEAVE))]
    unsent = list(ids)
    for leave in WAYS_TO_LEAVE.values():
        bob = shared_relay.login(cast.bob)
        batch, unsent = unsent[:20], unsent[20:]
        for message_id in batch[:10]:
            alice.send_message(cast.bob, message_id)
        bob.recv()

        leave(bob)

        for message_id in batch[10:]:
            alice.send_message(cast.bob, message_id)
        alice.expect(*(ack_1(message_id, author=cast.alice, to=cast.bob) for message_id in batch))
        exchange_marker(alice, carol)

    assert [message_id_of(frame) for frame in shared_relay.login(cast.bob).queued] == ids
    exchange_marker(carol, alice)


def test_what_comes_after_a_connection_was_closed_counts_as_never_sent(
    start_relay: RelayStarter,
) -> None:
    """Or a full queue would evict, as sent before, what no one has had (PROTOCOL 2.7)."""
    relay = start_relay(config="[mailbox]\nmax_entries = 1")
    alice = relay.login(ALICE)
    endings: dict[str, tuple[int, Callable[[SheetClient], None]]] = {
        "violation": (1002, lambda client: client.send_raw(web_socket_frame(3, b""))),
        "not-utf8": (1007, lambda client: client.send_text(b"\xff")),
        "too-large": (1009, lambda client: client.send("x" * 300_000)),
    }
    for user, (code, end) in endings.items():
        client = relay.login(user)
        end(client)
        assert (user, client.wait_for_close()) == (user, code)

        alice.send_message(user, "KEPT")
        alice.expect(ack_1("KEPT", author=ALICE, to=user))
        alice.send_message(user, "NO-ROOM")
        alice.expect_error(507, message_id="NO-ROOM")

        assert relay.login(user).queued == [delivery("KEPT", author=ALICE)]


def test_a_message_in_ten_thousand_empty_pieces_is_one_message(
    shared_relay: Relay, cast: Cast
) -> None:
    """The bytes of fragments are bounded; their number costs nothing."""
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    whole = json.dumps(action(element(cast.bob, "M"))).encode()

    alice.send_text(whole[:10], fin=False)
    for _ in range(100):
        alice.send_raw(web_socket_frame(0, b"", head=0) * 100)
    alice.send_rest(whole[10:])

    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    bob.expect(delivery("M", author=cast.alice))
