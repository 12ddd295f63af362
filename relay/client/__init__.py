"""The asyncio client, its pure protocol, and the programs that stand on them.

`relay.client.sync` has a client for programs without an event loop.
"""

from relay.client.client import AckMode, RelayClient
from relay.client.errors import (
    ClientClosed,
    ClientFault,
    LoginRefused,
    OutboxFull,
    Replaced,
    SendRefused,
    SendUnconfirmed,
)
from relay.client.events import (
    Connected,
    Delayed,
    Disconnected,
    Event,
    Failed,
    Level,
    Message,
    Receipt,
    Refused,
    Sent,
    Waiting,
)
from relay.client.ids import new_message_id
from relay.client.limits import Limits
from relay.client.sending import Sending
from relay.client.tokens import Token, TokenRequest
from relay.client.wire import chat_name
from relay.errors import ClientError
from relay.handshake import tls_context
from relay.protocol.jid import parse_user as user_name
from relay.trust import Trust

__all__ = [
    "AckMode",
    "ClientClosed",
    "ClientError",
    "ClientFault",
    "Connected",
    "Delayed",
    "Disconnected",
    "Event",
    "Failed",
    "Level",
    "Limits",
    "LoginRefused",
    "Message",
    "OutboxFull",
    "Receipt",
    "Refused",
    "RelayClient",
    "Replaced",
    "SendRefused",
    "SendUnconfirmed",
    "Sending",
    "Sent",
    "Token",
    "TokenRequest",
    "Trust",
    "Waiting",
    "chat_name",
    "new_message_id",
    "tls_context",
    "user_name",
]
