"""The sockets of the bus: who is gone is noticed, who comes back needs a new name."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq

from relay.bus.sockets import bind_router, connect_dealer

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
