"""The sockets of the bus: who is gone is noticed, who comes back needs a new name."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random

import pytest
import zmq

from relay.bus.sockets import Watch, bind_router, connect_dealer, has_input

WITHIN_MS = 5_000


class Bus:
    """Sockets of one context, closed in the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._context = zmq.Context[zmq.Socket[bytes]]()
        stack.callback(self._context.term)

    def router(self) -> zmq.Socket[bytes]:
        return self._stack.enter_context(bind_router(self._context, "inproc://worker"))

    def dealer(self, identity: str) -> zmq.Socket[bytes]:
        return self._stack.enter_context(
            connect_dealer(self._context, "inproc://worker", identity=identity)
        )


@pytest.fixture
def bus() -> Iterator[Bus]:
    with ExitStack() as stack:
        yield Bus(stack)


def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    assert socket.poll(WITHIN_MS), "nothing came"
    return socket.recv_multipart()


def test_a_message_for_nobody_is_refused_and_not_dropped(bus: Bus) -> None:
    router = bus.router()

    with pytest.raises(zmq.ZMQError) as refused:
        router.send_multipart((b"front-0-1", b"payload"), zmq.DONTWAIT)

    assert refused.value.errno == zmq.EHOSTUNREACH


def test_messages_reach_whom_they_name(bus: Bus) -> None:
    router = bus.router()
    dealers = [bus.dealer(f"front-{index}-1") for index in range(2)]
    for index, dealer in enumerate(dealers):
        dealer.send(b"hello from %d" % index)

    origins = dict(receive(router) for _ in dealers)
    assert origins == {b"front-0-1": b"hello from 0", b"front-1-1": b"hello from 1"}

    router.send_multipart((b"front-1-1", b"to one"), zmq.DONTWAIT)
    router.send_multipart((b"front-0-1", b"to zero"), zmq.DONTWAIT)
    assert [receive(dealer) for dealer in dealers] == [[b"to zero"], [b"to one"]]


def test_more_than_zeromq_s_default_mark_is_neither_dropped_nor_blocks(bus: Bus) -> None:
    """What is in flight is bounded by the links' credits; at a mark ROUTER would drop (1000)."""
    router = bus.router()
    dealer = bus.dealer("front-0-1")
    dealer.send(b"hello")
    receive(router)

    for number in range(5_000):
        router.send_multipart((b"front-0-1", b"%d" % number), zmq.DONTWAIT)

    assert [receive(dealer) for _ in range(5_000)] == [[b"%d" % n] for n in range(5_000)]


def test_one_that_has_gone_is_refused(bus: Bus) -> None:
    router = bus.router()
    dealer = bus.dealer("front-0-1")
    dealer.send(b"hello")
    receive(router)
    dealer.close()

    refused_with: int | None = None
    for _ in range(WITHIN_MS // 10):
        try:
            router.send_multipart((b"front-0-1", b"payload"), zmq.DONTWAIT)
        except zmq.ZMQError as error:
            refused_with = error.errno
            break
        router.poll(10)  # that it is gone is on its way

    assert refused_with == zmq.EHOSTUNREACH


def watch_of(*watched: zmq.Socket[bytes] | int) -> Watch:
    watch = Watch()
    for each in watched:
        watch.add(each)
    return watch


def test_a_watch_tells_which_sockets_and_descriptors_have_input(bus: Bus) -> None:
    router, dealer = bus.router(), bus.dealer("front-0-1")
    reads, writes = os.pipe()
    watch = watch_of(router, dealer, reads)
    assert watch.wait(0) == set()

    dealer.send(b"hello")
    assert watch.wait(WITHIN_MS) == {router}
    os.write(writes, b"x")
    assert watch.wait(WITHIN_MS) == {router, reads}, "nobody has received anything"

    receive(router)
    os.read(reads, 1)
    watch.use(router)
    assert watch.wait(0) == set()
    os.close(reads)
    os.close(writes)


def test_a_watch_is_not_over_for_what_a_socket_has_for_itself(bus: Bus) -> None:
    """Such as that somebody has connected: no message is there to be received."""
    router = bus.router()
    watch = watch_of(router)
    bus.dealer("front-0-1")

    assert watch.wait(50) == set()


def test_a_watch_ends_in_its_time_though_a_socket_stirs(bus: Bus) -> None:
    router, dealer = bus.router(), bus.dealer("front-0-1")
    watch = watch_of(router)
    for _ in range(3):
        dealer.send(b"hello")
        receive(router)  # and the watch is not told
        assert watch.wait(1) == set()


def test_a_socket_that_was_removed_is_watched_no_more(bus: Bus) -> None:
    router, dealer = bus.router(), bus.dealer("front-0-1")
    watch = watch_of(router)
    watch.remove(router)
    dealer.send(b"hello")
    assert has_input(router) or router.poll(WITHIN_MS)

    assert watch.wait(0) == set()
    watch.add(router)
    assert watch.wait(0) == {router}, "it came before"


@pytest.mark.parametrize("seed", range(3))
def test_a_watch_misses_nothing_though_sending_consumes_edges(bus: Bus, seed: int) -> None:
    random = Random(seed)
    router = bus.router()
    dealers = [bus.dealer(f"front-{index}-1") for index in range(3)]
    for dealer in dealers:
        dealer.send(b"hello")
        receive(router)
    ours, watch = dealers[0], watch_of(router, dealers[0])
    for _ in range(2000):
        expected: set[zmq.Socket[bytes] | int] = set()
        if random.random() < 0.5:
            dealers[random.randrange(1, 3)].send(b"to the router")
            expected.add(router)
        if random.random() < 0.5:
            router.send_multipart((b"front-0-1", b"back"), zmq.DONTWAIT)
            watch.use(router)
            expected.add(ours)
        if random.random() < 0.5:
            ours.send(b"edge")
            watch.use(ours)
            expected.add(router)

        found: set[zmq.Socket[bytes] | int] = set()
        while found != expected:
            found |= watch.wait(WITHIN_MS)
            assert found, "a message was missed"
        for socket in (router, ours):
            while socket in expected and has_input(socket):
                socket.recv_multipart()
            watch.use(socket)
