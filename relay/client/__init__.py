"""The asyncio client, its pure protocol, and the terminal chat that stands on them."""

from relay.client.client import Client
from relay.client.protocol import (
    Accepted,
    ClientClosed,
    ClientError,
    Connected,
    Disconnected,
    Event,
    Level,
    Limits,
    LoginRefused,
    Message,
    Receipt,
    Refused,
    Replaced,
    SendFailed,
    SendRefused,
    SendUnconfirmed,
    new_message_id,
)

__all__ = [
    "Accepted",
    "Client",
    "ClientClosed",
    "ClientError",
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
    "new_message_id",
]
