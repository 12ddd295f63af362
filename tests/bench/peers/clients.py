"""One user of each server, as little of its protocol as pair chat needs. No I/O.

What all have in common: a message goes to the other of the pair; the server acks it; who gets it
acks it to the server, where the protocol has that, and answers with a receipt by the same way; the
author is told. They read by position and search, not by a parser, so that the load costs the same
whoever is loaded.
"""

from __future__ import annotations

import json
import re
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from tests.bench.peers.wires import Wire

TEXT_BYTES: Final = 100
_TEXT: Final = b"x" * TEXT_BYTES
_KEEP_ALIVE_S: Final = 600


class Step(IntEnum):
    """What has happened to a message, as one of its two users sees it."""

    ACKED = 0  # the server has it; its author sees that
    GOT = 1  # the other has it
    TOLD = 2  # its author knows


class Refused(Exception):
    """The server answered with an error."""


class Client(ABC):
    """A user, logged in by `received` alone; `steps` is for the driver to take."""

    def __init__(self, name: str, other: str, wire: Wire) -> None:
        self.wire = wire
        self.is_in = False
        self.steps: list[tuple[Step, int]] = []
        self._name = name.encode()
        self._other = other.encode()
        self._has_begun = False

    def begin(self) -> None:
        """Say hello, once the wire is open."""
        if self.wire.is_open and not self._has_begun:
            self._has_begun = True
            self._hello()

    def received(self, data: bytes) -> None:
        """Take what came.

        Raises:
            WireBroken: the connection is over.
            Refused: the server says that something is wrong.
        """
        payloads = self.wire.taken(data)
        self.begin()
        for payload in payloads:
            self._take(payload)

    @abstractmethod
    def say(self, number: int) -> None:
        """Send message `number` to the other."""

    @abstractmethod
    def _hello(self) -> None: ...

    @abstractmethod
    def _take(self, payload: bytes) -> None: ...


class RelayClient(Client):
    """The relay's protocol: `action` and `Msg`. The floor speaks so much of it as well."""

    _ID: Final = re.compile(rb'"id": ?"3EB0([0-9A-F]{12})"')
    _LEVEL: Final = re.compile(rb'"ack": ?(\d)')

    def _hello(self) -> None:
        self.wire.put(b'["auth",{"type":"new"},{"remoteJid":"%b@s.whatsapp.com"}]' % self._name)

    def say(self, number: int) -> None:
        """Send message `number` to the other."""
        self.wire.put(
            b'["action",{"add":"relay"},[{"message":{"conversation":"%b"},"key":{"remoteJid":'
            b'"%b@s.whatsapp.com","fromMe":true,"id":"3EB0%012X"},"messageTimestamp":"1566970629"}]]'
            % (_TEXT, self._other, number)
        )

    def _take(self, payload: bytes) -> None:
        if payload.startswith(b'["action"'):
            self._got(self._number(payload))
        elif payload.startswith(b'["Msg"'):
            level = self._LEVEL.search(payload)
            is_ack = level is not None and level[1] == b"1"
            self.steps.append((Step.ACKED if is_ack else Step.TOLD, self._number(payload)))
        elif payload.startswith(b'["q"'):
            self.is_in = True
        elif payload.startswith(b'["error"') or b'"status":"failure"' in payload:
            raise Refused(payload[:200].decode(errors="replace"))

    def _got(self, number: int) -> None:
        self.steps.append((Step.GOT, number))
        self.wire.put(
            b'["Msg",{"id":"3EB0%012X","ack":2,"cmd":"ack","to":"%b@c.us","t":"1566971275",'
            b'"from":"%b@c.us"}]' % (number, self._name, self._other)
        )

    def _number(self, payload: bytes) -> int:
        found = self._ID.search(payload)
        return int(found[1], 16) if found is not None else 0


class MqttClient(Client):
    """MQTT: QoS 1 both ways, a session that lasts, a topic a user; receipts go back so."""

    _CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK = 0x10, 2, 3, 4, 0x82, 9
    _MESSAGE, _RECEIPT = b"M", b"R"

    def __init__(self, name: str, other: str, wire: Wire) -> None:
        super().__init__(name, other, wire)
        self._buffer = b""
        self._packet_id = 0
        self._unacked: dict[int, int] = {}  # by packet id; receipts of ours are not in it

    def _hello(self) -> None:
        head = _mqtt_text(b"MQTT") + b"\x04\x00" + struct.pack(">H", _KEEP_ALIVE_S)
        self.wire.put(mqtt_packet(self._CONNECT, head + _mqtt_text(self._name)))

    def say(self, number: int) -> None:
        """Send message `number` to the other."""
        self._publish(self._MESSAGE + b"%012X" % number + _TEXT)
        self._unacked[self._packet_id] = number

    def _publish(self, payload: bytes) -> None:
        self._packet_id = self._packet_id % 0xFFFF + 1
        body = _mqtt_text(b"u/" + self._other) + struct.pack(">H", self._packet_id) + payload
        self.wire.put(mqtt_packet(self._PUBLISH << 4 | 1 << 1, body))

    def _take(self, payload: bytes) -> None:
        buffer = self._buffer + payload
        at, size = 0, len(buffer)
        while size - at >= 2:
            length, shift, begins = 0, 0, at + 1
            while begins < size:
                byte = buffer[begins]
                begins += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            else:
                break
            if begins + length > size:
                break
            self._packet(buffer[at] >> 4, buffer[begins : begins + length])
            at = begins + length
        self._buffer = buffer[at:]

    def _packet(self, kind: int, body: bytes) -> None:
        if kind == self._PUBACK:
            number = self._unacked.pop(int.from_bytes(body[:2], "big"), None)
            if number is not None:
                self.steps.append((Step.ACKED, number))
        elif kind == self._PUBLISH:
            ends = 2 + int.from_bytes(body[:2], "big")
            self.wire.put(b"\x40\x02" + body[ends : ends + 2])
            number = int(body[ends + 3 : ends + 15], 16)
            if body[ends + 2 : ends + 3] == self._MESSAGE:
                self.steps.append((Step.GOT, number))
                self._publish(self._RECEIPT + b"%012X" % number)
            else:
                self.steps.append((Step.TOLD, number))
        elif kind == self._CONNACK:
            if body[1:2] != b"\0":
                raise Refused(f"CONNACK {body!r}")
            topic = _mqtt_text(b"u/" + self._name) + b"\x01"
            self.wire.put(mqtt_packet(self._SUBSCRIBE, b"\0\x01" + topic))
        elif kind == self._SUBACK:
            if body[2:3] != b"\x01":
                raise Refused(f"SUBACK {body!r}")
            self.is_in = True


def mqtt_packet(head: int, body: bytes) -> bytes:
    """Return an MQTT packet."""
    length, left = bytearray(), len(body)
    while True:
        left, seven = divmod(left, 0x80)
        length.append(seven | (0x80 if left else 0))
        if not left:
            return bytes((head,)) + length + body


def _mqtt_text(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


class NatsClient(Client):
    """NATS itself: a subject a user, nothing kept. Verbose, so that the server answers each PUB."""

    _VERBOSE = True
    _GREETED: Final = b"+OK"

    def __init__(self, name: str, other: str, wire: Wire) -> None:
        super().__init__(name, other, wire)
        self._buffer = b""
        # What the server's +OK, which come in order, are for: a message, or 0 for all else.
        self._answers: deque[int] = deque()

    def _hello(self) -> None:
        pass  # the server begins, with INFO

    def say(self, number: int) -> None:
        """Send message `number` to the other."""
        self._publish(b"u." + self._other, b"M%012X" % number + _TEXT)
        self._answers.append(number)

    def _publish(self, subject: bytes, payload: bytes, reply: bytes = b"") -> None:
        self.wire.put(b"PUB %b %b%d\r\n%b\r\n" % (subject, reply, len(payload), payload))

    def _take(self, payload: bytes) -> None:
        buffer = self._buffer + payload
        at = 0
        while (ends := buffer.find(b"\r\n", at)) >= 0:
            line = buffer[at:ends]
            after = ends + 2
            if line.startswith(b"MSG "):
                words = line.split(b" ")
                until = after + int(words[-1])
                if len(buffer) < until + 2:
                    break
                self._message(words, buffer[after:until])
                after = until + 2
            else:
                self._line(line)
            at = after
        self._buffer = buffer[at:]

    def _line(self, line: bytes) -> None:
        if line == b"+OK":
            number = self._answers.popleft()
            if number:
                self.steps.append((Step.ACKED, number))
        elif line.startswith(b"INFO"):
            options = json.dumps({"verbose": self._VERBOSE, "pedantic": False, "headers": False})
            self.wire.put(b"CONNECT %b\r\n" % options.encode())
            self._subscribe()
            self.wire.put(b"PING\r\n")
        elif line == b"PONG":
            self._ponged()
        elif line == b"PING":
            self.wire.put(b"PONG\r\n")
        elif line.startswith(b"-ERR"):
            raise Refused(line.decode(errors="replace"))

    def _subscribe(self) -> None:
        self.wire.put(b"SUB u.%b 1\r\n" % self._name)
        self._answers.extend((0, 0))  # of CONNECT and of SUB

    def _ponged(self) -> None:
        self.is_in = True

    def _message(self, words: list[bytes], payload: bytes) -> None:
        number = int(payload[1:13], 16)
        if payload[:1] == b"M":
            self.steps.append((Step.GOT, number))
            self._publish(b"u." + self._other, b"R%012X" % number)
            self._answers.append(0)
        else:
            self.steps.append((Step.TOLD, number))


class JetStreamClient(NatsClient):
    """NATS with JetStream: a stream in files, a durable consumer a user, all acked one by one."""

    _VERBOSE = False
    _STREAM: Final = b"pairs"

    def _subscribe(self) -> None:
        # What is delivered; what the server answers to what we store; what it answers to requests.
        for number, subject in enumerate((b"to.%b", b"stored.%b.*", b"made.%b.*"), 1):
            self.wire.put(b"SUB %b %d\r\n" % (subject % self._name, number))

    def _ponged(self) -> None:
        stream = {
            "name": self._STREAM.decode(),
            "subjects": ["u.*"],
            "retention": "workqueue",
            "storage": "file",
        }
        self._ask(b"STREAM.CREATE.%b" % self._STREAM, stream, b"stream")

    def say(self, number: int) -> None:
        """Send message `number` to the other."""
        self._store(b"M%012X" % number + _TEXT, b"%012X" % number)

    def _store(self, payload: bytes, name: bytes) -> None:
        self._publish(b"u." + self._other, payload, b"stored.%b.%b " % (self._name, name))

    def _ask(self, what: bytes, body: Mapping[str, object], name: bytes) -> None:
        reply = b"made.%b.%b " % (self._name, name)
        self._publish(b"$JS.API." + what, json.dumps(body).encode(), reply)

    def _message(self, words: list[bytes], payload: bytes) -> None:
        if words[2] == b"1":
            self._publish(words[3], b"")  # an empty answer is an ack
            number = int(payload[1:13], 16)
            if payload[:1] == b"M":
                self.steps.append((Step.GOT, number))
                self._store(b"R%012X" % number, b"receipt")
            else:
                self.steps.append((Step.TOLD, number))
            return
        if b'"error"' in payload:
            raise Refused(payload.decode(errors="replace"))
        name = words[1].rpartition(b".")[2]
        if name == b"stream":
            consumer = {
                "durable_name": self._name.decode(),
                "filter_subject": f"u.{self._name.decode()}",
                "deliver_subject": f"to.{self._name.decode()}",
                "ack_policy": "explicit",
                "max_ack_pending": 10_000,
            }
            what = b"CONSUMER.DURABLE.CREATE.%b.%b" % (self._STREAM, self._name)
            body = {"stream_name": self._STREAM.decode(), "config": consumer}
            self._ask(what, body, b"consumer")
        elif name == b"consumer":
            self.is_in = True
        elif name != b"receipt":
            self.steps.append((Step.ACKED, int(name, 16)))


class SocketIoClient(Client):
    """Socket.IO 4 over a WebSocket: an event with an acknowledgement; the server keeps nothing."""

    _NUMBER: Final = re.compile(rb'"id":(\d+)')

    def __init__(self, name: str, other: str, wire: Wire) -> None:
        super().__init__(name, other, wire)
        self._asked = 0
        self._unacked: dict[int, int] = {}

    def _hello(self) -> None:
        pass  # the server begins

    def say(self, number: int) -> None:
        """Send message `number` to the other."""
        self._asked += 1
        self._unacked[self._asked] = number
        event = b'42%d["message",{"to":"%b","id":%d,"text":"%b"}]'
        self.wire.put(event % (self._asked, self._other, number, _TEXT))

    def _take(self, payload: bytes) -> None:
        if payload.startswith(b"43"):
            asked = int(payload[2 : payload.index(b"[")])
            if asked == 0:
                self.is_in = True
            else:
                self.steps.append((Step.ACKED, self._unacked.pop(asked)))
        elif payload.startswith(b'42["message"'):
            number = self._number(payload)
            self.steps.append((Step.GOT, number))
            self.wire.put(b'42["receipt",{"to":"%b","id":%d}]' % (self._other, number))
        elif payload.startswith(b'42["receipt"'):
            self.steps.append((Step.TOLD, self._number(payload)))
        elif payload.startswith(b"0{"):
            self.wire.put(b"40")
        elif payload.startswith(b"40{"):
            self.wire.put(b'420["login","%b"]' % self._name)
        elif payload == b"2":
            self.wire.put(b"3")
        elif payload.startswith(b"44"):
            raise Refused(payload.decode(errors="replace"))

    def _number(self, payload: bytes) -> int:
        found = self._NUMBER.search(payload)
        return int(found[1]) if found is not None else 0
