"""Whose pages may connect: what a browser says of a page, held against what the settings allow.

A browser lets every page open a WebSocket to any host, and says in the header Origin where the
page is from. Without a look at it any page that somebody visits could talk to a relay that only
this person's machine reaches. What is no browser sends no such header, or lies as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

ANY: Final = "*"
WILDCARD: Final = "*."

_HOST: Final = r"(?P<host>[0-9a-z_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
_ORIGIN: Final = re.compile(r"(?P<scheme>[a-z][0-9a-z+.-]{0,30})://" + _HOST)
_ALLOWED: Final = re.compile(r"(?P<scheme>[a-z][0-9a-z+.-]{0,30})://(?P<any>\*\.)?" + _HOST)
_HOST_HEADER: Final = re.compile(_HOST)
# Of the schemes that a page on a web server has, and what neither Origin nor Host need say.
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: str  # "": the scheme's own


def _origin(match: re.Match[str]) -> _Origin:
    scheme = match["scheme"]
    return _Origin(scheme, match["host"], _port(match["port"], scheme))


def _port(port: str | None, scheme: str) -> str:
    return "" if port is None or port == _DEFAULT_PORTS.get(scheme) else port


class Origins:
    """Those that are allowed; it costs the same however many they are."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """Go by `server.allowed_origins`; none: pages of the host that is connected to.

        Raises:
            ValueError: one of `allowed` is no origin.
        """
        self._all = False
        self._exact: set[_Origin] = set()
        self._below: set[_Origin] = set()  # the hosts that one label may precede
        for text in allowed:
            if text == ANY:
                self._all = True
                continue
            match = _ALLOWED.fullmatch(text.lower())
            if match is None:
                raise ValueError(f"{text} is no origin")
            (self._below if match["any"] else self._exact).add(_origin(match))

    def refusal(self, origins: Sequence[str], hosts: Sequence[str]) -> str | None:
        """Say why a handshake is refused, None where it is not.

        `origins` and `hosts` are the values of its headers Origin and Host, of which there should
        be one, and of Origin none at all if no page asks.
        """
        if not origins or self._all:
            return None
        if len(origins) > 1:
            return "more than one Origin"
        match = _ORIGIN.fullmatch(origins[0].lower())
        if match is None:
            return "no web server's page"  # such as "null", of a file or a sandbox
        origin = _origin(match)
        if self._exact or self._below:
            return None if self._is_listed(origin) else "not one of server.allowed_origins"
        return None if _is_same(origin, hosts) else "another host than the one connected to"

    def _is_listed(self, origin: _Origin) -> bool:
        label, _, parent = origin.host.partition(".")
        is_below = bool(label) and origin._replace(host=parent) in self._below
        return is_below or origin in self._exact


def _is_same(origin: _Origin, hosts: Sequence[str]) -> bool:
    """Tell whether that is the host, and port, which the client connects to."""
    if origin.scheme not in _DEFAULT_PORTS or len(hosts) != 1:
        return False
    match = _HOST_HEADER.fullmatch(hosts[0].lower())
    if match is None:
        return False
    return (match["host"], _port(match["port"], origin.scheme)) == (origin.host, origin.port)
