"""A front whose host is cut off from its cluster: it serves nobody until that is over."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from relay.bus.topology import Topology, WorkerAddress
from relay.front.front import Front
from relay.process.channel import SupervisorEnd, child_end, supervisor_end
from relay.process.control import ChildReady, Isolated, Stop, TopologyChanged
from relay.process.place import Place
from relay.protocol.slots import SLOT_COUNT
from relay.settings.tables import Settings
from relay.supervision.claims import claim_port

Address = tuple[str, int]

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
# A close frame with 1012; no `Cmd` before it, since nobody has logged in (R2).
FAREWELL = b"\x88\x0a\x03\xf4isolated"


@pytest.fixture
def supervisor() -> Iterator[tuple[SupervisorEnd, int]]:
    """The supervisor's end of a control channel, and the descriptor of the front's."""
    ours, theirs = socket.socketpair()
    end = supervisor_end(ours)
    yield end, theirs.detach()
    end.close()


async def answer_to(address: Address, request: bytes) -> bytes:
    """Return the first that the front says; it need not close."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    said = await reader.read(4096)
    writer.close()
    return said


async def until(address: Address, request: bytes, said: bytes) -> None:
    async with asyncio.timeout(10):
        while not (await answer_to(address, request)).startswith(said):
            await asyncio.sleep(0.01)


def serve(
    supervisor: tuple[SupervisorEnd, int], use: Callable[[SupervisorEnd, Address], Awaitable[None]]
) -> Front:
    """Run a front, `use` it once it is ready, and stop it."""
    end, descriptor = supervisor
    holder = claim_port("127.0.0.1", 0)
    address = holder.getsockname()
    fronts = []

    async def live() -> None:
        place = Place(
            Path("/nonexistent"),
            0,
            1,
            Settings(),
            child_end(descriptor),
            listener=holder.detach(),
        )
        front = Front(place, asyncio.get_running_loop())
        fronts.append(front)
        running = asyncio.create_task(front.run())
        worker = WorkerAddress(0, 0, SLOT_COUNT - 1, "ipc:///nonexistent/w0-1.sock", 1)
        end.send(TopologyChanged(Topology(epoch=1, workers=(worker,))))
        async with asyncio.timeout(10):
            while not any(isinstance(message, ChildReady) for message in end.receive()):
                await asyncio.sleep(0.001)
        await use(end, address)
        end.send(Stop(1.0))
        await asyncio.wait_for(running, 10)

    asyncio.run(live())
    return fronts[0]


def test_who_is_there_is_sent_away_and_may_come_elsewhere(
    supervisor: tuple[SupervisorEnd, int],
) -> None:
    async def use(end: SupervisorEnd, address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")

        end.send(Isolated(True))

        assert await asyncio.wait_for(reader.readexactly(len(FAREWELL)), 10) == FAREWELL
        writer.close()

    front = serve(supervisor, use)

    assert front.hub.counters["isolated_closed"] == 1


def test_nobody_comes_in_and_health_checks_say_why_until_it_is_over(
    supervisor: tuple[SupervisorEnd, int],
) -> None:
    async def use(end: SupervisorEnd, address: Address) -> None:
        end.send(Isolated(True))
        await until(address, READY, b"HTTP/1.1 503")

        assert b"isolated" in await answer_to(address, READY)
        refused = await answer_to(address, REQUEST)
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"Retry-After" in refused
        assert b"connect to another one" in refused
        assert (await answer_to(address, READY.replace(b"ready", b"health"))).startswith(
            b"HTTP/1.1 200"
        )

        end.send(Isolated(False))
        await until(address, READY, b"HTTP/1.1 200")
        assert (await answer_to(address, REQUEST)).startswith(b"HTTP/1.1 101")

    front = serve(supervisor, use)

    assert front.hub.counters["isolated_refused"] == 1


def test_who_is_in_a_handshake_when_it_begins_does_not_come_in(
    supervisor: tuple[SupervisorEnd, int],
) -> None:
    async def use(end: SupervisorEnd, address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(REQUEST[:40])
        await until(address, READY, b"HTTP/1.1 200")  # so the front has read it
        end.send(Isolated(True))
        await until(address, READY, b"HTTP/1.1 503")

        writer.write(REQUEST[40:])

        assert (await asyncio.wait_for(reader.read(4096), 10)).startswith(b"HTTP/1.1 503")
        writer.close()

    serve(supervisor, use)
