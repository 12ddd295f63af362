"""The asyncio client, its pure protocol, and the terminal chat that stands on them."""

from relay.client.client import Client
from relay.client.errors import (
    ClientClosed,
    ClientFault,
    LoginRefused,
    Replaced,
    SendRefused,
    SendUnconfirmed,
)
from relay.client.events import (
    Accepted,
    Connected,
    Disconnected,
    Event,
    Level,
    Message,
    Receipt,
    Refused,
    SendFailed,
)
from relay.client.limits import Limits
from relay.client.wire import new_message_id
from relay.errors import ClientError
from relay.handshake import tls_context
from relay.trust import Trust

__all__ = [
    "Accepted",
    "Client",
    "ClientClosed",
    "ClientError",
    "ClientFault",
    "Connected",
    "Disconnected",
    "Event",
    "Level",
    "Limits",
    "LoginRefused",
    "Message",
    "Receipt",
    "Refused",
    "Replaced",
    "SendFailed",
    "SendRefused",
    "SendUnconfirmed",
    "Trust",
    "new_message_id",
    "tls_context",
]
