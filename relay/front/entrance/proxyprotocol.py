"""The PROXY protocol, versions 1 and 2: for whom a proxy has opened a connection.

It stands before the first byte of the client. The document of HAProxy defines it
(https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt); here only connections of TCP over
IPv4 and IPv6 can come by it.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from typing import Final, NamedTuple

from relay.front.networks import plain

# As the document bounds it, with the end of the line.
_MOST_LINE: Final = 107
_LINE: Final = re.compile(
    rb"PROXY (?:(?P<family>TCP4|TCP6) (?P<source>[0-9A-Fa-f:.]{2,45}) (?P<here>[0-9A-Fa-f:.]{2,45})"
    rb" (?P<port>[0-9]{1,5}) (?P<here_port>[0-9]{1,5})|UNKNOWN(?: [ -~]*)?)\r\n"
)
_WORD: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_HEADER_BYTES: Final = 16
# Of addresses and what is said besides; a client's certificate in it would be the longest.
MOST_BYTES: Final = 4 * 1024
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6 = 0x00, 0x11, 0x21
# By the family: the bytes of an address; two of them and two ports come first.
_ADDRESS_BYTES: Final = {_TCP4: 4, _TCP6: 16}


class Preface(NamedTuple):
    """What stood before the first byte of the client."""

    bytes: int
    source: str  # the client's address; "": the proxy speaks for itself, or cannot tell it


class Missing(enum.Enum):
    """Why there is no preface."""

    NOT_YET = enum.auto()  # these bytes may be the beginning of one
    NEVER = enum.auto()


def read(data: bytes) -> Preface | Missing:
    """Return the preface that `data` begins with; of a client's bytes behind it nothing is said."""
    if data.startswith(_WORD):
        return _version_1(data)
    if data.startswith(_SIGNATURE):
        return _version_2(data)
    begins = _WORD.startswith(data) or _SIGNATURE.startswith(data)
    return Missing.NOT_YET if begins else Missing.NEVER


def _version_1(data: bytes) -> Preface | Missing:
    end = data.find(b"\r\n", 0, _MOST_LINE)
    if end < 0:
        return Missing.NOT_YET if len(data) < _MOST_LINE else Missing.NEVER
    line = _LINE.fullmatch(data, 0, end + 2)
    if line is None:
        return Missing.NEVER
    if line["family"] is None:
        return Preface(line.end(), "")
    kind = ipaddress.IPv4Address if line["family"] == b"TCP4" else ipaddress.IPv6Address
    try:
        source, _ = (kind(line[name].decode()) for name in ("source", "here"))
    except ValueError:
        return Missing.NEVER
    if not all(_is_port(line[name]) for name in ("port", "here_port")):
        return Missing.NEVER
    return Preface(line.end(), str(plain(source)))


def _is_port(text: bytes) -> bool:
    return int(text) <= 65535 and (text == b"0" or not text.startswith(b"0"))


def _version_2(data: bytes) -> Preface | Missing:
    if len(data) < _HEADER_BYTES:
        return Missing.NOT_YET
    command, family = data[12], data[13]
    size = int.from_bytes(data[14:16], "big")
    address_bytes = _ADDRESS_BYTES.get(family, 0)
    if command not in (_LOCAL, _PROXY) or size > MOST_BYTES:
        return Missing.NEVER
    if command == _PROXY and (
        size < 2 * address_bytes + 4 if address_bytes else family != _UNSPECIFIED
    ):
        return Missing.NEVER
    whole = _HEADER_BYTES + size
    if len(data) < whole:
        return Missing.NOT_YET
    if command == _LOCAL or not address_bytes:
        return Preface(whole, "")
    packed = data[_HEADER_BYTES : _HEADER_BYTES + address_bytes]
    return Preface(whole, str(plain(ipaddress.ip_address(packed))))
