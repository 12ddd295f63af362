"""The bus between hosts: who has the cluster's key gets in, and a stranger gets nowhere."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import zmq

from relay.bus import sockets
from relay.bus.doorkeeper import Doorkeeper
from relay.bus.lifeline import Lifeline, Stage, reach
from relay.bus.remote import Remote, remote_of
from relay.bus.sockets import (
    bind_router,
    connect,
    connect_dealer,
    has_input,
    make_dealer,
    tcp_endpoint,
)
from relay.errors import BootError
from relay.settings.tables import Settings
from tests.abroad import PORTS, PUBLIC, SECRET, Way, cluster_settings, remote

WITHIN_MS = 5_000


def own_keys() -> dict[str, str]:
    public, secret = zmq.curve_keypair()
    return {"public": public.decode(), "secret": secret.decode()}


class Host:
    """A worker's sockets on one host, and whoever tries to reach them; closed in the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.context = zmq.Context[zmq.Socket[bytes]]()
        stack.callback(self.context.term)
        # Another host's, where there is no doorkeeper.
        self.elsewhere = zmq.Context[zmq.Socket[bytes]]()
        stack.callback(self.elsewhere.term)
        self.doorkeeper = Doorkeeper(self.context, PUBLIC)
        stack.callback(self.doorkeeper.close)
        self.router = self.bind("inproc://worker")
        self.endpoint = tcp_endpoint(self.router)

    def bind(self, endpoint: str, **differing: Any) -> zmq.Socket[bytes]:
        router = bind_router(self.context, endpoint, remote=remote(**differing))
        self._stack.callback(router.close)
        return router

    def way(self) -> Way:
        way = Way(self.endpoint)
        self._stack.callback(way.close)
        return way

    def member(
        self, identity: str = "front-b-0-1", endpoint: str = ""
    ) -> tuple[zmq.Socket[bytes], Lifeline]:
        dealer, lifeline = reach(
            self.elsewhere, endpoint or self.endpoint, identity=identity, remote=remote("b")
        )
        self._stack.callback(dealer.close)
        self._stack.callback(lifeline.close)
        return dealer, lifeline

    def stranger(self, dealer: zmq.Socket[bytes], endpoint: str = "") -> Lifeline:
        """Have one that is yet to connect do so, and send something."""
        self._stack.callback(dealer.close)
        lifeline = Lifeline(self.elsewhere, dealer)
        self._stack.callback(lifeline.close)
        connect(dealer, endpoint or self.endpoint)
        with suppress(zmq.Again):
            dealer.send(b"of a stranger", zmq.DONTWAIT)
        return lifeline

    def becomes(self, lifeline: Lifeline, stage: Stage) -> bool:
        """Whether it does so in time, while the worker does what it is there for."""
        for _ in range(WITHIN_MS // 10):
            self.doorkeeper.answer()
            if lifeline.look() is stage:
                return True
            lifeline.socket.poll(10)
        return False

    def received(self) -> list[bytes]:
        """What comes in first, and who sent it."""
        for _ in range(WITHIN_MS // 10):
            self.doorkeeper.answer()
            if self.router.poll(10):
                return self.router.recv_multipart()
        raise AssertionError("nothing came")


@pytest.fixture
def host() -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(stack)


def assert_only_members_are_heard(host: Host) -> None:
    """What a stranger has sent is not among what came, and what a member sends is."""
    dealer, lifeline = host.member("front-b-0-9")
    assert host.becomes(lifeline, Stage.UP)
    dealer.send(b"of a member")
    assert host.received() == [b"front-b-0-9", b"of a member"]
    assert not has_input(host.router)


def test_a_host_with_the_key_is_heard_and_answered(host: Host) -> None:
    dealer, lifeline = host.member()
    assert lifeline.look() is Stage.REACHING
    assert host.becomes(lifeline, Stage.UP)

    dealer.send(b"hello")
    assert host.received() == [b"front-b-0-1", b"hello"]
    host.router.send_multipart((b"front-b-0-1", b"hello yourself"), zmq.DONTWAIT)
    assert dealer.poll(WITHIN_MS)
    assert dealer.recv() == b"hello yourself"
    assert host.doorkeeper.refused == 0
    assert lifeline.look() is Stage.UP


def test_who_speaks_without_a_key_gets_nowhere(host: Host) -> None:
    lifeline = host.stranger(make_dealer(host.elsewhere, "front-b-0-1", None))

    assert host.becomes(lifeline, Stage.OVER)
    assert_only_members_are_heard(host)


def test_who_does_not_know_the_key_of_the_cluster_gets_nowhere(host: Host) -> None:
    dealer = make_dealer(host.elsewhere, "front-b-0-1", remote("b", **own_keys()))

    assert host.becomes(host.stranger(dealer), Stage.OVER)
    assert_only_members_are_heard(host)


def test_who_knows_the_public_key_and_shows_one_of_its_own_gets_nowhere(host: Host) -> None:
    dealer = make_dealer(host.elsewhere, "front-b-0-1", remote("b", **own_keys()))
    dealer.setsockopt(zmq.CURVE_SERVERKEY, PUBLIC.encode())

    assert host.becomes(host.stranger(dealer), Stage.OVER)
    assert host.doorkeeper.refused == 1, "the operator can see it"
    assert_only_members_are_heard(host)


def test_who_shows_the_public_key_without_its_secret_gets_nowhere(host: Host) -> None:
    stolen = {**own_keys(), "public": PUBLIC}
    dealer = make_dealer(host.elsewhere, "front-b-0-1", remote("b", **stolen))

    assert host.becomes(host.stranger(dealer), Stage.OVER)
    assert_only_members_are_heard(host)


def test_who_speaks_something_else_gets_nowhere_and_holds_nobody_up(host: Host) -> None:
    """Such as a size that nobody has the memory for."""
    address, _, port = host.endpoint.removeprefix("tcp://").rpartition(":")
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + b"\x00" + bytes(31)
    huge = greeting + b"\x06" + (1 << 40).to_bytes(8, "big") + b"x"
    with ExitStack() as stack:
        for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 10, greeting, huge):
            end = stack.enter_context(socket.create_connection((address, int(port))))
            end.sendall(said)

        assert_only_members_are_heard(host)


def test_where_nobody_asks_at_the_door_nobody_gets_in(host: Host) -> None:
    with ExitStack() as stack:
        context = zmq.Context[zmq.Socket[bytes]]()
        stack.callback(context.term)
        router = stack.enter_context(bind_router(context, "inproc://worker", remote=remote()))
        _, lifeline = host.member(endpoint=tcp_endpoint(router))

        assert host.becomes(lifeline, Stage.OVER)
        assert not has_input(router)


def test_who_shows_the_key_to_a_host_that_lacks_it_does_not_take_it_for_one(host: Host) -> None:
    """A stranger that took the address of a host hears nothing."""
    with ExitStack() as stack:
        context = zmq.Context[zmq.Socket[bytes]]()
        stack.callback(context.term)
        fake = stack.enter_context(
            bind_router(context, "inproc://worker", remote=remote(**own_keys()))
        )
        dealer, lifeline = host.member(endpoint=tcp_endpoint(fake))
        dealer.send(b"for a host", zmq.DONTWAIT)

        assert host.becomes(lifeline, Stage.OVER)
        assert not has_input(fake)


def test_processes_of_the_host_need_no_key_also_where_their_endpoint_is_bound_again(
    host: Host,
) -> None:
    def speaks(endpoint: str, identity: str) -> bool:
        with connect_dealer(host.elsewhere, endpoint, identity=identity) as dealer:
            dealer.send(b"hello")
            return host.received() == [identity.encode(), b"hello"]

    with tempfile.TemporaryDirectory(prefix="relay-test-") as run_dir:
        host.router = host.bind(f"ipc://{run_dir}/w.sock")
        assert speaks(f"ipc://{run_dir}/w.sock", "front-a-0-1")
        tcp = tcp_endpoint(host.router)
        host.router.bind(f"ipc://{run_dir}/again.sock")
        assert speaks(f"ipc://{run_dir}/again.sock", "front-a-1-2")
        assert host.doorkeeper.refused == 0
    host.endpoint = tcp

    lifeline = host.stranger(make_dealer(host.elsewhere, "front-b-0-1", None))
    assert host.becomes(lifeline, Stage.OVER)
    assert_only_members_are_heard(host)


def test_each_worker_has_a_port_of_its_own(host: Host) -> None:
    ports = {tcp_endpoint(host.bind(f"inproc://worker-{n}")) for n in range(3)}

    assert len(ports | {host.endpoint}) == 4
    for endpoint in ports:
        assert int(endpoint.rpartition(":")[2]) in PORTS


def test_without_a_free_port_or_the_address_a_worker_says_which(host: Host) -> None:
    taken = int(host.endpoint.rpartition(":")[2])
    with pytest.raises(BootError, match=rf"cluster.bus_ports, {taken} to {taken}, are taken"):
        host.bind("inproc://another", ports=range(taken, taken + 1))
    with pytest.raises(BootError, match=r"cannot listen at 192\.0\.2\.1, the address of host a"):
        host.bind("inproc://a-third", address="192.0.2.1")
    with pytest.raises(BootError, match=r"nowhere\.invalid cannot be looked up"):
        host.bind("inproc://a-fourth", address="nowhere.invalid")
    with pytest.raises(BootError, match=r"the name localhost is .* here, where no other host"):
        host.bind("inproc://a-fifth", address="localhost")


def test_a_host_is_known_by_its_settings_and_shows_no_key() -> None:
    assert remote_of(Settings()) is None
    found = remote_of(Settings(cluster=cluster_settings("b")))

    assert found == remote("b", most_bytes=32 << 20)
    assert isinstance(found, Remote)
    assert PUBLIC not in repr(found)
    assert SECRET not in repr(found)


# ------------------------------------------------------------------------------- how it ends


def is_refused(send: Callable[[], object]) -> int | None:
    """Send until that fails; return how."""
    for _ in range(WITHIN_MS // 10):
        try:
            send()
        except zmq.ZMQError as error:
            return error.errno
        time.sleep(0.01)
    return None


def test_a_connection_to_where_nobody_listens_is_over(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    _, lifeline = host.member(endpoint=endpoint)

    assert host.becomes(lifeline, Stage.OVER)


def test_a_connection_to_a_worker_that_dies_is_over_and_takes_nothing_more(host: Host) -> None:
    """What it took would reach another one at that port, in the middle of a link."""
    dealer, lifeline = host.member()
    assert host.becomes(lifeline, Stage.UP)
    host.router.close()
    assert host.becomes(lifeline, Stage.OVER)

    assert is_refused(lambda: dealer.send(b"for a successor", zmq.DONTWAIT)) == zmq.EAGAIN
    assert lifeline.look() is Stage.OVER


@pytest.mark.slow
def test_a_connection_that_is_cut_without_a_word_is_over_at_both_ends_and_stays_so(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(sockets, "SILENT_S", 0.3)
    router = host.bind("inproc://another")  # with those
    host.router, host.endpoint = router, tcp_endpoint(router)
    way = host.way()
    dealer, lifeline = host.member(endpoint=way.endpoint)
    assert host.becomes(lifeline, Stage.UP)
    dealer.send(b"before")
    assert host.received() == [b"front-b-0-1", b"before"]

    way.cut()
    dealer.send(b"while it is cut")
    assert host.becomes(lifeline, Stage.OVER)
    to_front = (b"front-b-0-1", b"payload")
    refused_with = is_refused(lambda: router.send_multipart(to_front, zmq.DONTWAIT))
    assert refused_with == zmq.EHOSTUNREACH

    way.heal()
    assert is_refused(lambda: dealer.send(b"after", zmq.DONTWAIT)) == zmq.EAGAIN
    again, lifeline = host.member("front-b-0-1.1", way.endpoint)
    assert host.becomes(lifeline, Stage.UP)
    again.send(b"on another connection")
    assert host.received() == [b"front-b-0-1.1", b"on another connection"]
