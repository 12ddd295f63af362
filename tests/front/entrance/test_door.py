"""What becomes of a connection until the request of its handshake is whole."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from websockets.server import ServerProtocol

from relay.front.admission import Visit
from relay.front.connection import Connection
from relay.front.entrance.door import LINGER_BYTES, LINGER_MS, Door
from relay.front.entrance.entrance import MOST_LINGERING, Entrance
from relay.front.entrance.refusals import LOG_EVERY_S, MOST_SHOWN
from relay.front.front import Front
from relay.front.session import Session
from relay.front.websocket import WebSocket
from relay.settings.tables import AdmissionSettings, LimitSettings, ProxySettings

from ..front_harness import FakeLoop, front_on

if TYPE_CHECKING:
    import asyncio

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PING_TEXT = b"\x81\x83\0\0\0\0?,,"  # answered before a login too (E13)


class FakeTransport:
    """A transport of a peer at `address`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.protocol: asyncio.Protocol | None = None
        self.written = bytearray()
        self.has_ended = False
        self.aborted = False

    def get_extra_info(self, _: str) -> tuple[str, int] | None:
        return (self.address, 4711) if self.address else None

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, **_: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        assert not self.has_ended
        self.written += data

    def write_eof(self) -> None:
        self.has_ended = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Peer:
    """Somebody who connects."""

    def __init__(self, entrance: Entrance, address: str) -> None:
        self.transport = FakeTransport(address)
        self.transport.protocol = Door(entrance)
        self.transport.protocol.connection_made(cast("asyncio.Transport", self.transport))

    def send(self, data: bytes) -> None:
        assert self.transport.protocol is not None
        self.transport.protocol.data_received(data)

    def go(self) -> None:
        assert self.transport.protocol is not None
        self.transport.protocol.connection_lost(None)

    @property
    def client(self) -> Connection | None:
        """Its connection as a client, if it is one."""
        protocol = self.transport.protocol
        return protocol if isinstance(protocol, Connection) else None

    @property
    def status(self) -> bytes:
        """The status of the HTTP response that it got, b"" for none."""
        return bytes(self.transport.written[9:12])


class Scene:
    """A front with a clock that the test turns."""

    def __init__(self, front: Front, loop: FakeLoop) -> None:
        self.front, self.loop = front, loop
        self.now_ms = front.hub.clock_ms()
        front.hub.clock_ms = lambda: self.now_ms  # type: ignore[method-assign]
        self.entrance = Entrance(front.hub)

    def adopt(self, connections: int = 100, **settings: Any) -> None:
        hub = self.front.hub
        hub.settings = replace(
            hub.settings,
            limits=LimitSettings(connections=connections),
            admission=replace(AdmissionSettings(), **settings),
        )
        self.entrance.adopt()

    def trust(self, *proxies: str, **settings: Any) -> None:
        hub = self.front.hub
        server = replace(hub.settings.server, trusted_proxies=proxies, **settings)
        hub.settings = replace(hub.settings, server=server)
        self.entrance.adopt()

    def connect(self, address: str = "198.51.100.1") -> Peer:
        return Peer(self.entrance, address)

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        for each in self.front.hub.wheel.expire(self.now_ms):
            each.on_timer(self.now_ms)

    def counted(self) -> dict[str, int]:
        return dict(self.front.hub.counters)


@pytest.fixture
def scene() -> Iterator[Scene]:
    loop = FakeLoop()
    with front_on(loop) as front:
        yield Scene(front, loop)


@pytest.mark.parametrize("at", [1, 4, 40, -5, -4, -3, -2, -1])
def test_a_request_may_come_in_pieces_and_with_frames_behind_it(scene: Scene, at: int) -> None:
    peer = scene.connect()
    start = at % len(REQUEST)

    peer.send(REQUEST[:start])
    assert peer.client is None
    peer.send(REQUEST[start:] + PING_TEXT)
    scene.loop.turn()

    assert peer.status == b"101"
    assert peer.client is not None
    assert bytes(peer.transport.written).split(b"\r\n\r\n")[1][2:3] == b"!"
    peer.send(PING_TEXT)


def test_a_request_may_come_byte_by_byte(scene: Scene) -> None:
    peer = scene.connect()
    for at in range(len(REQUEST)):
        peer.send(REQUEST[at : at + 1])
    scene.loop.turn()

    assert peer.status == b"101"


def test_a4_a_request_that_is_too_large_is_refused_and_let_go(scene: Scene) -> None:
    scene.adopt(handshake_bytes=2048)
    peer = scene.connect()
    head = b"GET / HTTP/1.1\r\n"
    while len(head) < 2048:
        peer.send(head[-16:] if len(head) > 16 else head)
        head += b"X-Header: 12345\r\n"[:16]
    assert peer.status == b""

    peer.send(b"x" * 100)

    assert peer.status == b"431"
    assert peer.transport.has_ended
    assert scene.counted() == {"handshakes_too_large": 1}
    peer.send(b"x" * LINGER_BYTES)
    assert not peer.transport.aborted
    peer.send(b"x")
    assert peer.transport.aborted


@pytest.mark.parametrize(("size", "status"), [(0, b"101"), (1, b"431")])
def test_a4_a_whole_request_is_measured_too(scene: Scene, size: int, status: bytes) -> None:
    scene.adopt(handshake_bytes=1024)
    filler = b"Cookie: " + b"x" * (1024 - len(REQUEST) - 10 + size) + b"\r\n"
    peer = scene.connect()

    peer.send(REQUEST[:-2] + filler + b"\r\n" + PING_TEXT)
    scene.loop.turn()

    assert peer.status == status


@pytest.mark.parametrize("opening", [b"\x16\x03\x01\x02\0\x01", b"POST / HTTP/1.1\r\n", b"\r\n"])
def test_what_is_no_request_is_refused_at_once(scene: Scene, opening: bytes) -> None:
    """As TLS is, where a client takes the port for one of `wss`."""
    peer = scene.connect()

    peer.send(opening)

    assert peer.status == b"400"
    assert scene.counted() == {"handshakes_malformed": 1}


def test_a_request_that_asks_for_no_websocket_is_counted(scene: Scene) -> None:
    peer = scene.connect()

    peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    scene.loop.turn()

    assert peer.status == b"426"
    assert scene.counted() == {"handshakes_malformed": 1}


def test_a_health_check_has_no_session_and_is_answered_at_once(scene: Scene) -> None:
    peer = scene.connect()

    peer.send(b"OPTIONS /healthz HTTP/1.0\r\n\r\n")

    assert peer.client is None
    assert peer.status == b"200"
    assert peer.transport.written.endswith(b"\r\n\r\nserving\n")
    assert peer.transport.has_ended
    assert scene.counted() == {"health_checks": 1}
    assert not scene.front.hub.last_number
    scene.wait(LINGER_MS + 100)
    assert peer.transport.aborted


@pytest.mark.parametrize("at", [1, 5, 12, -1])
def test_a_health_check_may_come_in_pieces(scene: Scene, at: int) -> None:
    raw = b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    peer = scene.connect()

    peer.send(raw[:at])
    assert peer.status == b""
    peer.send(raw[at:])

    assert peer.status == b"200"


def test_a_front_that_misses_a_worker_serves_and_is_not_ready(scene: Scene) -> None:
    """This one has no worker at all."""
    peer = scene.connect()

    peer.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")

    assert peer.status == b"503"
    assert peer.transport.written.endswith(b"\r\n\r\nwaiting\n")
    assert scene.counted() == {"health_checks_failed": 1}


def test_a_health_check_from_where_too_many_come_is_answered_and_lets_nobody_in(
    scene: Scene,
) -> None:
    scene.adopt(address_connections=1)
    scene.connect()
    late = scene.connect()

    late.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")

    assert late.status == b"200"
    assert scene.counted() == {"address_connections_refused": 1, "health_checks": 1}
    late.send(REQUEST)  # it has had its answer
    assert late.client is None
    halved = scene.connect()
    halved.send(b"GET /healthz HTTP/1.1\r\nHo")
    assert halved.status == b"429"  # nothing is kept of whom is turned away
    assert scene.connect().status == b""


@pytest.mark.parametrize("request_line", [b"HEAD / HTTP/1.1", b"OPTIONS /x HTTP/1.1"])
def test_other_methods_are_for_health_checks_alone(scene: Scene, request_line: bytes) -> None:
    peer = scene.connect()

    peer.send(request_line + REQUEST[REQUEST.index(b"\r\n") :])

    assert peer.status == b"400"
    assert scene.counted() == {"handshakes_malformed": 1}


def test_a_handshake_is_taken_at_any_other_path(scene: Scene) -> None:
    peer = scene.connect()

    peer.send(REQUEST.replace(b"GET /", b"GET /chat?x=1"))
    scene.loop.turn()

    assert peer.status == b"101"


PAGE = REQUEST[:-2] + b"Origin: http://%s\r\n\r\n"


def test_a_page_of_another_origin_is_refused_before_it_has_a_session(scene: Scene) -> None:
    peer = scene.connect()

    with capture_logs() as lines:
        peer.send(PAGE % b"evil.example" + PING_TEXT)

    assert peer.client is None
    assert peer.status == b"403"
    assert peer.transport.written.endswith(b"\r\n\r\nForbidden\n")
    assert scene.counted() == {"origins_refused": 1}
    [line] = lines
    assert line["event"] == "origins.refused"
    assert line["last_origin"] == "http://evil.example"
    assert line["last_reason"] == "another host than the one connected to"
    assert line["last_address"] == "198.51.100.1"


def test_a_page_of_the_relays_own_host_comes_in(scene: Scene) -> None:
    peer = scene.connect()

    peer.send(PAGE % b"x")
    scene.loop.turn()

    assert peer.status == b"101"


def test_the_allowed_origins_hold_as_soon_as_they_are_read(scene: Scene) -> None:
    hub = scene.front.hub
    hub.settings = replace(
        hub.settings, server=replace(hub.settings.server, allowed_origins=("http://good.example",))
    )
    scene.entrance.adopt()
    good, own = scene.connect(), scene.connect()

    good.send(PAGE % b"good.example")
    own.send(PAGE % b"x")
    scene.loop.turn()

    assert (good.status, own.status) == (b"101", b"403")


def test_many_strange_pages_are_few_lines_and_short_ones(scene: Scene) -> None:
    with capture_logs() as lines:
        for _ in range(50):
            scene.connect().send(PAGE % (b"e" * 1000))
        scene.loop.now_s += LOG_EVERY_S
        scene.loop.turn()

    assert [line["origins_refused"] for line in lines] == [1, 49]
    assert all(len(line["last_origin"]) == MOST_SHOWN for line in lines)


PROXY, CLIENT, LIE = "10.0.0.7", "192.0.2.1", "203.0.113.9"
FOR = "X-Forwarded-For: {}\r\n\r\n"
PREFACE = f"PROXY TCP4 {CLIENT} {PROXY} 56324 9011\r\n".encode()
HEALTH = b"GET /healthz HTTP/1.1\r\n"


def sent_for(*addresses: str, request: bytes = REQUEST[:-2]) -> bytes:
    return request + FOR.format(", ".join(addresses)).encode()


def address_of(peer: Peer) -> str:
    assert peer.client is not None
    return peer.client._peer().address  # which a login's endpoint is told


def test_a_request_of_a_trusted_proxy_counts_for_whom_it_was_sent(scene: Scene) -> None:
    scene.trust(PROXY)
    scene.adopt(address_connections=1)
    first, second, other = (scene.connect(PROXY) for _ in range(3))

    first.send(sent_for(LIE, CLIENT))
    with capture_logs() as lines:
        second.send(sent_for(CLIENT))
    other.send(sent_for(LIE))
    scene.loop.turn()

    assert (first.status, second.status, other.status) == (b"101", b"429", b"101")
    assert address_of(first) == CLIENT
    assert lines[0]["last_address"] == CLIENT
    scene.wait(LINGER_MS + 100)
    assert second.transport.aborted
    for peer in (first, second, other):
        peer.go()
    again = scene.connect(PROXY)
    again.send(sent_for(CLIENT))
    assert again.client is not None


def named(*users: str, name: str = "X-Remote-User", request: bytes = REQUEST[:-2]) -> bytes:
    """A request that says who its user is."""
    return request + "".join(f"{name}: {user}\r\n" for user in users).encode() + b"\r\n"


def user_of(peer: Peer) -> str:
    assert peer.client is not None
    return peer.client._peer().named  # which a login is checked by


@pytest.mark.parametrize(
    ("said", "user"),
    [
        (named("asha"), "asha"),
        (named(" asha \t"), "asha"),
        (named("asha", name="x-REMOTE-user"), "asha"),
        (named("asha", "asha"), ""),
        (named("asha", "bob"), ""),
        (named(""), ""),
        (named(), ""),
        (named("asha", name="X_Remote_User"), ""),
        (named("asha", name="X-Remote-User-2"), ""),
    ],
)
def test_a_trusted_proxy_names_a_user_once(scene: Scene, said: bytes, user: str) -> None:
    scene.trust(PROXY)
    peer = scene.connect(PROXY)

    peer.send(said)

    assert user_of(peer) == user


def test_the_header_that_names_a_user_is_a_setting(scene: Scene) -> None:
    hub = scene.front.hub
    hub.settings = replace(hub.settings, auth_proxy=ProxySettings(header="Remote-User"))
    scene.trust(PROXY)
    first, second = scene.connect(PROXY), scene.connect(PROXY)

    first.send(named("asha", name="Remote-User"))
    second.send(named("asha"))

    assert (user_of(first), user_of(second)) == ("asha", "")


def test_nobody_else_names_a_user(scene: Scene) -> None:
    scene.trust(PROXY)
    stranger = scene.connect()

    stranger.send(named("asha"))

    assert user_of(stranger) == ""


@pytest.mark.parametrize(
    ("preface", "address"),
    [
        (PREFACE, CLIENT),
        (b"PROXY UNKNOWN\r\n", PROXY),  # of a client that came by a Unix socket, for one
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x00\0\0", PROXY),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0", PROXY),
    ],
)
def test_what_stands_behind_a_proxy_protocol_is_the_clients_own_word(
    scene: Scene, preface: bytes, address: str
) -> None:
    scene.trust(PROXY, proxy_protocol=True)
    liar, namer = scene.connect(PROXY), scene.connect(PROXY)

    liar.send(preface + sent_for(LIE))
    namer.send(preface + named("asha"))

    assert address_of(liar) == address
    assert user_of(namer) == ""


def test_what_anybody_else_says_of_addresses_is_nothing(scene: Scene) -> None:
    scene.trust(PROXY)
    stranger = scene.connect()

    stranger.send(sent_for(CLIENT))

    assert address_of(stranger) == "198.51.100.1"


def test_those_of_a_proxy_are_bounded_before_it_is_known_whose_they_are(scene: Scene) -> None:
    scene.trust(PROXY)
    scene.adopt(unauthenticated=2, handshake_s=3.0)
    silent, slow = scene.connect(PROXY), scene.connect(PROXY)
    slow.send(b"GET / HTTP/1.1\r\n")
    late = scene.connect(PROXY)

    late.send(sent_for(CLIENT))

    assert late.status == b"503"
    scene.wait(3_200)
    assert silent.transport.aborted
    assert slow.transport.aborted


def test_a_proxys_header_that_cannot_be_read_is_refused(scene: Scene) -> None:
    scene.trust(PROXY)
    peer = scene.connect(PROXY)

    with capture_logs() as lines:
        peer.send(sent_for(CLIENT, "garbage"))

    assert peer.status == b"400"
    assert scene.counted() == {"proxy_headers_refused": 1}
    [line] = lines
    assert line["event"] == "proxies.refused"
    assert line["last_reason"] == "X-Forwarded-For cannot be read"
    assert line["last_address"] == PROXY


def test_a_health_check_by_a_proxy_is_its_own_or_a_clients(scene: Scene) -> None:
    scene.trust(PROXY)
    scene.adopt(address_handshakes_burst=1)
    own = [scene.connect(PROXY) for _ in range(2)]
    clients = [scene.connect(PROXY) for _ in range(2)]

    for peer in own:
        peer.send(HEALTH + b"\r\n")
    for peer in clients:
        peer.send(sent_for(CLIENT, request=HEALTH))

    assert [peer.status for peer in own + clients] == [b"200"] * 4
    assert scene.counted() == {"health_checks": 4, "address_handshakes_refused": 2}
    late = scene.connect(PROXY)
    late.send(sent_for(CLIENT))
    assert late.status == b"429"


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_the_proxy_protocol_stands_before_the_request(scene: Scene, pieces: int) -> None:
    scene.trust(PROXY, proxy_protocol=True)
    peer = scene.connect(PROXY)
    raw = PREFACE + sent_for(LIE) + PING_TEXT  # which is the client's own word
    size = -(-len(raw) // pieces)

    for at in range(0, len(raw), size):
        peer.send(raw[at : at + size])
    scene.loop.turn()

    assert peer.status == b"101"
    assert address_of(peer) == CLIENT
    assert bytes(peer.transport.written).split(b"\r\n\r\n")[1][2:3] == b"!"


def test_a_proxy_behind_another_one_is_asked_for_whom_it_was_sent(scene: Scene) -> None:
    scene.trust(PROXY, "192.0.2.0/24", proxy_protocol=True)
    peer = scene.connect(PROXY)

    peer.send(PREFACE + sent_for(LIE))

    assert address_of(peer) == LIE


@pytest.mark.parametrize("said", [REQUEST, b"PROXY nobody\r\n" + REQUEST, b"\x16\x03\x01"])
def test_a_proxy_that_is_to_speak_the_protocol_must(scene: Scene, said: bytes) -> None:
    scene.trust(PROXY, proxy_protocol=True)
    peer = scene.connect(PROXY)

    with capture_logs() as lines:
        peer.send(said)

    assert peer.status == b"400"
    assert scene.counted() == {"proxy_headers_refused": 1}
    assert lines[0]["last_reason"] == "no PROXY header"


@pytest.mark.parametrize(("address", "is_on"), [("198.51.100.1", True), (PROXY, False)])
def test_nobody_else_may_speak_it(scene: Scene, address: str, is_on: bool) -> None:
    scene.trust(PROXY, proxy_protocol=is_on)
    peer = scene.connect(address)

    peer.send(PREFACE + REQUEST)

    assert peer.status == b"400"
    assert scene.counted() == {"handshakes_malformed": 1}


def test_who_comes_by_the_protocol_is_turned_away_for_its_address(scene: Scene) -> None:
    scene.trust(PROXY, proxy_protocol=True)
    scene.adopt(address_connections=1)
    first, whole, parted, check = (scene.connect(PROXY) for _ in range(4))
    first.send(PREFACE)

    whole.send(PREFACE + REQUEST)
    parted.send(PREFACE)
    assert parted.status == b""
    parted.send(REQUEST)
    check.send(PREFACE + HEALTH + b"\r\n")
    first.send(REQUEST)
    scene.loop.turn()

    statuses = [peer.status for peer in (first, whole, parted, check)]
    assert statuses == [b"101", b"429", b"429", b"200"]


def test_a_request_behind_the_proxy_protocol_is_bounded_as_ever(scene: Scene) -> None:
    scene.trust(PROXY, proxy_protocol=True)
    scene.adopt(handshake_bytes=1024)
    peer = scene.connect(PROXY)

    peer.send(PREFACE + b"GET / HTTP/1.1\r\nX: " + b"x" * 1024)

    assert peer.status == b"431"


def test_a4_who_says_too_little_in_its_time_is_cut_and_counted(scene: Scene) -> None:
    scene.adopt(handshake_s=3.0)
    peer = scene.connect()
    for _ in range(29):
        peer.send(b"GET / HTTP/1.1\r\nX: " if not _ else b"y")
        scene.wait(100)
    assert not peer.transport.aborted

    scene.wait(200)

    assert peer.transport.aborted
    assert scene.counted() == {"handshakes_overdue": 1}


def test_2_2_5_the_time_to_log_in_counts_from_connecting(scene: Scene) -> None:
    peer = scene.connect()
    scene.wait(9_000)
    peer.send(REQUEST)
    scene.loop.turn()

    scene.wait(20_900)
    assert not peer.client or peer.client.session.is_read
    scene.wait(300)

    assert peer.client is not None
    assert not peer.client.session.is_read


@pytest.mark.parametrize(
    ("settings", "status", "counter"),
    [
        ({"connections": 2}, b"503", "connections_refused"),
        ({"unauthenticated": 2}, b"503", "unauthenticated_refused"),
        ({"address_connections": 2}, b"429", "address_connections_refused"),
        ({"address_unauthenticated": 2}, b"429", "address_unauthenticated_refused"),
        ({"address_handshakes_burst": 2}, b"429", "address_handshakes_refused"),
    ],
)
def test_who_is_turned_away_hears_why_and_when_to_come_again(
    scene: Scene, settings: dict[str, int], status: bytes, counter: str
) -> None:
    scene.adopt(**settings)
    for _ in range(2):
        scene.connect().send(REQUEST)
    late = scene.connect()
    assert late.status == b""  # a request comes first

    late.send(REQUEST)

    assert late.status == status
    assert b"\r\nRetry-After: 5\r\n" in late.transport.written
    assert late.transport.has_ended
    assert scene.counted() == {counter: 1}
    scene.wait(LINGER_MS + 100)
    assert late.transport.aborted


def test_c5_who_is_turned_away_takes_no_more_than_its_share_of_descriptors(scene: Scene) -> None:
    scene.adopt(connections=1)
    scene.connect()
    late = [scene.connect() for _ in range(MOST_LINGERING + 2)]

    assert [peer.transport.aborted for peer in late] == [True, True] + [False] * MOST_LINGERING
    for peer in late:
        peer.go()
    again = scene.connect()
    assert not again.transport.aborted


def test_the_log_tells_who_is_turned_away_a_line_at_a_time(scene: Scene) -> None:
    scene.adopt(connections=1)
    scene.connect()
    with capture_logs() as lines:
        for _ in range(5):
            scene.connect()
        assert [line["connections_refused"] for line in lines] == [1]
        scene.loop.now_s += LOG_EVERY_S
        scene.loop.turn()
        assert [line["connections_refused"] for line in lines] == [1, 4]
        scene.loop.now_s += LOG_EVERY_S
        scene.loop.turn()
        assert len(lines) == 2
        scene.connect()
    assert len(lines) == 3
    assert lines[1]["event"] == "connections.refused"
    assert lines[1]["last_address"] == "198.51.100.1"


def test_whoever_goes_makes_room_from_wherever_it_is(scene: Scene) -> None:
    scene.adopt(connections=3, handshake_bytes=1024)
    silent, client, refused = scene.connect(), scene.connect(), scene.connect()
    client.send(REQUEST)
    refused.send(b"GET /" + b"x" * 1024)
    turned_away = scene.connect()

    for peer in (silent, client, refused, turned_away):
        peer.go()

    for _ in range(3):
        peer = scene.connect()
        peer.send(REQUEST)
        scene.loop.turn()
        assert peer.status == b"101"


def test_who_is_at_a_door_is_cut_when_the_front_stops(scene: Scene) -> None:
    silent, client = scene.connect(), scene.connect()
    client.send(REQUEST)

    scene.entrance.close()

    assert silent.transport.aborted
    assert not client.transport.aborted


@pytest.mark.slow
@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nX: " + b"x" * 5000, REQUEST])
def test_a4_nothing_is_left_of_a_connection_for_the_garbage_collector(
    scene: Scene, said: bytes
) -> None:
    """It hardly ever looks (`settle`): what refers to itself would stay for hours."""

    def visit(*, ends_stream: bool) -> None:
        peer = scene.connect()
        if said:
            peer.send(said)
            scene.loop.turn()
        assert peer.transport.protocol is not None
        if ends_stream:
            peer.transport.protocol.eof_received()
            scene.loop.turn()
        peer.go()
        peer.transport.protocol = None

    gc.collect()
    gc.disable()
    try:
        before = objects_of_connections()
        visit(ends_stream=False)
        visit(ends_stream=True)
        scene.loop.turn()
        assert objects_of_connections() == before
    finally:
        gc.enable()


def objects_of_connections() -> Counter[str]:
    """Count what there is of connections; `gc.collect` does not count what it has closed."""
    kinds = (Door, Connection, Session, Visit, WebSocket, ServerProtocol, FakeTransport)
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))
