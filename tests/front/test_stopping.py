"""A front between the supervisor's stop and its own end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from relay.bus.topology import Topology, WorkerAddress
from relay.front.front import Front
from relay.process.channel import SupervisorEnd, child_end, supervisor_end
from relay.process.control import ChildReady, Heartbeat, Stop, TopologyChanged
from relay.process.place import Place
from relay.protocol.slots import SLOT_COUNT
from relay.settings.tables import ServerSettings, Settings
from relay.supervision.claims import claim_port


@pytest.fixture
def supervisor() -> Iterator[tuple[SupervisorEnd, int]]:
    """The supervisor's end of a control channel, and the descriptor of the front's."""
    ours, theirs = socket.socketpair()
    end = supervisor_end(ours)
    yield end, theirs.detach()
    end.close()


def topology(epoch: int) -> Topology:
    """One worker owns everything, in another incarnation with each epoch; nobody listens there."""
    address = WorkerAddress(0, 0, SLOT_COUNT - 1, f"ipc:///nonexistent/w0-{epoch}.sock", epoch)
    return Topology(epoch=epoch, workers=(address,))


async def wait_until_ready(end: SupervisorEnd) -> None:
    async with asyncio.timeout(10):
        while True:
            messages = end.receive()
            if any(isinstance(message, ChildReady) for message in messages):
                return
            assert all(isinstance(message, Heartbeat) for message in messages)
            await asyncio.sleep(0.001)


@pytest.mark.slow
@pytest.mark.parametrize("serves", [True, False])
def test_a_topology_that_comes_after_the_stop_is_of_no_interest(
    supervisor: tuple[SupervisorEnd, int], serves: bool
) -> None:
    end, descriptor = supervisor
    failures: list[dict[str, Any]] = []

    async def live() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        control = child_end(descriptor)
        settings = Settings(server=ServerSettings(port=0))
        listener = claim_port("127.0.0.1", 0).detach()
        place = Place(Path("/nonexistent"), 0, 1, settings, control, listener=listener)
        front = Front(place, loop)
        running = asyncio.create_task(front.run())
        if serves:
            end.send(TopologyChanged(topology(1)))
            await wait_until_ready(end)
        end.send(Stop(1.0))
        await asyncio.wait_for(running, 10)

        end.send(TopologyChanged(topology(2)))
        for _ in range(3):  # turns of the loop, in which it would be read
            await asyncio.sleep(0)
        control.close()

    asyncio.run(live())

    assert failures == []


REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# A close frame with 1012, "shutdown"; no `Cmd` before it, since nobody has logged in (R2).
FAREWELL = b"\x88\x0a\x03\xf4shutdown"


async def can_connect(address: tuple[str, int]) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("said", [b"", REQUEST[:40], REQUEST])
def test_who_is_in_a_handshake_at_the_stop_hears_why_it_is_to_go(
    supervisor: tuple[SupervisorEnd, int], said: bytes
) -> None:
    end, descriptor = supervisor

    async def live() -> bytes:
        control = child_end(descriptor)
        holder = claim_port("127.0.0.1", 0)
        address = holder.getsockname()
        place = Place(Path("/nonexistent"), 0, 1, Settings(), control, listener=holder.detach())
        running = asyncio.create_task(Front(place, asyncio.get_running_loop()).run())
        end.send(TopologyChanged(topology(1)))
        await wait_until_ready(end)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(said)
        end.send(Stop(4.0))
        async with asyncio.timeout(10):
            while await can_connect(address):  # until it has heard of the stop
                await asyncio.sleep(0.001)

        writer.write(REQUEST[len(said) :])
        answer = await asyncio.wait_for(reader.readuntil(FAREWELL), 10)
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(running, 10)
        control.close()
        return answer

    answer = uvloop.run(live())  # as in a front: asyncio's own loses whom it accepts at a close

    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\r\n\r\n" + FAREWELL)
