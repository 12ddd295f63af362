"""What comes before a handshake: a head means what the library takes it for, or is none."""

from __future__ import annotations

import ipaddress
from typing import Final

from websockets.http11 import Request
from websockets.streams import StreamReader

from relay.auth.origins import Origins
from relay.front.entrance import head, proxyprotocol
from relay.front.entrance.head import Head
from relay.front.entrance.proxies import Proxies
from relay.front.entrance.proxyprotocol import MOST_BYTES, Missing, Preface
from relay.settings.tables import ServerSettings

from .timing import in_linear_time

_PROXY: Final = "10.0.0.7"
_PROXIES: Final = [
    Proxies(ServerSettings(trusted_proxies=("10.0.0.0/8",), forwarded_header="X-Forwarded-For")),
    Proxies(ServerSettings(trusted_proxies=("10.0.0.0/8",), forwarded_header="Forwarded")),
]
_ORIGINS: Final = [Origins(()), Origins(["https://a.example", "http://*.b.example:81"])]


def run(data: bytes) -> None:
    """Take the bytes for a preface of a proxy, with what is behind it for a request's head."""
    in_linear_time(lambda: _look(data), len(data))
    preface = proxyprotocol.read(data)
    if preface is Missing.NOT_YET:
        assert len(data) < MOST_BYTES + 16
    at = preface.bytes if isinstance(preface, Preface) else 0
    assert at <= len(data)
    request = head.parse(data[at:])
    if request is not None:
        _assert_same(request, data[at:])
        _judge(request)


def _look(data: bytes) -> None:
    proxyprotocol.read(data)
    request = head.parse(data)
    if request is not None:
        _judge(request)


def _judge(request: Head) -> None:
    for origins in _ORIGINS:
        origins.refusal(request.values("origin"), request.values("host"))
    for proxies in _PROXIES:
        client = proxies.client_of(_PROXY, request)
        assert client is None or ipaddress.ip_address(client)


def _assert_same(request: Head, raw: bytes) -> None:
    """Whatever the library takes it takes in the same sense."""
    reader = StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    try:
        next(Request.parse(reader.read_line))
    except StopIteration as done:
        theirs: Request = done.value
        assert (theirs.method, theirs.path) == (request.method, request.target)
        raws = [(name.lower(), value) for name, value in theirs.headers.raw_items()]
        assert sorted(raws) == sorted(request.headers)
    except (ValueError, NotImplementedError):
        pass  # a body, which it refuses later
