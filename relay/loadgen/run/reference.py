"""The reference: the least that a relay of this kind does, for figures to be told as ratios of.

One process: websockets' sans-I/O protocol, uvloop and msgspec, as in the relay's front. It reads
each frame, routes it in memory and writes the frames of the protocol, one write a socket and loop
turn. No bus, no store, no dedupe, no validation, no limits: nothing it acks survives it. What waits
for a user who is away is a list.

    python -m relay.loadgen.run.reference --port 0 --groups groups.json
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import resource
import signal
import sys
from pathlib import Path
from struct import Struct
from typing import Final, cast

import msgspec
import uvloop
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF
from websockets.server import ServerProtocol

_MEDIUM: Final = Struct(">BBH").pack
_LONG: Final = Struct(">BBQ").pack
_encode: Final = msgspec.json.Encoder().encode
# The protocol logs every frame at debug level; asking whether to is most of its cost otherwise.
_quiet: Final = logging.getLogger("relay.loadgen.run.reference.ws")
_quiet.setLevel(logging.CRITICAL)


class _Key(msgspec.Struct, gc=False, rename="camel"):
    remote_jid: str
    id: str


class _Element(msgspec.Struct, gc=False, rename="camel"):
    message: msgspec.Raw
    key: _Key
    message_timestamp: str


class _Ack(msgspec.Struct, gc=False, rename={"from_": "from"}):
    id: str
    ack: int
    to: str
    t: str
    from_: str


class _Who(msgspec.Struct, gc=False, rename="camel"):
    remote_jid: str


_read_action: Final = msgspec.json.Decoder(tuple[str, dict[str, str], list[_Element]]).decode
_read_ack: Final = msgspec.json.Decoder(tuple[str, _Ack]).decode
_read_auth: Final = msgspec.json.Decoder(tuple[str, dict[str, str], _Who]).decode

_AUTH_SUCCESS: Final = b'["auth", {"from": "backend", "status": "success"}]'
_EMPTY_Q: Final = b'["q", {"data": "[[]]", "from": "backend"}]'


def _text_frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return _MEDIUM(0x81, 126, size) + payload
    return _LONG(0x81, 127, size) + payload


class Reflector:
    """Who is there, and what waits for who is not."""

    def __init__(self, groups: dict[str, list[str]]) -> None:
        self.groups = groups  # members' local parts by the group's jid
        self.online: dict[str, ReferenceConnection] = {}
        self.waiting: dict[str, list[bytes]] = {}
        self._dirty: list[ReferenceConnection] = []
        self._loop = asyncio.get_running_loop()

    def pass_on(self, user: str, payload: bytes, framed: bytes) -> None:
        """Write a frame to a user, or keep it."""
        connection = self.online.get(user)
        if connection is None:
            self.waiting.setdefault(user, []).append(payload)
        else:
            connection.write(framed)

    def flush_soon(self, connection: ReferenceConnection) -> None:
        """Write what a connection has at the end of this loop turn."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()


class ReferenceConnection(asyncio.Protocol):
    """One client, logged in or not."""

    __slots__ = ("_out", "_reflector", "_transport", "_user", "_ws")

    def __init__(self, reflector: Reflector) -> None:
        self._reflector = reflector
        self._ws = ServerProtocol(logger=_quiet)
        self._user = ""
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, and answer."""
        ws = self._ws
        ws.receive_data(data)
        for event in ws.events_received():
            if isinstance(event, Frame):
                if event.opcode is Opcode.TEXT:
                    self.frame(bytes(event.data))
            elif isinstance(event, Request):
                ws.send_response(ws.accept(event))
        for out in ws.data_to_send():
            if out == SEND_EOF:
                self.flush()
                self._transport.close()
            else:
                self.write(out)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        if self._reflector.online.get(self._user) is self:
            del self._reflector.online[self._user]

    def write(self, framed: bytes) -> None:
        """Send a WebSocket frame with this turn's write."""
        if not self._out:
            self._reflector.flush_soon(self)
        self._out.append(framed)

    def flush(self) -> None:
        """Hand this turn's frames to the kernel in one write."""
        out, self._out = self._out, []
        if out:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def frame(self, frame: bytes) -> None:
        """Route what a client sent."""
        if frame.startswith(b'["action"'):
            for element in _read_action(frame)[2]:
                self._send(element)
        elif frame.startswith(b'["Msg"'):
            self._ack(_read_ack(frame)[1])
        elif frame.startswith(b'["MsgInfo"'):
            self._group_ack(_read_ack(frame)[1])
        else:
            self._auth(_read_auth(frame)[2].remote_jid.partition("@")[0])

    def _auth(self, user: str) -> None:
        reflector = self._reflector
        self._user = user
        reflector.online[user] = self
        self.write(_text_frame(_AUTH_SUCCESS))
        frames = reflector.waiting.pop(user, None)
        if frames is None:
            self.write(_text_frame(_EMPTY_Q))
            return
        # Some 600 messages of 100 characters a q, as PROTOCOL 2.2 rule 3 bounds it.
        for start in range(0, len(frames), 600):
            data = b"[[]," + b",".join(frames[start : start + 600]) + b"]"
            q = b'["q", {"data": %b, "from": "backend"}]' % _encode(data.decode())
            self.write(_text_frame(q))

    def _send(self, element: _Element) -> None:
        key, user = element.key, self._user.encode()
        local, _, domain = key.remote_jid.partition("@")
        to, message_id, t = local.encode(), key.id.encode(), element.message_timestamp.encode()
        if domain == "g.us":
            self.write(
                _text_frame(
                    b'["Msg", {"id": "%b", "ack": 1, "cmd": "ack", "to": "%b@g.us", "t": %b, '
                    b'"from": "%b"}]' % (message_id, to, t, user)
                )
            )
            payload = (
                b'["action", {"add": "relay"}, [{"key": {"fromMe": false, "id": "%b", '
                b'"remoteJid": "%b@g.us"}, "participant": "%b@s.whatsapp.net", "message": %b, '
                b'"messageTimestamp": "%b"}]]' % (message_id, to, user, element.message, t)
            )
            framed = _text_frame(payload)
            for member in self._reflector.groups[key.remote_jid]:
                if member != self._user:
                    self._reflector.pass_on(member, payload, framed)
            return
        self.write(
            _text_frame(
                b'["Msg", {"id": "%b", "ack": 1, "cmd": "ack", "to": "%b@c.us", "t": %b, '
                b'"from": "%b@c.us"}]' % (message_id, to, t, user)
            )
        )
        payload = (
            b'["action", {"add": "relay"}, [{"key": {"fromMe": false, "id": "%b", "remoteJid": '
            b'"%b@s.whatsapp.com"}, "message": %b, "messageTimestamp": "%b"}]]'
            % (message_id, user, element.message, t)
        )
        self._reflector.pass_on(local, payload, _text_frame(payload))

    def _ack(self, ack: _Ack) -> None:
        author, acker = ack.from_.partition("@")[0], self._user.encode()
        payload = (
            b'["Msg", {"id": "%b", "ack": %d, "cmd": "ack", "to": "%b@c.us", "t": %b, '
            b'"from": "%b@c.us"}]'
            % (ack.id.encode(), ack.ack, acker, ack.t.encode(), author.encode())
        )
        self._reflector.pass_on(author, payload, _text_frame(payload))

    def _group_ack(self, ack: _Ack) -> None:
        author, acker = ack.from_.partition("@")[0], self._user.encode()
        payload = (
            b'["MsgInfo", {"from": "%b@c.us", "ack": %d, "cmd": "ack", "to": "%b", '
            b'"participant": "%b@c.us", "id": "%b", "t": %b}]'
            % (author.encode(), ack.ack, ack.to.encode(), acker, ack.id.encode(), ack.t.encode())
        )
        self._reflector.pass_on(author, payload, _text_frame(payload))


def _groups_in(path: Path | None) -> dict[str, list[str]]:
    if path is None:
        return {}
    document = json.loads(path.read_bytes())
    return {
        jid: [member.partition("@")[0] for member in group["participants"]]
        for jid, group in document.items()
    }


async def _serve(port: int, groups: dict[str, list[str]]) -> None:
    loop = asyncio.get_running_loop()
    reflector = Reflector(groups)
    server = await loop.create_server(
        lambda: ReferenceConnection(reflector), "127.0.0.1", port, backlog=1024
    )
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    # What the relay's own processes do (relay.process.run): the collector costs both alike.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"ready ws://127.0.0.1:{port}/\n")
    sys.stdout.flush()
    await stopped.wait()
    server.close()


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m relay.loadgen.run.reference")
    parser.add_argument("--port", type=int, default=9012, help="0 takes a free one")
    parser.add_argument("--groups", type=Path, metavar="FILE", help="groups and members, JSON")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(_serve(given.port, _groups_in(given.groups)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
