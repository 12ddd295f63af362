"""The front's links: what is sent again to a worker's next incarnation, and what is not."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import zmq
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.bus import envelopes
from relay.bus.envelopes import (
    Acked,
    AckedByMany,
    FrontBatch,
    RequestNumber,
    SendToGroup,
    SendToUser,
    ToFront,
    ToWorker,
)
from relay.bus.gathering import MOST_RIDERS, Gathering, Totals
from relay.bus.sockets import bind_router, connect_dealer
from relay.bus.topology import Topology, WorkerAddress
from relay.front.links import DeliverToSome, FromWorker, Links, WorkDone
from relay.protocol.slots import SLOT_COUNT, Slot
from tests import plain

SLOT = Slot(0)  # any: one worker owns them all
WITHIN_S = 5.0
MOST_A_TURN = 50
MOST_S_A_TURN = 0.001
AGAIN_S = 0.01  # between two tries to connect


class Incarnations:
    """A worker, played by the test, one incarnation after another."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._number = 0
        self._router: zmq.Socket[bytes]
        self._sent = self._confirmed = self._unconfirmed = 0
        self.work = 0  # which the batch that was received last asked for

    def next(self) -> Topology:
        """Bind the next one; return the topology that lists it."""
        self._number += 1
        self._sent = self._confirmed = self._unconfirmed = 0
        endpoint = f"ipc://{self._run_dir}/w0-{self._number}.sock"
        self._router = bind_router(self._context, endpoint)
        address = WorkerAddress(0, 0, SLOT_COUNT - 1, endpoint, self._number)
        return Topology(epoch=self._number * 2, workers=(address,))

    def die(self) -> Topology:
        self._router.close()
        return Topology(epoch=self._number * 2 + 1)

    async def receive(self) -> list[ToWorker]:
        """Return the next batch that holds anything."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                while not self._router.poll(0):
                    await asyncio.sleep(0.005)
                _, payload = self._router.recv_multipart()
                batch = envelopes.decode_worker_batch(payload)
                self._unconfirmed = batch.number
                self.work = batch.work
                if batch.items:
                    return batch.items

    def answer(self, *items: ToFront, confirms: bool) -> None:
        """Send a batch, which may confirm all that was received up to now."""
        self._sent += 1
        if confirms:
            self._confirmed = self._unconfirmed
        batch = FrontBatch(self._sent, self._confirmed, list(items))
        self._router.send_multipart((b"front-0-1", envelopes.encode(batch)))

    def close(self) -> None:
        self._router.close()
        self._context.term()


def send(request: int) -> SendToUser:
    return SendToUser(
        RequestNumber(request), "alice", "bob", f"M{request}", 1000, b"12345678", b"frame"
    )


def ack(number: int, count: int = 1) -> Acked:
    return Acked("bob", [f"M{number}"] * count, 2, "alice", False, "bob", False, 1000)


def run(
    scene: Callable[[Links, Incarnations, list[FromWorker]], Coroutine[Any, Any, None]],
    gathering: Gathering | None = None,
) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory(prefix="relay-test-") as run_dir:
            worker = Incarnations(Path(run_dir))
            heard: list[FromWorker] = []

            def receive(items: Iterator[FromWorker], ends_s: float) -> bool:
                assert ends_s == math.inf or ends_s - time.perf_counter() <= MOST_S_A_TURN
                taken = list(items if ends_s == math.inf else islice(items, MOST_A_TURN))
                heard.extend(taken)
                return ends_s == math.inf or len(taken) < MOST_A_TURN

            links = Links(
                "front-0-1",
                loop=asyncio.get_running_loop(),
                max_link_bytes=1_000_000,
                receive=receive,
                announce=lambda link: None,
                has_room=lambda link: None,
                gathering=gathering,
            )
            try:
                await scene(links, worker, heard)
            finally:
                links.close()
                worker.close()

    asyncio.run(play())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_groups_envelope_is_taken_in_pieces_and_nothing_of_it_twice() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        sessions = list(range(200))
        links.follow(worker.next())
        links.link_of(SLOT).request(send(1), durable=True)
        assert await worker.receive() == [send(1)]
        worker.answer(
            plain.deliver_to_many(sessions, 7, b"to all"),
            plain.stored(1, 1000),
            plain.deliver_to_many([5], 8, b"the next"),
            confirms=True,
        )
        await until(lambda: heard and heard[-1] == plain.deliver_to_many([5], 8, b"the next"))

        *pieces, stored, _ = heard
        assert stored == plain.stored(1, 1000)
        taken: list[int] = []
        for piece in pieces:
            assert isinstance(piece, DeliverToSome)
            assert (piece.seq, piece.frame) == (7, b"to all")
            assert len(piece.sessions) < len(sessions) / 2
            taken += piece.sessions
        assert taken == sessions

    run(scene)


def test_what_is_unconfirmed_goes_to_the_next_incarnation_once() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        links.link_of(SLOT).request(send(1), durable=True)
        assert await worker.receive() == [send(1)]
        worker.answer(plain.stored(1, 1000), confirms=True)
        await until(lambda: heard)
        links.link_of(SLOT).request(send(2), durable=True)
        assert await worker.receive() == [send(2)]

        links.follow(worker.die())
        links.link_of(SLOT).request(send(3), durable=True)
        await asyncio.sleep(0)
        links.follow(worker.next())

        assert await worker.receive() == [send(2), send(3)]

    run(scene)


def test_r29_a_send_that_was_refused_is_not_repeated_though_its_batch_is_unconfirmed() -> None:
    """Or its author would be told that it is not stored, and its recipient would get it."""

    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        links.link_of(SLOT).request(send(1), durable=True)
        links.link_of(SLOT).request(send(2), durable=True)
        assert await worker.receive() == [send(1), send(2)]
        worker.answer(plain.refused(1, 500, "the disk is full"), confirms=False)
        await until(lambda: heard)

        links.follow(worker.die())
        links.follow(worker.next())

        assert await worker.receive() == [send(2)]

    run(scene)


def test_a_refusal_is_forgotten_with_the_confirmation_of_its_batch() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        link = links.link_of(SLOT)
        link.request(send(1), durable=True)
        await worker.receive()
        worker.answer(plain.refused(1, 500, "the disk is full"), confirms=False)
        worker.answer(plain.refused(9, 500, "marker"), confirms=True)
        await until(lambda: len(heard) == 2)

        assert not link._refused

    run(scene)


def test_other_work_gets_its_turn_while_a_worker_says_much() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        loop = asyncio.get_running_loop()
        links.follow(worker.next())
        links.link_of(SLOT).request(send(1), durable=True)
        await worker.receive()
        turns: list[int] = []

        def other_work() -> None:
            turns.append(len(heard))
            loop.call_soon(other_work)

        other_work()
        said: list[ToFront] = [plain.stored(request, 1000) for request in range(40 * MOST_A_TURN)]
        worker.answer(*said[:1000], confirms=True)
        worker.answer(*said[1000:], confirms=True)
        await until(lambda: len(heard) >= len(said))

        assert heard == said
        assert max(now - before for before, now in pairwise(turns)) <= MOST_A_TURN

    run(scene)


def test_what_a_worker_said_before_it_died_is_read_to_the_end() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        links.link_of(SLOT).request(send(1), durable=True)
        await worker.receive()
        said: list[ToFront] = [plain.stored(request, 1000) for request in range(3 * MOST_A_TURN)]
        worker.answer(*said, confirms=True)
        async with asyncio.timeout(WITHIN_S):
            while not heard:
                await asyncio.sleep(0)
        assert len(heard) < len(said)

        links.follow(worker.die())

        assert heard == said

    run(scene)


def test_a_large_batch_to_a_worker_is_sent_in_parts() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        for request in range(1_200):
            links.link_of(SLOT).request(send(request), durable=True)

        received = [await worker.receive() for _ in range(3)]

        assert [len(items) for items in received] == [500, 500, 200]
        assert [item for items in received for item in items] == [send(n) for n in range(1_200)]

    run(scene)


@pytest.mark.parametrize("kind", [SendToUser, SendToGroup])
def test_a_batch_of_large_frames_to_a_worker_is_sent_in_parts(
    kind: type[SendToUser | SendToGroup],
) -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        sends = [
            kind(
                RequestNumber(number),
                "alice",
                "bob",
                f"M{number}",
                1000,
                b"12345678",
                b"x" * 600_000,
            )
            for number in range(4)
        ]
        for envelope in sends:
            links.link_of(SLOT).request(envelope, durable=True)

        assert [await worker.receive() for _ in range(2)] == [sends[:2], sends[2:]]

    run(scene)


def test_messages_to_users_are_counted_and_those_to_groups_not() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        to_group = SendToGroup(RequestNumber(1), "alice", "hike", "M1", 1000, b"12345678", b"frame")
        for envelope in (send(2), to_group, send(3)):
            links.link_of(SLOT).request(envelope, durable=True)

        assert links.direct_messages == 2

    run(scene)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open nothing more meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/dev/fd")))
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        yield


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The endpoints to which links have tried to connect; they soon try again."""
    tried: list[str] = []

    def connect(context: Any, endpoint: str, *, identity: str) -> Any:
        tried.append(endpoint)
        return connect_dealer(context, endpoint, identity=identity)

    monkeypatch.setattr("relay.front.links.connect_dealer", connect)
    monkeypatch.setattr("relay.front.links.CONNECT_AGAIN_S", AGAIN_S)
    return tried


def test_c5_a_worker_that_comes_back_is_connected_to_once_there_is_a_descriptor(
    tries: list[str],
) -> None:
    """Another process may have taken the machine's last one; it is no reason to die."""

    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        topology = worker.next()

        with no_descriptor_left(), capture_logs() as lines:
            links.follow(topology)
            link = links.link_of(SLOT)
            link.request(send(1), durable=True)
            await until(lambda: len(tries) == 3)
            assert link.address is None

        assert [line["event"] for line in lines] == ["link.no_descriptor"]
        assert await worker.receive() == [send(1)]
        assert link.address == topology.workers[0]

    run(scene)


def test_c5_links_that_are_closed_are_not_tried_again(tries: list[str]) -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        topology = worker.next()
        with no_descriptor_left(), capture_logs():
            links.follow(topology)
        link = links.link_of(SLOT)

        links.close()

        await asyncio.sleep(AGAIN_S)  # a timer behind that of another try
        assert len(tries) == 1
        assert link.address is None

    run(scene)


def test_who_asked_is_told_when_all_that_it_had_requested_is_confirmed_and_only_then() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        link = links.link_of(SLOT)
        link.request(send(1), durable=True)
        link.tell_when_done(5, 16)
        assert await worker.receive() == [send(1)]
        link.request(send(2), durable=True)
        link.tell_when_done(6, 1)
        worker.answer(plain.stored(1, 1000), confirms=False)
        await until(lambda: heard)
        assert heard == [plain.stored(1, 1000)]

        worker.answer(confirms=True)
        await until(lambda: len(heard) == 2)
        assert heard[1:] == [WorkDone(5, 16)]
        assert await worker.receive() == [send(2)]
        worker.answer(confirms=True)
        await until(lambda: len(heard) == 3)
        assert heard[2:] == [WorkDone(6, 1)]

    run(scene)


@pytest.mark.parametrize("requested", ["before it died", "while it was away"])
def test_i9_who_asked_a_worker_that_died_is_told_when_its_successor_has_confirmed(
    requested: str,
) -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        link = links.link_of(SLOT)
        if requested == "before it died":
            link.request(send(1), durable=True)
            link.tell_when_done(5, 16)
            assert await worker.receive() == [send(1)]
        links.follow(worker.die())
        if requested == "while it was away":
            link.request(send(1), durable=True)
            link.tell_when_done(5, 16)
            await asyncio.sleep(0)

        links.follow(worker.next())
        assert await worker.receive() == [send(1)]
        assert heard == []
        worker.answer(confirms=True)
        await until(lambda: heard)
        assert heard == [WorkDone(5, 16)]

    run(scene)


class Waiting(Gathering):
    """One that has batches wait, and acks ride, for as long as a test says."""

    def __init__(self, *, wait_s: float = 0.0, ride_s: float = 0.0) -> None:
        super().__init__()
        self.told = (wait_s, ride_s)
        self.rides: list[bool] = []  # whether they found company
        self.departures: list[tuple[bool, int]] = []

    def due_s(self, now_s: float) -> float:
        return now_s + self.told[0]

    def ride_s(self, now_s: float) -> float:
        return self.told[1]

    def left(self, now_s: float, *, waited: bool, together: int) -> None:
        self.departures.append((waited, together))

    def rode(self, now_s: float, *, found: bool) -> None:
        self.rides.append(found)


LONG_S = 1000.0  # nothing leaves for its time being over


def test_what_is_gathered_waits_until_it_is_due_and_shares_a_batch() -> None:
    gathering = Waiting(wait_s=0.02)

    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        link = links.link_of(SLOT)
        link.request(send(1), durable=True)
        await asyncio.sleep(0)
        link.request(ack(1), durable=True)
        await asyncio.sleep(0)
        link.request(send(2), durable=True)

        assert await worker.receive() == [send(1), ack(1), send(2)]
        assert gathering.departures == [(True, 2)]

        link.request(ack(2), durable=True)
        link.request(ack(3), durable=True)
        assert await worker.receive() == [replace(ack(2), message_ids=["M2", "M3"])]
        assert gathering.departures[1:] == [(True, 2)], "where nothing else is, acks are company"

    run(scene, gathering)


def test_where_nothing_is_to_wait_a_turns_requests_leave_at_its_end() -> None:
    gathering = Waiting()

    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        links.link_of(SLOT).request(send(1), durable=True)
        links.link_of(SLOT).request(ack(1), durable=True)
        await asyncio.sleep(0)

        assert gathering.departures == [(False, 1)]
        assert await worker.receive() == [send(1), ack(1)]

    run(scene, gathering)


def test_what_waits_at_the_end_of_a_front_still_leaves() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        sends = [
            SendToUser(RequestNumber(n), "alice", "bob", f"M{n}", 1000, b"12345678", b"x" * 900_000)
            for n in range(20)
        ]
        for each in sends:
            links.link_of(SLOT).request(each, durable=True)

        links.close()

        received: list[ToWorker] = []
        while len(received) < len(sends):
            received += await worker.receive()
        assert received == sends

    run(scene, Waiting(wait_s=LONG_S))


def test_what_rides_at_the_end_of_a_front_still_leaves() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        links.link_of(SLOT).request(ack(1), durable=True)

        links.close()

        assert await worker.receive() == [ack(1)]

    run(scene, Waiting(ride_s=LONG_S))


def test_an_ack_rides_with_the_next_send() -> None:
    gathering = Waiting(ride_s=LONG_S)

    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        link = links.link_of(SLOT)
        link.request(ack(1), durable=True)
        link.request(plain.confirmed(1, 7), durable=False)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not gathering.departures
        link.request(send(1), durable=True)
        await asyncio.sleep(0)

        assert gathering.departures == [(False, 1)]
        assert gathering.rides == [True]
        assert await worker.receive() == [ack(1), plain.confirmed(1, 7), send(1)]

    run(scene, gathering)


def test_an_ack_that_finds_no_company_leaves_when_its_time_is_over() -> None:
    gathering = Waiting(ride_s=0.01)

    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        links.link_of(SLOT).request(ack(1), durable=True)

        assert await worker.receive() == [ack(1)]
        assert gathering.rides == [False]

    run(scene, gathering)


@pytest.mark.parametrize("acks", [[ack(1, MOST_RIDERS)], [ack(n) for n in range(MOST_RIDERS)]])
def test_as_many_acks_as_a_client_may_have_under_way_do_not_ride(acks: list[Acked]) -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        for each in acks:
            links.link_of(SLOT).request(each, durable=True)

        (told,) = await worker.receive()
        assert isinstance(told, Acked)
        assert len(told.message_ids) == MOST_RIDERS

    run(scene, Waiting(ride_s=LONG_S))


def group_ack(acker: str, message_id: str = "M1", level: int = 2, time_s: int = -1) -> Acked:
    return Acked(acker, [message_id], level, "alice", False, "hike", True, time_s)


def test_what_several_say_of_one_group_message_is_told_as_one() -> None:
    """Also where others come between; another level or message is another matter."""

    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        said: list[ToWorker] = [
            group_ack("bob", time_s=1000),
            send(1),
            group_ack("carol"),
            group_ack("carol", level=3),
            group_ack("bob", "M2"),
            ack(1),
            group_ack("dave"),
        ]
        for each in said:
            links.link_of(SLOT).request(each, durable=True)

        assert await worker.receive() == [
            AckedByMany("M1", 2, "alice", "hike", ["bob", "carol", "dave"], [1000, -1, -1]),
            send(1),
            AckedByMany("M1", 3, "alice", "hike", ["carol"], [-1]),
            AckedByMany("M2", 2, "alice", "hike", ["bob"], [-1]),
            ack(1),
        ]
        assert worker.work == len(said)
        assert (links.work, links.asked, links.rode) == (7, 1, 6)

    run(scene)


def test_acks_of_one_user_that_are_alike_are_told_as_one() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        carol = Acked("carol", ["M9"], 2, "alice", False, "carol", False, 1000)
        later = Acked("carol", ["M10"], 2, "alice", False, "carol", False, 1001)
        for each in (ack(1), send(1), ack(2), ack(3), carol, ack(4), later):
            links.link_of(SLOT).request(each, durable=True)

        items = await worker.receive()
        assert [each.message_ids for each in items if isinstance(each, Acked)] == [
            ["M1", "M2", "M3"],
            ["M9"],
            ["M4"],
            ["M10"],
        ]
        assert worker.work == 7
        assert (links.work, links.asked, links.rode) == (7, 1, 6)

    run(scene)


def test_an_ack_joins_none_of_a_batch_that_has_left() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        for acker in ("bob", "carol"):
            links.link_of(SLOT).request(group_ack(acker), durable=True)
            assert await worker.receive() == [AckedByMany("M1", 2, "alice", "hike", [acker], [-1])]

    run(scene)


def test_so_many_are_told_as_one_that_a_worker_looks_at_the_clock_in_time() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        for number in range(150):
            links.link_of(SLOT).request(group_ack(f"u{number}"), durable=True)

        items = [each for each in await worker.receive() if isinstance(each, AckedByMany)]
        assert [len(each.ackers) for each in items] == [64, 64, 22]
        assert worker.work == 150

    run(scene)


def test_i9_what_several_say_goes_to_the_successor_once() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        link = links.link_of(SLOT)
        link.request(group_ack("bob"), durable=True)
        link.request(group_ack("carol"), durable=True)
        links.follow(worker.die())
        link.request(group_ack("dave"), durable=True)
        links.follow(worker.next())

        said = [
            (item.ackers, item.times_s)
            for item in await worker.receive()
            if isinstance(item, AckedByMany)
        ]
        assert [acker for ackers, _ in said for acker in ackers] == ["bob", "carol", "dave"]
        assert worker.work == 3

    run(scene, Waiting(wait_s=0.02))


def test_i9_what_waits_when_a_worker_dies_goes_to_its_successor_once() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        link = links.link_of(SLOT)
        link.request(send(1), durable=True)
        links.follow(worker.die())
        link.request(send(2), durable=True)
        links.follow(worker.next())

        assert await worker.receive() == [send(1), send(2)]
        link.request(send(3), durable=True)
        assert await worker.receive() == [send(3)]

    run(scene, Waiting(wait_s=0.02))


def test_what_waits_when_a_worker_dies_is_counted_once() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        link = links.link_of(SLOT)
        link.request(ack(1), durable=True)
        link.request(send(1), durable=True)
        links.follow(worker.die())
        links.follow(worker.next())

        assert await worker.receive() == [ack(1), send(1)]
        assert worker.work == 2
        assert (links.work, links.asked, links.rode) == (2, 1, 1)

    run(scene, Waiting(wait_s=0.02))


def test_links_gather_as_other_settings_say_from_then_on() -> None:
    gathering = Gathering(0.01, 0.005)

    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        links.adopt(gather_s=0.0, ride_s=0.1)
        for after_s in (0.0, 1.0, 2.0):
            gathering.measure(after_s, Totals(after_s, int(1000 * after_s), int(100 * after_s)))
        gathering.left(2.0, waited=False, together=1)

        assert gathering.due_s(2.0) == 2.0
        assert gathering.ride_s(2.0) == 0.1

    run(scene, gathering)


def test_a_full_batch_waits_for_nothing() -> None:
    async def scene(links: Links, worker: Incarnations, heard: list[FromWorker]) -> None:
        links.follow(worker.next())
        for request in range(500):
            links.link_of(SLOT).request(send(request), durable=True)

        assert await worker.receive() == [send(n) for n in range(500)]

    run(scene, Waiting(wait_s=LONG_S))
