"""The comparison with other servers: clients' bytes, figures, and one short run of what is here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.bench.peers.__main__ import peers
from tests.bench.peers.clients import (
    Client,
    JetStreamClient,
    MqttClient,
    NatsClient,
    Refused,
    RelayClient,
    SocketIoClient,
    Step,
    mqtt_packet,
)
from tests.bench.peers.drive import Load, Result, percentile
from tests.bench.peers.install import needed_packages, version_in
from tests.bench.peers.report import Run, as_json, faults, shown
from tests.bench.peers.servers import NAMES, ROOT, chosen
from tests.bench.peers.wires import BINARY, TEXT, TcpWire, WebSocketWire, WireBroken, frame


def taken(client: Client) -> bytes:
    """Take what a client has written."""
    written = bytes(client.wire.out)
    client.wire.out.clear()
    return written


def served(payload: bytes, opcode: int = TEXT) -> bytes:
    """A server's frame, which is not masked."""
    size = len(payload)
    head = bytes((0x80 | opcode, size)) if size < 126 else bytes((0x80 | opcode, 126))
    return head + (size.to_bytes(2, "big") if size >= 126 else b"") + payload


# -- wires ----------------------------------------------------------------------------------------


def test_a_websocket_opens_and_cuts_frames_however_they_arrive() -> None:
    wire = WebSocketWire("/chat", kind=TEXT, subprotocol="mqtt")
    assert b"GET /chat HTTP/1.1\r\n" in wire.out
    assert b"Sec-WebSocket-Protocol: mqtt\r\n" in wire.out
    stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + served(b"one") + served(b"x" * 300)

    payloads = [each for at in range(len(stream)) for each in wire.taken(stream[at : at + 1])]

    assert wire.is_open
    assert payloads == [b"one", b"x" * 300]


def test_what_no_server_of_websockets_says_breaks_a_wire() -> None:
    wire = WebSocketWire("/", kind=TEXT)
    with pytest.raises(WireBroken, match="no upgrade"):
        wire.taken(b"HTTP/1.1 404 Not Found\r\n\r\n")
    opened = WebSocketWire("/", kind=TEXT)
    opened.taken(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    with pytest.raises(WireBroken, match="closed"):
        opened.taken(served(b"\x03\xe8", 8))


def test_a_ping_is_answered_and_is_no_payload() -> None:
    wire = WebSocketWire("/", kind=TEXT)
    wire.taken(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    wire.out.clear()

    assert wire.taken(served(b"now", 9)) == []
    assert bytes(wire.out) == frame(0xA, b"now")


def test_a_clients_frame_is_masked_with_a_key_that_changes_nothing() -> None:
    assert frame(BINARY, b"abc") == b"\x82\x83\0\0\0\0abc"
    assert frame(TEXT, b"x" * 200)[:4] == b"\x81\xfe\x00\xc8"
    assert len(frame(TEXT, b"x" * 70_000)) == 70_000 + 14


# -- clients: of each, a login, a message from one to the other, and back -------------------------


def pass_on(author: Client, reader: Client) -> None:
    assert author.is_in
    assert reader.is_in
    assert author.steps == []
    assert reader.steps == []


def test_a_relays_client_logs_in_and_tells_its_three_steps() -> None:
    author, reader = (RelayClient("910", "911", TcpWire()), RelayClient("911", "910", TcpWire()))
    for client in (author, reader):
        client.begin()
        assert taken(client).startswith(b'["auth"')
        client.received(b'["q",{"data":"[[]]","from":"backend"}]')
    pass_on(author, reader)

    author.say(7)
    message = taken(author)
    reader.received(message)
    receipt = taken(reader)
    author.received(b'["Msg", {"id": "3EB0%012X", "ack": 1, "cmd": "ack"}]' % 7)
    author.received(receipt)

    assert reader.steps == [(Step.GOT, 7)]
    assert author.steps == [(Step.ACKED, 7), (Step.TOLD, 7)]
    assert b'"to":"911@c.us"' in receipt
    with pytest.raises(Refused, match="507"):
        author.received(b'["error",{"code":507}]')


def test_an_mqtt_client_does_qos_1_both_ways() -> None:
    author, reader = (MqttClient("u0", "u1", TcpWire()), MqttClient("u1", "u0", TcpWire()))
    for client in (author, reader):
        client.begin()
        assert taken(client)[:9] == b"\x10\x0e\0\x04MQTT\x04"
        client.received(b"\x20\x02\0\0")
        assert taken(client)[0] == 0x82
        client.received(b"\x90\x03\0\x01\x01")
    pass_on(author, reader)

    author.say(7)
    message = taken(author)
    for at in range(len(message)):
        reader.received(message[at : at + 1])
    puback, receipt = taken(reader)[:4], taken_receipt(reader, message)
    author.received(puback)
    author.received(receipt)

    assert puback == b"\x40\x02\0\x01"
    assert reader.steps[0] == (Step.GOT, 7)
    assert author.steps == [(Step.ACKED, 7), (Step.TOLD, 7)]
    with pytest.raises(Refused, match="CONNACK"):
        author.received(b"\x20\x02\0\x05")


def taken_receipt(reader: Client, message: bytes) -> bytes:
    """The receipt that a reader writes after its ack, for a message that it gets again."""
    reader.received(message)
    return taken(reader)[4:]


def test_the_length_of_a_long_mqtt_packet_has_several_bytes() -> None:
    assert mqtt_packet(0x30, b"x" * 127)[:2] == b"\x30\x7f"
    assert mqtt_packet(0x30, b"x" * 128)[:3] == b"\x30\x80\x01"
    assert mqtt_packet(0x30, b"x" * 20_000)[:4] == b"\x30\xa0\x9c\x01"


def test_a_nats_client_takes_each_ok_for_what_it_published_in_that_order() -> None:
    author = NatsClient("u0", "u1", TcpWire())
    reader = NatsClient("u1", "u0", TcpWire())
    for client in (author, reader):
        client.begin()
        client.received(b'INFO {"version":"2"}\r\n')
        assert b'CONNECT {"verbose": true' in taken(client)
        client.received(b"+OK\r\n+OK\r\nPONG\r\n")
    pass_on(author, reader)

    author.say(7)
    author.say(8)
    payload = taken(author).split(b"\r\n")[1]
    reader.received(b"MSG u.u1 1 %d\r\n%b\r\n" % (len(payload), payload))
    receipt = taken(reader).split(b"\r\n")[1]
    author.received(b"+OK\r\nMSG u.u0 1 %d\r\n%b\r\n+O" % (len(receipt), receipt))
    author.received(b"K\r\n")
    reader.received(b"+OK\r\n")

    assert reader.steps == [(Step.GOT, 7)]
    assert author.steps == [(Step.ACKED, 7), (Step.TOLD, 7), (Step.ACKED, 8)]
    with pytest.raises(Refused, match="Permissions"):
        author.received(b"-ERR 'Permissions Violation'\r\n")


def test_a_jetstream_client_makes_stream_and_consumer_and_acks_each_delivery() -> None:
    client = JetStreamClient("u1", "u0", TcpWire())
    client.begin()
    client.received(b"INFO {}\r\n")
    taken(client)
    client.received(b"PONG\r\n")
    assert b"PUB $JS.API.STREAM.CREATE.pairs made.u1.stream " in taken(client)
    client.received(b"MSG made.u1.stream 3 2\r\n{}\r\n")
    assert b"CONSUMER.DURABLE.CREATE.pairs.u1" in taken(client)
    client.received(b"MSG made.u1.consumer 3 2\r\n{}\r\n")
    assert client.is_in

    client.say(9)
    assert taken(client).startswith(b"PUB u.u0 stored.u1.%012X " % 9)
    client.received(b"MSG stored.u1.%012X 2 2\r\n{}\r\n" % 9)
    message = b"M%012Xxx" % 7
    client.received(b"MSG u.u1 1 $JS.ACK.x %d\r\n%b\r\n" % (len(message), message))
    assert taken(client).startswith(b"PUB $JS.ACK.x 0\r\n\r\nPUB u.u0 stored.u1.receipt 13\r\n")
    told = b"R%012X" % 9
    client.received(b"MSG u.u1 1 $JS.ACK.y %d\r\n%b\r\n" % (len(told), told))
    client.received(b"MSG stored.u1.receipt 2 2\r\n{}\r\n")

    assert client.steps == [(Step.ACKED, 9), (Step.GOT, 7), (Step.TOLD, 9)]
    with pytest.raises(Refused, match="no space"):
        client.received(b'MSG stored.u1.receipt 2 20\r\n{"error":"no space"}\r\n')


def test_a_socket_io_client_emits_with_an_acknowledgement() -> None:
    author, reader = (SocketIoClient(a, b, TcpWire()) for a, b in (("u0", "u1"), ("u1", "u0")))
    for client in (author, reader):
        client.begin()
        client.received(b'0{"sid":"x"}')
        assert taken(client) == b"40"
        client.received(b'40{"sid":"y"}')
        assert taken(client).startswith(b'420["login",')
        client.received(b"430[]")
    pass_on(author, reader)

    author.say(7)
    event = taken(author)
    assert event.startswith(b'421["message",{"to":"u1","id":7,')
    author.received(b"431[]")
    reader.received(b"42" + event[3:])
    author.received(taken(reader))
    author.received(b"2")

    assert reader.steps == [(Step.GOT, 7)]
    assert author.steps == [(Step.ACKED, 7), (Step.TOLD, 7)]
    assert taken(author) == b"3"


# -- figures --------------------------------------------------------------------------------------


def result(cpu_us: float, *, unfinished: int = 0, repeated: int = 0) -> Result:
    return Result(
        messages=1000,
        seconds=2.0,
        server_cpu_s=cpu_us / 1000,
        load_cpu_s=1.0,
        acks_ms=[1.0] * 98 + [2.0, 3.0],
        told_ms=[2.0] * 100,
        unfinished=unfinished,
        repeated=repeated,
    )


def test_a_table_a_load_tells_medians_every_round_and_what_an_ack_is_worth() -> None:
    load = Load("Window 8", window=8)
    runs = [
        Run("relay", "this relay 1", "yes", load, at, result(cpu))
        for at, cpu in enumerate((60.0, 70.0, 64.0), 1)
    ]

    told = shown(runs, [("nats", "no apt-get")])

    assert "| this relay 1 |" in told
    assert "60.0 70.0 64.0" in told
    assert "1.00 / 3.00" in told
    assert "skipped nats: no apt-get" in told
    assert faults(runs) == []
    assert json.loads(json.dumps(as_json(runs, []), allow_nan=False))["runs"][0]["messages"] == 1000


def test_messages_that_do_not_come_or_come_twice_are_faults() -> None:
    load = Load("Window 8", window=8)
    runs = [Run("floor", "floor", "no", load, 1, result(10, unfinished=2, repeated=1))]

    assert faults(runs) == [
        "floor, Window 8, round 1: 2 messages did not become complete",
        "floor, Window 8, round 1: 1 deliveries were repeated",
    ]


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([1.0], 0.99) == 1.0


def test_servers_are_chosen_by_name() -> None:
    assert [peer.name for peer in chosen("floor,relay")] == ["relay", "floor"]
    assert len(chosen("all")) == len(NAMES)
    with pytest.raises(ValueError, match="no server kafka: all, or of relay"):
        chosen("kafka,relay")


def test_versions_and_packages_are_read_of_what_programs_say() -> None:
    said = "Reading...\nInst libcjson1 (1.7 Debian)\nInst mosquitto (2.0)\nConf libcjson1 (1.7)\n"

    assert needed_packages(said) == ["libcjson1", "mosquitto"]
    assert version_in("nats-server: v2.9.10") == "2.9.10"
    assert version_in("no number") == ""


def test_help_teaches_and_an_unknown_server_is_bad_usage() -> None:
    told = CliRunner().invoke(peers, ["--help"])
    bad = CliRunner().invoke(peers, ["--servers", "kafka"])

    assert told.exit_code == 0
    assert "make peers" in told.output
    assert bad.exit_code == 2


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_relay_and_the_floor_are_measured(tmp_path: Path) -> None:
    written = tmp_path / "peers.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench.peers", "--servers", "relay,floor"),
            *("--rounds", "1", "--seconds", "0.3", "--pairs", "10", "--rate", "200"),
            *("--json", str(written)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads(written.read_text())["runs"]
    measured = {run["server"] for run in runs}
    assert "relay" in measured
    assert ("floor" in measured) is any(map(shutil.which, ("gcc", "cc")))
    assert len([run for run in runs if run["server"] == "relay"]) == 3
