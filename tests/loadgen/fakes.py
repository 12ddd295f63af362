"""A relay that can be told to misbehave, and a run against it within one event loop.

The relay is the generator's own reference (`relay.loadgen.run.reference`), which is right, and one
subclass that gets between it and the recipients.
"""

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import ClassVar, NamedTuple

import msgspec

from relay.loadgen.run.reference import ReferenceConnection, Reflector
from relay.loadgen.traffic.people import all_circles, groups_file
from relay.loadgen.traffic.plan import Chat, Plan, phases_of, share_of, units_of
from relay.loadgen.traffic.repertoire import traffic_for
from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.socketwire import Target
from relay.loadgen.verify.faults import Faults
from relay.loadgen.verify.tally import Counts
from relay.trust import Trust

RUN = "0abcde"
# How often nothing has happened before nothing more is expected. Both sides run in one loop, so
# between two looks each has done what it could, however long the machine takes over it.
_LOOKS = 80
_LOOK_S = 0.005
_DEADLINE_S = 15.0

# What a saboteur is given: the recipient, the frame, and how to pass a frame on.
Sabotage = Callable[[str, bytes, Callable[[bytes], None]], None]


class Saboteur(Reflector):
    """Hands every delivery and receipt to `sabotage` instead of passing it on."""

    def __init__(self, groups: dict[str, list[str]], sabotage: Sabotage | None) -> None:
        super().__init__(groups)
        self._sabotage = sabotage

    def pass_on(self, user: str, payload: bytes, framed: bytes) -> None:
        if self._sabotage is None:
            super().pass_on(user, payload, framed)
        else:
            self._sabotage(user, payload, lambda changed: self._really(user, changed))

    def _really(self, user: str, payload: bytes) -> None:
        header = bytes((0x81, 126)) + len(payload).to_bytes(2)
        super().pass_on(user, payload, header + payload)


class StallingConnection(ReferenceConnection):
    """Does nothing for a while, when told to; then everything."""

    is_stalled = False  # all of them
    held: ClassVar[list[Callable[[], None]]] = []

    def frame(self, frame: bytes) -> None:
        if StallingConnection.is_stalled:
            self.held.append(partial(super().frame, frame))
        else:
            super().frame(frame)

    @classmethod
    def stall(cls) -> None:
        cls.is_stalled = True

    @classmethod
    def go_on(cls) -> None:
        cls.is_stalled = False
        while cls.held:
            cls.held.pop(0)()


class Outcome(NamedTuple):
    faults: Faults
    counts: Counts
    latencies: dict[str, list[int]]  # microseconds


@asynccontextmanager
async def fake_relay(
    plan: Plan,
    sabotage: Sabotage | None = None,
    *,
    connection: type[ReferenceConnection] = ReferenceConnection,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Serve, with the plan's groups, and yield the URL."""
    document = msgspec.json.decode(groups_file(all_circles(plan)))
    groups = {
        jid: [member.partition("@")[0] for member in group["participants"]]
        for jid, group in document.items()
    }
    reflector = Saboteur(groups, sabotage)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: connection(reflector), "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"{'wss' if tls else 'ws'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@contextmanager
def served(sabotage: Sabotage | None = None) -> Iterator[str]:
    """Serve pairs in a thread of its own, as a whole call needs this one; yield the URL."""
    url: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def body() -> None:
        async with fake_relay(Plan(scenario=Chat()), sabotage) as here:
            url.append(here)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(body(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield url[0]
    finally:
        over.set()
        thread.join()


async def play(
    plan: Plan,
    url: str,
    *,
    on_phase: Callable[[str], None] | None = None,
    trust: Trust | None = None,
) -> Outcome:
    """Play the whole plan as one process would, without the process."""
    share = Share(plan, Target(url, trust), run=RUN, index=0)
    share.traffic = traffic_for(share, share_of(units_of(plan.scenario), 0, 1))
    counts, latencies = Counts(), dict[str, list[int]]()

    def take() -> bool:
        happened, values = share.tally.take()
        counts.add(happened)
        for name, micros in values.items():
            latencies.setdefault(name, []).extend(micros)
        return happened.are_progress

    for phase in phases_of(plan):
        share.is_measuring = phase.measured
        share.traffic.begin(phase)
        if on_phase is not None:
            on_phase(phase.name)
        if phase.seconds is not None:
            await asyncio.sleep(phase.seconds)
            continue
        ends, idle_looks = time.monotonic() + _DEADLINE_S, 0
        while not share.traffic.is_done() and time.monotonic() < ends and idle_looks < _LOOKS:
            await asyncio.sleep(_LOOK_S)
            idle_looks = 0 if take() else idle_looks + 1
    for _ in range(_LOOKS // 8):  # what is too much comes after what was awaited
        await asyncio.sleep(_LOOK_S)
    take()
    faults = share.ledger.close()
    await share.leave()
    return Outcome(faults, counts, latencies)
