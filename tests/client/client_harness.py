"""What the tests of `Client` share: a bound on every wait, and loops that find an event."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from relay.client.client import EventStream, RelayClient
from relay.client.errors import Replaced
from relay.client.events import Event, Message
from relay.client.limits import Limits
from tests.client.fake_relay import DEADLINE_S

ASHA, BEN = "917069852821", "919428284313"
AT_ONCE = Limits(reconnect_min_s=0.0, reconnect_max_s=0.0)

T = TypeVar("T")


def run(test: Awaitable[T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(test, DEADLINE_S)

    return asyncio.run(bounded())


async def next_of(events: EventStream, kind: type[T]) -> T:
    """Return the next event of that kind."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the events ended without a {kind.__name__}")


async def until_replaced(client: RelayClient) -> AsyncIterator[Event]:
    """Yield every event; a script ends the loop with close 4409."""
    try:
        async for event in client.events():
            yield event
    except Replaced:
        return


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events if isinstance(event, Message)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
