"""For whom a proxy has sent a request, by X-Forwarded-For or Forwarded (RFC 7239).

Each proxy adds at the right whom it was asked by. What a client has written itself stands to the
left of that, so the list is read from the right, and only as far as those who wrote are trusted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from relay.front.networks import Address, Networks, plain

# Of proxies one behind another: more are nobody's, and each costs a look at all networks.
MOST_HOPS: Final = 16

# An address, perhaps with a port, which is not of interest.
_NODE: Final = re.compile(
    r"\[(?P<six>[0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?"
    r"|(?P<four>[0-9.]{7,15})(?::[0-9]{1,5})?"
    r"|(?P<bare>[0-9A-Fa-f:.]{2,45})"
)
# A proxy that does not say it: RFC 7239, section 6.
_HIDDEN: Final = re.compile(r"unknown(?::[0-9]{1,5})?|_[0-9A-Za-z._-]{1,100}(?::\S{1,100})?", re.I)
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# One pair of an element, and what ends it. An unquoted value may have what only a quoted one
# should, since proxies write addresses so.
_PAIR: Final = re.compile(
    r"[ \t]*+(?:(?P<name>" + _NAME + r")="
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[!#$%&\'*+.^_`|~0-9A-Za-z:\[\]-]+)))?'
    r"[ \t]*+(?P<end>[;,]|\Z)"
)


class Unreadable(Exception):
    """A header of a trusted proxy is not as it should be."""


def client_of(proxy: Address, nodes: Iterable[str], trusted: Networks) -> Address:
    """Return who is behind `proxy`, by what stands for each hop, from the right.

    The first that is not trusted, or else the last that is known.

    Raises:
        Unreadable: one is no address, or there are over MOST_HOPS of them.
    """
    known = proxy
    for hops, text in enumerate(nodes):
        if hops == MOST_HOPS:
            raise Unreadable
        if not text or _HIDDEN.fullmatch(text):
            return known
        known = _address(text)
        if not trusted.has(known):
            return known
    return known


def _address(text: str) -> Address:
    node = _NODE.fullmatch(text)
    if node is None:
        raise Unreadable
    try:
        return plain(ipaddress.ip_address(node["six"] or node["four"] or node["bare"]))
    except ValueError:
        raise Unreadable from None


def nodes_of_x_forwarded_for(values: Sequence[str]) -> Iterator[str]:
    """Yield what X-Forwarded-For says, from the right."""
    for value in reversed(values):
        for text in reversed(value.split(",")):
            if text := text.strip(" \t"):
                yield text


def nodes_of_forwarded(values: Sequence[str]) -> Iterator[str]:
    """Yield the `for` of what Forwarded says, from the right; "" where it does not say.

    Raises:
        Unreadable: it is not as the RFC has it. A client may have begun what its proxy went on
            with, so nothing of it is believed.
    """
    for value in reversed(values):
        yield from reversed(_elements(value))


def _elements(value: str) -> list[str]:
    found: list[str] = []
    node, is_empty, at = "", True, 0
    while True:
        pair = _PAIR.match(value, at)
        if pair is None:
            raise Unreadable
        if pair["name"] is not None:
            is_empty = False
            if pair["name"].lower() == "for":
                if node:
                    raise Unreadable
                node = pair["plain"] or re.sub(r"\\(.)", r"\1", pair["quoted"] or "")
        if pair["end"] != ";":
            if not is_empty:
                found.append(node)
            node, is_empty = "", True
        if not pair["end"]:
            return found
        at = pair.end()
