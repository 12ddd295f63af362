"""One connection with a NATS server: with real ones, and with servers that break the rules."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cluster import letters, natswire
from relay.cluster.natswire import Login, MessageTooLarge, Server, Wire, WireLost
from relay.errors import SettingsError
from tests.outside.certificates import Authority
from tests.outside.waiting import DEADLINE_S, poll_for

from .engines import PASSWORD, Engines
from .oddserver import INFO, OddServer

pytestmark = pytest.mark.slow


@pytest.fixture
def other(engines: Engines) -> Iterator[Wire]:
    """A connection by another server than that of `wire`."""
    other = engines.wire(1)
    yield other
    other.close()


def receive_from(wire: Wire, number: int) -> list[natswire.Message]:
    """Return that many messages."""
    messages: list[natswire.Message] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while len(messages) < number:
        assert time.monotonic() < deadline_s, f"{len(messages)} of {number} came"
        messages += wire.receive(0.1)
    return messages


def listen(wire: Wire, subject: str, *, heard_by: Wire) -> int:
    """Subscribe, and wait until the server of the other one knows of it."""
    sid = wire.subscribe(subject)

    def is_known() -> bool:
        heard_by.publish(subject, b"are you there?")
        heard_by.flush()
        return any(each.sid == sid for each in wire.receive(0.05))

    poll_for("the subscription is known", is_known)
    while wire.receive(0.2):
        pass
    return sid


def send_all(wire: Wire) -> None:
    """Send what is gathered, until the socket has taken all of it."""
    deadline_s = time.monotonic() + DEADLINE_S
    wire.flush()
    while wire.has_unsent:
        assert time.monotonic() < deadline_s
        wire.receive(0.01)


def publish(wire: Wire, payload: bytes, number: int) -> None:
    for _ in range(number):
        wire.publish("a", payload)


# --- messages ---------------------------------------------------------------------------------


def test_what_one_publishes_the_other_receives_in_order(wire: Wire, other: Wire) -> None:
    sid = listen(wire, "order", heard_by=other)

    for number in range(500):
        other.publish("order", b"%d" % number, headers={"Number": str(number)})
    other.flush()

    messages = receive_from(wire, 500)
    assert [each.payload for each in messages] == [b"%d" % number for number in range(500)]
    assert {(each.sid, each.subject, each.status) for each in messages} == {(sid, "order", 0)}
    assert messages[7].headers["Number"] == "7"


@pytest.mark.parametrize("size", [0, 1, 16_384, 1_000_000, 8 * 1024 * 1024])
def test_a_message_of_any_size_comes_whole(wire: Wire, other: Wire, size: int) -> None:
    listen(wire, "size", heard_by=other)
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    other.publish("size", payload, reply="there")
    send_all(other)

    (message,) = receive_from(wire, 1)
    assert (message.payload == payload, message.reply) == (True, "there")


def test_headers_count_against_the_largest_message(wire: Wire) -> None:
    wire.publish("size", bytes(wire.max_payload))
    with pytest.raises(MessageTooLarge, match=f"max_payload={wire.max_payload}"):
        wire.publish("size", bytes(wire.max_payload), headers={"A": "1"})
    with pytest.raises(MessageTooLarge):
        wire.publish("size", bytes(wire.max_payload - 17), headers={"A": "1"})
    wire.publish("size", bytes(wire.max_payload - 18), headers={"A": "1"})

    # It is still one that may talk.
    assert wire.request("nobody.is.here", timeout_s=5).status == 503


def test_a_request_is_answered_and_what_comes_meanwhile_is_kept(wire: Wire, other: Wire) -> None:
    listen(other, "questions", heard_by=wire)
    listen(wire, "news", heard_by=other)

    def answer() -> None:
        (question,) = receive_from(other, 1)
        other.publish("news", b"1")
        other.publish(question.reply, question.payload[::-1])
        other.publish("news", b"2")
        other.flush()

    answering = threading.Thread(target=answer)
    answering.start()
    got = wire.request("questions", b"abc", headers={"A": "1"}, timeout_s=DEADLINE_S)
    answering.join()

    assert got.payload == b"cba"
    assert [each.payload for each in receive_from(wire, 2)] == [b"1", b"2"]


def test_kept_messages_are_input_though_the_descriptor_is_silent(wire: Wire, other: Wire) -> None:
    listen(wire, "kept", heard_by=other)
    assert not wire.has_input
    other.publish("kept", b"1")
    other.flush()

    poll_for(
        "it came while a request waited",
        lambda: wire.request("nobody.is.here", timeout_s=5).status == 503 and wire.has_input,
    )

    assert [each.payload for each in wire.receive()] == [b"1"]
    assert not wire.has_input


def test_a_request_without_an_answer_ends_in_time_and_its_late_answer_is_no_other(
    wire: Wire, other: Wire
) -> None:
    listen(other, "slow", heard_by=wire)
    began_s = time.monotonic()

    with pytest.raises(TimeoutError):
        wire.request("slow", timeout_s=0.2)

    assert 0.2 <= time.monotonic() - began_s < 2
    (question,) = receive_from(other, 1)
    other.publish(question.reply, b"late")
    other.flush()
    poll_for("it came and was dropped", lambda: wire.receive(0.1) == [] and wire.late_answers == 1)


def test_nobody_listens_is_said_at_once(wire: Wire) -> None:
    assert wire.request("nobody.is.here", timeout_s=DEADLINE_S).status == 503


def test_replies_to_an_inbox_come_by_receive(wire: Wire, other: Wire) -> None:
    listen(other, "echo", heard_by=wire)
    inbox = wire.new_inbox()
    wire.publish("echo", b"x", reply=inbox)
    wire.flush()

    (question,) = receive_from(other, 1)
    other.publish(question.reply, b"y")
    other.flush()

    (reply,) = receive_from(wire, 1)
    assert (reply.subject, reply.payload) == (inbox, b"y")


def test_an_ended_subscription_is_silent(wire: Wire, other: Wire) -> None:
    sid = listen(wire, "ended", heard_by=other)
    stays = listen(wire, "stays", heard_by=other)

    wire.unsubscribe(sid)
    other.publish("ended", b"1")
    other.publish("stays", b"2")
    other.flush()

    assert [each.sid for each in receive_from(wire, 1)] == [stays]


def test_a_poller_is_woken_for_whatever_comes(wire: Wire, other: Wire) -> None:
    listen(wire, "poll", heard_by=other)
    poll = select.poll()
    poll.register(wire, select.POLLIN)
    sent = [b"x" * size for size in (1, 40_000, 3, 200_000, 0)]
    for payload in sent:
        other.publish("poll", payload)
    other.flush()
    received: list[bytes] = []

    # As a loop does: to wait only where nothing is to be had, and to be woken for the rest.
    deadline_s = time.monotonic() + DEADLINE_S
    while len(received) < len(sent):
        assert time.monotonic() < deadline_s
        if not wire.has_input:
            poll.poll(1000)
        other.flush()
        received += [each.payload for each in wire.receive()]

    assert received == sent


# --- who is let in ----------------------------------------------------------------------------


def test_a_wrong_password_is_refused_and_never_shown(engines: Engines) -> None:
    wrong = Login(
        user="relay",
        password="a secret that is wrong",
        ca=engines.login.ca,
        certificate=engines.login.certificate,
        key=engines.login.key,
    )

    with pytest.raises(WireLost, match="Authorization Violation") as refused:
        Wire(engines.servers[:1], wrong, name="test")

    assert "secret" not in str(refused.value) + repr(wrong)
    assert PASSWORD not in repr(engines.login)


def test_a_server_of_another_authority_is_not_trusted(engines: Engines) -> None:
    stranger = Login(user="relay", password=PASSWORD, ca=Authority().pem.decode())

    with pytest.raises(WireLost, match="certificate is refused"):
        Wire(engines.servers[:1], stranger, name="test")


def test_one_without_a_certificate_is_not_let_in(engines: Engines) -> None:
    bare = Login(user="relay", password=PASSWORD, ca=engines.login.ca)

    with pytest.raises(WireLost, match=r"certificate required|ended|reset|pipe"):
        Wire(engines.servers[:1], bare, name="test")


def test_what_is_no_pem_is_said_to_be_none(engines: Engines) -> None:
    for login in (
        Login(user="u", password="p", ca="no PEM"),
        Login(user="u", password="p", ca=engines.login.ca, certificate="no PEM", key="none"),
    ):
        with pytest.raises(SettingsError, match="PEM"):
            Wire(engines.servers, login, name="test")


def test_the_first_server_that_answers_is_taken(engines: Engines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = Server("127.0.0.1", silent.getsockname()[1])
        began_s = time.monotonic()

        wire = Wire([nobody, engines.servers[1]], engines.login, name="test", connect_s=1.0)

        assert wire.server_name == engines.names[1]
        assert 1.0 <= time.monotonic() - began_s < 4
        wire.close()


def test_servers_that_begin_in_the_clear_are_served_over_tls_too(tmp_path: Path) -> None:
    with Engines(tmp_path, 1, tls_first=False) as engines:
        wire = engines.wire()

        assert wire.request("nobody.is.here", timeout_s=5).status == 503
        wire.close()


def test_none_of_the_servers_answers(engines: Engines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = Server("127.0.0.1", silent.getsockname()[1])

        with pytest.raises(WireLost, match=f":{nobody.port}: it does not answer"):
            Wire([nobody], engines.login, name="test", connect_s=0.3)


# --- servers that break, or are broken ----------------------------------------------------------


def test_a_killed_server_ends_the_wire(tmp_path: Path) -> None:
    with Engines(tmp_path, 1) as engines:
        wire = engines.wire()
        sid = wire.subscribe("a")
        wire.publish("a", b"1")
        assert receive_from(wire, 1)[0].sid == sid

        engines.kill(0)

        with pytest.raises(WireLost):
            wire.receive(DEADLINE_S)
        with pytest.raises(WireLost):
            wire.flush()
        with pytest.raises(WireLost):
            wire.publish("a", b"")
        with pytest.raises(WireLost):
            wire.subscribe("a")
        assert wire.has_input  # so that nobody waits for it
        wire.close()


def test_a_frozen_server_is_given_up_within_three_seconds(tmp_path: Path) -> None:
    with Engines(tmp_path, 1) as engines:
        wire = engines.wire()
        engines.freeze(0)
        began_s = time.monotonic()

        with pytest.raises(WireLost, match="sign of life"):
            wire.receive(DEADLINE_S)

        assert 1.9 < time.monotonic() - began_s < 4.5
        engines.thaw(0)
        wire.close()


def test_an_idle_wire_stays(wire: Wire) -> None:
    assert wire.receive(4.5) == []
    assert wire.request("nobody.is.here", timeout_s=5).status == 503


def test_what_came_before_the_end_is_returned_first(tmp_path: Path) -> None:
    def script(connection: ssl.SSLSocket) -> None:
        odd.welcome(connection)
        odd.read_until(connection, b"SUB a 1\r\n")
        connection.sendall(b"MSG a 1 1\r\nx\r\n-ERR 'Slow Consumer'\r\n")

    with OddServer(tmp_path, script) as odd:
        wire = odd.wire()
        wire.subscribe("a")

        assert [each.payload for each in wire.receive(DEADLINE_S)] == [b"x"]
        with pytest.raises(WireLost, match=r"Slow Consumer|ended"):
            wire.receive(DEADLINE_S)
        wire.close()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"MSG a 1 99999999\r\n", "breaks the protocol: a message of 99999999 bytes"),
        (b"x" * 40_000, "breaks the protocol: a line of over"),
        (b"nonsense\r\n", "breaks the protocol"),
        (b"-ERR 'Permissions Violation for Subscription to \"a\"'\r\n", "says: Permissions"),
    ],
    ids=["message", "line", "words", "complaint"],
)
def test_a_server_that_breaks_the_protocol_is_left(
    tmp_path: Path, said: bytes, reason: str
) -> None:
    def script(connection: ssl.SSLSocket) -> None:
        odd.welcome(connection)
        connection.sendall(said)
        odd.wait()

    with OddServer(tmp_path, script) as odd:
        wire = odd.wire()

        with pytest.raises(WireLost, match=reason):
            wire.receive(DEADLINE_S)
        wire.close()


def test_a_flood_that_nobody_asked_for_ends_the_wire_within_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "MAX_KEPT_BYTES", 4_000_000)

    def script(connection: ssl.SSLSocket) -> None:
        odd.welcome(connection)
        odd.read_until(connection, b"SUB a 1\r\n")
        flood = b"MSG a 1 1000\r\n" + bytes(1000) + b"\r\n"
        while True:
            connection.sendall(flood * 50)

    with OddServer(tmp_path, script) as odd:
        wire = odd.wire()
        wire.subscribe("a")

        with pytest.raises(WireLost, match="nobody took"):
            wire.request("question", timeout_s=DEADLINE_S)
        wire.close()


def test_a_server_that_reads_nothing_ends_the_wire_within_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(natswire, "MAX_UNSENT_BYTES", 20_000_000)

    def script(connection: ssl.SSLSocket) -> None:
        odd.welcome(connection)
        odd.wait()

    with OddServer(tmp_path, script) as odd:
        wire = odd.wire()
        payload = bytes(500_000)

        with pytest.raises(WireLost, match="takes nothing"):
            publish(wire, payload, 100)
        wire.close()


def test_pings_without_end_keep_nobody_from_his_time(tmp_path: Path) -> None:
    def script(connection: ssl.SSLSocket) -> None:
        odd.welcome(connection)
        connection.settimeout(0.01)
        while True:
            connection.sendall(b"PING\r\n" * 100)
            try:
                connection.recv(65536)
            except TimeoutError:
                pass

    with OddServer(tmp_path, script) as odd:
        wire = odd.wire()
        began_s = time.monotonic()

        assert wire.receive(0.5) == []
        with pytest.raises(TimeoutError):
            wire.request("question", timeout_s=0.5)

        assert time.monotonic() - began_s < 3
        wire.close()


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (b"", "does not answer"),
        (b"PING\r\n" * 10, "does not answer"),
        (b"INFO {}\r\n", "too old"),
        (b'INFO {"headers":true,"max_payload":10}\r\n', "max_payload=10"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "says nothing known"),
        (INFO + b"-ERR 'Authorization Violation'\r\n", "Authorization Violation"),
    ],
    ids=["silent", "no INFO", "old", "small", "another protocol", "refused"],
)
def test_what_is_no_nats_server_is_not_taken_for_one(
    tmp_path: Path, info: bytes, reason: str
) -> None:
    def script(connection: ssl.SSLSocket) -> None:
        odd.welcome(connection, info)
        odd.wait()

    with OddServer(tmp_path, script) as odd, pytest.raises(WireLost, match=reason):
        odd.wire(connect_s=1.0)


def test_a_server_that_says_something_for_ever_is_left_in_time(tmp_path: Path) -> None:
    def script(connection: ssl.SSLSocket) -> None:
        while True:
            connection.sendall(b"PING\r\n")

    with OddServer(tmp_path, script) as odd, pytest.raises(WireLost, match="does not answer"):
        odd.wire(connect_s=0.5)


def test_a_server_of_another_name_is_not_trusted(tmp_path: Path) -> None:
    with (
        OddServer(tmp_path, lambda _: None, names=("10.1.2.3",)) as odd,
        pytest.raises(WireLost, match="certificate is refused"),
    ):
        odd.wire()


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400\r\n", b"INFO {}\r\n-ERR 'x'\r\n", b"I" * 50_000],
    ids=["http", "nats", "long"],
)
def test_a_server_without_tls_hears_nothing_of_ours(said: bytes) -> None:
    heard = b""

    def serve() -> None:
        nonlocal heard
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(2.0)
            connection.sendall(said)
            try:
                while chunk := connection.recv(65536):
                    heard += chunk
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        login = Login(user="u", password="a secret", ca=Authority().pem.decode())
        with pytest.raises(WireLost):
            Wire([Server("127.0.0.1", listener.getsockname()[1])], login, name="t", connect_s=1.0)
        serving.join(DEADLINE_S)

    assert heard.startswith(b"\x16")
    assert b"secret" not in heard
