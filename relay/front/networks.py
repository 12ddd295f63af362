"""Sets of addresses and networks, as settings name them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

# Addresses that are remembered to be in a set or not: most connections come from few.
_MOST_KNOWN: Final = 1000

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def plain(address: Address) -> Address:
    """Return an IPv4 address in IPv6's clothes as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def plain_text(address: str) -> str:
    """Return the same of an address as a socket that takes both kinds names it."""
    return address.removeprefix("::ffff:") if "." in address else address


class Networks:
    """Some of them; a look at one address costs as much as they are many."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take addresses, and networks such as 10.0.0.0/8.

        Raises:
            ValueError: one is neither.
        """
        self._networks = [*map(ipaddress.ip_network, texts)]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def has(self, address: Address) -> bool:
        """Tell whether `address` is in one of them."""
        address = plain(address)
        return any(address in network for network in self._networks)

    def has_text(self, address: str) -> bool:
        """Tell the same of an address as a socket names it; "" is in none."""
        if not self._networks or not address:
            return False
        is_in = self._known.get(address)
        if is_in is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            is_in = self._known[address] = self.has(ipaddress.ip_address(address))
        return is_in
