"""TLS at the relay's own port: whom it shows which certificate, and whom it lets in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.outside.certificates import Authority, Certificate, tls_config
from tests.outside.chromium import executable as chromium
from tests.outside.chromium import open_page
from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, action, auth_frame, element, user_jid
from tests.outside.proxies import executable, haproxy
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import DEADLINE_S, poll_for

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

HOST: Final = "chat.example.org"
OTHER: Final = "other.example.net"

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


class Site:
    """A CA, and certificates for two hosts, in files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = Authority("the root")
        self.middle = Authority("the middle", self.root)
        self.first = self.middle.issue(HOST, "127.0.0.1")
        self.second = self.middle.issue("*.example.net")
        self.pairs = [
            self.first.write(directory, "first"),
            self.second.write(directory, "second"),
        ]
        self.clients = Authority("the clients' CA")
        self.clients_path = directory / "clients.pem"
        self.clients_path.write_bytes(self.clients.pem)
        self.root_path = directory / "root.pem"
        self.root_path.write_bytes(self.root.pem)

    def config(self, more: str = "") -> str:
        return tls_config(*self.pairs, more=more)

    def trusted(self, client: Certificate | None = None) -> ssl.SSLContext:
        context = self.middle.trusted()
        if client is not None:
            context.load_cert_chain(*client.write(self.directory, "client"))
        return context


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class Client:
    """A WebSocket of one thread: a TLS socket of two, as of a blocking client, fails now and then.

    Time passes for it in its calls alone.
    """

    def __init__(self, runner: asyncio.Runner, url: str, trust: ssl.SSLContext, **more: Any):
        self._runner = runner

        async def opened() -> ClientConnection:
            return await connect(
                url,
                ssl=trust,
                server_hostname=HOST,
                open_timeout=DEADLINE_S,
                close_timeout=1,
                proxy=None,
                **more,
            )

        self._socket = runner.run(opened())

    def send(self, text: str) -> None:
        self._runner.run(self._socket.send(text))

    def recv(self) -> str:
        return str(self._runner.run(asyncio.wait_for(self._socket.recv(), DEADLINE_S)))

    def frame(self) -> Any:
        return json.loads(self.recv())

    def echoes(self) -> bool:
        """Whether the relay answers it."""
        self.send("?,,")
        return self.recv().startswith("!")

    def close(self) -> int | None:
        """Close it; return the code of the relay's close frame."""
        self._runner.run(self._socket.close())
        return self._socket.close_code


class Clients:
    """Makes them, and closes them with the test."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self._runner = stack.enter_context(asyncio.Runner())

    def connect(self, url: str, trust: ssl.SSLContext, **more: Any) -> Client:
        client = Client(self._runner, url, trust, **more)
        self.stack.callback(client.close)
        return client


@pytest.fixture
def clients() -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(stack)


def login(relay: Relay, trust: ssl.SSLContext, clients: Clients, user: str = ALICE) -> Client:
    client = clients.connect(relay.url, trust)
    client.send(json.dumps(auth_frame(user_jid(user))))
    assert client.frame() == AUTH_SUCCESS
    assert client.frame()[0] == "q"
    return client


def shown(relay: Relay, trust: ssl.SSLContext, name: str | None = HOST) -> int:
    """The serial number of the certificate that a client sees who asks for `name`."""
    trust.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S) as raw,
        trust.wrap_socket(raw, server_hostname=name) as tls,
    ):
        certificate = tls.getpeercert()
        assert certificate
        return int(str(certificate["serialNumber"]), 16)


def counted(relay: Relay, counter: str) -> int:
    """What the fronts have counted, once they have stopped."""
    relay.ask_to_stop()
    poll_for("the relay to stop", lambda: bool(relay.log.events("front.stopped")))
    return sum(int(line.get(counter, 0)) for line in relay.log.events("front.stopped"))


def test_messages_go_both_ways_large_ones_too(
    start_relay: RelayStarter, site: Site, clients: Clients
) -> None:
    relay = start_relay(workers=1, config=site.config())
    assert relay.url.startswith("wss://")
    alice = login(relay, site.trusted(), clients)
    bob = login(relay, site.trusted(), clients, BOB)
    text = "x" * 60_000

    alice.send(
        json.dumps(action(*(element(user_jid(BOB), f"m{n}", {"text": text}) for n in range(4))))
    )

    for n in range(4):
        delivered = bob.recv()
        assert text in delivered
        assert f"m{n}" in delivered
    assert bob.close() == 1000


def test_a_stop_sends_clients_away_in_order(
    start_relay: RelayStarter, site: Site, clients: Clients
) -> None:
    relay = start_relay(workers=1, config=site.config())
    alice = login(relay, site.trusted(), clients)

    relay.ask_to_stop()

    assert alice.frame()[1]["kind"] == "shutdown"
    with pytest.raises(ConnectionClosed) as closed:
        alice.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


def test_each_client_sees_the_certificate_of_the_name_that_it_asks_for(
    start_relay: RelayStarter, site: Site
) -> None:
    relay = start_relay(workers=1, config=site.config())

    assert shown(relay, site.trusted(), HOST) == site.first.serial
    assert shown(relay, site.trusted(), OTHER) == site.second.serial
    assert shown(relay, site.trusted(), OTHER.upper()) == site.second.serial
    assert shown(relay, site.trusted(), "a.b.example.net") == site.first.serial
    assert shown(relay, site.trusted(), "unknown.example.com") == site.first.serial
    assert shown(relay, site.trusted(), None) == site.first.serial


def test_a_new_certificate_is_shown_soon_and_costs_nobody_the_connection(
    start_relay: RelayStarter, site: Site, clients: Clients
) -> None:
    relay = start_relay(workers=1, config=site.config())
    alice = login(relay, site.trusted(), clients)
    new = site.middle.issue(HOST)

    new.write(site.directory, "first")

    poll_for("the new one", lambda: shown(relay, site.trusted()) == new.serial)
    assert alice.echoes()


def test_a_link_that_leads_to_other_files_is_noticed(start_relay: RelayStarter, site: Site) -> None:
    """As certbot does it."""
    old, new = site.directory / "1", site.directory / "2"
    renewed = site.middle.issue(HOST)
    for directory, certificate in ((old, site.first), (new, renewed)):
        directory.mkdir()
        certificate.write(directory, "it")
    live = site.directory / "live"
    live.symlink_to(old)
    relay = start_relay(workers=1, config=tls_config((live / "it.pem", live / "it.key")))
    assert shown(relay, site.trusted()) == site.first.serial

    (site.directory / "next").symlink_to(new)
    (site.directory / "next").rename(live)

    poll_for("the new one", lambda: shown(relay, site.trusted()) == renewed.serial)


@pytest.mark.parametrize("wrong", ["half", "another key", "empty"])
def test_files_that_cannot_be_used_change_nothing_and_are_told_once(
    start_relay: RelayStarter, site: Site, wrong: str
) -> None:
    relay = start_relay(workers=1, config=site.config())
    path, key_path = site.pairs[0]
    match wrong:
        case "half":
            path.write_bytes(site.middle.issue(HOST).chain[:300])
        case "another key":
            key_path.write_bytes(site.second.key)
        case _:
            path.write_bytes(b"")

    poll_for("a line of it", lambda: bool(relay.log.events("tls.certificates_unusable")))
    assert shown(relay, site.trusted()) == site.first.serial
    good = site.middle.issue(HOST)
    good.write(site.directory, "first")
    poll_for("the good one", lambda: shown(relay, site.trusted()) == good.serial)
    lines = [line["reason"] for line in relay.log.events("tls.certificates_unusable")]
    assert len(lines) == len(set(lines))
    relay.log.expect("tls.certificates_unusable")


def test_a_reload_takes_other_files(start_relay: RelayStarter, site: Site) -> None:
    relay = start_relay(workers=1, config=DEBUG + site.config())
    third = site.middle.issue(HOST)
    pair = third.write(site.directory, "third")

    relay.take(DEBUG + tls_config(pair))

    poll_for("the other one", lambda: shown(relay, site.trusted()) == third.serial)
    relay.config_path.write_text(DEBUG + tls_config((pair[0], site.pairs[0][1])))
    relay.reload()
    poll_for("a line of it", lambda: bool(relay.log.events("settings.refused")))
    assert "is not the key of" in relay.log.events("settings.refused")[0]["reason"]
    assert shown(relay, site.trusted()) == third.serial
    relay.log.expect("settings.refused")


# ----------------------------------------------------------------------------- client certificates


@pytest.mark.parametrize(
    ("mode", "whose", "comes_in"),
    [
        ("required", None, False),
        ("required", "good", True),
        ("required", "strange", False),
        ("optional", None, True),
        ("optional", "good", True),
        ("optional", "strange", False),
    ],
)
def test_a_client_certificate_is_asked_for(
    start_relay: RelayStarter,
    site: Site,
    clients: Clients,
    mode: str,
    whose: str | None,
    comes_in: bool,
) -> None:
    more = f'client_certificates = "{mode}"\nclient_ca_file = "{site.clients_path}"\n'
    relay = start_relay(workers=1, config=site.config(more))
    certificate = None
    if whose is not None:
        authority = site.clients if whose == "good" else Authority("somebody else")
        certificate = authority.issue("a client")

    if comes_in:
        login(relay, site.trusted(certificate), clients)
    else:
        with pytest.raises((OSError, EOFError, WebSocketException)):
            login(relay, site.trusted(certificate), clients)
        assert counted(relay, "tls_handshakes_failed") == 1
        [line] = relay.log.events("tls.failed")
        assert line["last_address"] == "127.0.0.1"
        assert line["last_reason"]


# --------------------------------------------------------------------------------- who is refused


def said_by(relay: Relay, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S) as raw:
        raw.sendall(data)
        said = b""
        while more := raw.recv(4096):
            said += more
        return said


def test_who_speaks_no_tls_hears_so_and_is_counted(start_relay: RelayStarter, site: Site) -> None:
    relay = start_relay(workers=1, config=site.config())

    said = said_by(relay, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"wss://" in said
    assert counted(relay, "handshakes_without_tls") == 1


def test_garbage_that_begins_like_tls_is_counted_and_no_traceback(
    start_relay: RelayStarter, site: Site
) -> None:
    relay = start_relay(workers=1, config=site.config())

    said_by(relay, b"\x16\x03\x01\x00\x05hello" + b"x" * 100)
    said_by(relay, b"\x16" * 30_000)

    assert counted(relay, "tls_handshakes_failed") == 2


def test_a_name_that_is_no_text_is_counted_and_no_traceback(
    start_relay: RelayStarter, site: Site
) -> None:
    relay = start_relay(workers=1, config=site.config())
    outgoing = ssl.MemoryBIO()
    tls = site.trusted().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    odd = outgoing.read().replace(HOST.encode(), b"\xff" * len(HOST))

    assert said_by(relay, odd).startswith(b"\x15")  # an alert

    assert counted(relay, "tls_handshakes_failed") == 1  # and the log is clean, see Relay


def test_health_checks_and_refusals_are_answered_over_tls(
    start_relay: RelayStarter, site: Site
) -> None:
    relay = start_relay(workers=1, config=site.config())
    trust = site.trusted()
    for target, status in (("/readyz", 200), ("/healthz", 200), ("/\0", 400)):
        raw = socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S)
        with trust.wrap_socket(raw, server_hostname=HOST) as tls:
            tls.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            said = b""
            while more := tls.recv(4096):  # up to a close_notify, or this raises
                said += more
        assert said.startswith(f"HTTP/1.1 {status} ".encode())


def test_who_is_turned_away_gets_an_alert_before_any_handshake(
    start_relay: RelayStarter, site: Site, clients: Clients
) -> None:
    bound = "[admission]\nexempt = []\naddress_connections = 1\n"
    relay = start_relay(workers=1, config=bound + site.config())
    login(relay, site.trusted(), clients)

    with pytest.raises(ssl.SSLError, match=r"(?i)internal.error"):
        shown(relay, site.trusted())


def test_half_a_handshake_ends_in_its_time(start_relay: RelayStarter, site: Site) -> None:
    relay = start_relay(workers=1, config="[admission]\nhandshake_s = 0.5\n" + site.config())

    with socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S) as silent:
        hello = client_hello()
        with socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S) as begun:
            begun.sendall(hello)
            while begun.recv(4096):
                pass
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""

    assert counted(relay, "handshakes_overdue") == 2


def client_hello() -> bytes:
    """The first flight of a client."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


PAGE: Final = """
var said = "";
var socket = new WebSocket("wss://127.0.0.1:%d/");
socket.onopen = () => socket.send(%s);
socket.onmessage = (event) => { said += event.data.slice(0, 30) + " "; };
socket.onerror = () => { said += "failed"; };
"""


@pytest.mark.skipif(chromium() is None, reason="needs Chromium")
def test_a_page_logs_in_and_gets_what_waits(
    start_relay: RelayStarter, site: Site, clients: Clients
) -> None:
    relay = start_relay(workers=1, config=site.config())
    alice = login(relay, site.trusted(), clients)
    text = "x" * 40_000
    alice.send(json.dumps(action(element(user_jid(BOB), "M", {"text": text}))))
    assert alice.frame()[1]["ack"] == 1
    program = chromium()
    assert program is not None
    # It trusts the key of this certificate, and no other that it does not know.
    key = site.first.certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()

    with open_page(program, f"--ignore-certificate-errors-spki-list={digest}") as page:
        page.go(f"https://127.0.0.1:{relay.port}/healthz")
        page.run(PAGE % (relay.port, json.dumps(json.dumps(auth_frame(user_jid(BOB))))))
        poll_for("its queue", lambda: '["q"' in str(page.run("said")))

        assert str(page.run("said")).startswith('["auth"')


# ------------------------------------------------------------------------- by openssl's own client


def s_client(relay: Relay, *options: str, said: str = "Q\n") -> str:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{relay.port}", *options]
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    return done.stdout + done.stderr


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_chain_and_the_versions_are_right(
    start_relay: RelayStarter, site: Site, version: str
) -> None:
    relay = start_relay(workers=1, config=site.config())

    said = s_client(
        relay, version, "-servername", HOST, "-CAfile", str(site.root_path), "-verify_hostname",
        HOST, "-showcerts",
    )  # fmt: skip

    assert "Verify return code: 0 (ok)" in said
    assert said.count("BEGIN CERTIFICATE") >= 2
    assert "Compression: NONE" in said or version == "-tls1_3"
    assert "GCM" in said or "CHACHA" in said


@needs_openssl
@pytest.mark.parametrize(
    "options",
    [
        ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
    ],
)
def test_what_is_old_or_weak_is_refused(
    start_relay: RelayStarter, site: Site, options: tuple[str, ...]
) -> None:
    relay = start_relay(workers=1, config=site.config())

    said = s_client(relay, *options)

    assert "alert" in said
    assert counted(relay, "tls_handshakes_failed") == 1


@needs_openssl
def test_nobody_renegotiates(start_relay: RelayStarter, site: Site) -> None:
    relay = start_relay(workers=1, config=site.config())

    said = s_client(relay, "-tls1_2", said="R\n")

    assert "no renegotiation" in said


def test_clients_come_in_while_others_leave_handshakes_half_open(
    start_relay: RelayStarter, site: Site, clients: Clients
) -> None:
    """The small one of the trial `tls-half-open`."""
    admission = "[admission]\naddress_unauthenticated = 0\naddress_connections = 0\n"
    relay = start_relay(workers=1, config=admission + site.config())
    hello = client_hello()
    half_open = []
    for _ in range(200):
        begun = socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S)
        begun.sendall(hello)
        half_open.append(begun)

    login(relay, site.trusted(), clients)

    for begun in half_open:
        begun.close()


def test_of_too_many_handshakes_under_way_the_oldest_is_cut(
    start_relay: RelayStarter, site: Site, clients: Clients
) -> None:
    relay = start_relay(workers=1, config=site.config("handshakes = 16"))
    hello = client_hello()
    with ExitStack() as stack:
        half_open = []
        for _ in range(18):
            begun = socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S)
            half_open.append(stack.enter_context(begun))
            begun.sendall(hello)
            assert begun.recv(1)  # it is under way

        login(relay, site.trusted(), clients)  # one more is
        for begun in half_open[:3]:
            with contextlib.suppress(ConnectionResetError):
                while begun.recv(4096):
                    pass

        for begun in half_open[3:]:
            begun.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # what it does if nothing more has come
                while said := begun.recv(4096):
                    pass
                assert said, "one that is not among the oldest was cut"
    assert counted(relay, "tls_handshakes_crowded_out") == 3


def test_a_certificate_that_has_expired_is_warned_of(start_relay: RelayStarter, site: Site) -> None:
    old = site.middle.issue(HOST, begins=timedelta(days=-3), ends=timedelta(days=-2))
    pair = old.write(site.directory, "old")

    relay = start_relay(workers=1, config=tls_config(pair))

    poll_for("a line of it", lambda: bool(relay.log.events("tls.certificate_warning")))
    [line] = relay.log.events("tls.certificate_warning")
    assert "has expired" in line["reason"]


# ------------------------------------------------------------------------------- passed through


@pytest.mark.skipif(executable("haproxy") is None, reason="needs haproxy")
def test_a_proxy_may_pass_tls_through_and_tell_the_address_ahead_of_it(
    start_relay: RelayStarter, site: Site, clients: Clients
) -> None:
    trust = '[server]\ntrusted_proxies = ["127.0.0.1"]\nproxy_protocol = true\n'
    relay = start_relay(workers=1, config=DEBUG + trust + site.config())
    proxy = clients.stack.enter_context(haproxy(passed_through=relay.port, relay_has_tls=True))
    url = f"wss://127.0.0.1:{proxy.port}"

    def comes_in() -> bool:
        with contextlib.suppress(OSError, EOFError, WebSocketException):
            return clients.connect(url, site.trusted()).echoes()
        return False

    poll_for("HAProxy to find it ready, by a check over TLS", comes_in)
    client = clients.connect(url, site.trusted(), local_addr=("127.0.0.5", 0))
    assert client.echoes()
    poll_for(
        "the log to tell its address",
        lambda: any(
            line["address"].startswith("127.0.0.5") for line in relay.log.events("client.connected")
        ),
    )


@pytest.mark.parametrize("pieces", [1, 3, 200])
def test_the_proxy_protocol_may_come_in_one_piece_with_tls(
    start_relay: RelayStarter, site: Site, pieces: int
) -> None:
    trust = '[server]\ntrusted_proxies = ["127.0.0.1"]\nproxy_protocol = true\n'
    relay = start_relay(workers=1, config=trust + site.config())
    preface = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 443\r\n"
    raw = preface + client_hello()
    size = -(-len(raw) // pieces)

    with socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(raw), size):
            peer.sendall(raw[at : at + size])
        assert peer.recv(5)[:1] == b"\x16"  # its answer to the ClientHello
