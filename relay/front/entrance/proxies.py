"""The proxies that are believed, and what they say of who is behind them."""

from __future__ import annotations

import ipaddress
from typing import Final

from relay.front.entrance.forwarded import (
    Unreadable,
    client_of,
    nodes_of_forwarded,
    nodes_of_x_forwarded_for,
)
from relay.front.entrance.head import Head
from relay.front.networks import Networks
from relay.settings.tables import ProxySettings, ServerSettings

BY_DEFAULT: Final = ProxySettings()


class Proxies:
    """Those of the settings."""

    def __init__(self, settings: ServerSettings, users: ProxySettings = BY_DEFAULT) -> None:
        self._trusted = Networks(settings.trusted_proxies)
        self._user_header = users.header.lower()
        self.have_preface = settings.proxy_protocol
        self.header = settings.forwarded_header

    def trust(self, address: str) -> bool:
        """Tell whether what comes from `address` is believed of others; of "" it is not."""
        return self._trusted.has_text(address)

    def user_of(self, request: Head) -> str:
        """Return who it is that a proxy has authenticated, whose request it is; "": it is unclear.

        Said twice, it may be that the client has said it as well.
        """
        values = request.values(self._user_header)
        return values[0] if len(values) == 1 else ""

    def client_of(self, proxy: str, request: Head) -> str | None:
        """Return the address that `proxy` has sent the request for; None: nobody can tell.

        Only the header of the settings is looked at. A proxy passes on what it does not know of,
        so the other one would be the client's own word.
        """
        values = request.values(self.header.lower())
        nodes = (
            nodes_of_forwarded(values)
            if self.header == "Forwarded"
            else nodes_of_x_forwarded_for(values)
        )
        try:
            return str(client_of(ipaddress.ip_address(proxy), nodes, self._trusted))
        except Unreadable:
            return None
