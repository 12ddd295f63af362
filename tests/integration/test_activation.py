"""systemd holds the port: a restart of the relay refuses nobody. The test is systemd."""

from __future__ import annotations

import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tests.outside.client import SheetClient
from tests.outside.processes import children_of
from tests.outside.waiting import DEADLINE_S, poll_for
from tests.outside.websocket import ConnectionOver

from .command import Command

pytestmark = pytest.mark.ordeal

RESTART = 1012
Launcher = Callable[..., Command]


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """The socket of a `relay.socket` unit."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as sock:
        yield sock


@pytest.fixture
def launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: socket.socket
) -> Iterator[Launcher]:
    """A function that starts the relay on the same data and the socket of the unit."""
    with tempfile.TemporaryDirectory(prefix="relay-test-") as runs, ExitStack() as stack:
        monkeypatch.setenv("TMPDIR", runs)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

        def start(*options: str, **arguments: Any) -> Command:
            data = ("--data", str(tmp_path / "data"))
            command = Command(tmp_path, *data, *options, **{"sockets": [held], **arguments})
            stack.callback(command.clean_up)
            return command

        yield start


class Caller:
    """Connects, logs in and goes, again and again; what it came to is in `logins` and `failures`.

    Who is sent away by a stop while logging in is told to come again, which is no failure.
    """

    def __init__(self, port: int, user: str) -> None:
        self.logins = 0
        self.failures: list[str] = []
        self.waits = False  # it has begun to connect, and is not in yet
        self._url = f"ws://127.0.0.1:{port}/"
        self._user = user
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def _call(self) -> None:
        while not self._ends.wait(0.002):
            client = None
            self.waits = True
            try:
                client = SheetClient(self._url)
                client.login(self._user)
                self.logins += 1
            except ConnectionOver as over:
                if over.code != RESTART:
                    self.failures.append(str(over))
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            finally:
                self.waits = False
                if client is not None:
                    client.drop()

    def end(self) -> None:
        self._ends.set()
        self._thread.join(2 * DEADLINE_S)


@contextmanager
def calling(port: int) -> Iterator[list[Caller]]:
    """Have some call all the time; none of them may ever be refused or cut."""
    callers = [Caller(port, str(100 + n)) for n in range(4)]
    try:
        poll_for("logins", lambda: all(each.logins for each in callers))
        yield callers
    finally:
        for each in callers:
            each.end()
    assert [each.failures for each in callers] == [[]] * len(callers)


def all_log_in_again(callers: list[Caller]) -> None:
    before = [each.logins for each in callers]
    poll_for(
        "logins",
        lambda: all(c.logins > b + 1 for c, b in zip(callers, before, strict=True)),
        deadline_s=2 * DEADLINE_S,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_connects_while_the_relay_restarts_waits_for_the_next_one(
    launch: Launcher, held: socket.socket, number: signal.Signals
) -> None:
    port = held.getsockname()[1]
    first = launch()
    assert first.wait_until_ready() == port  # and not that of --port
    first.processes()
    with calling(port) as callers:
        first.process.send_signal(number)
        first.process.wait(DEADLINE_S)
        poll_for("the end of all", lambda: first.processes() == [])
        poll_for("all to wait", lambda: all(each.waits for each in callers))

        second = launch()

        all_log_in_again(callers)
        assert second.wait_until_ready() == port
    second.process.terminate()
    assert second.wait() == 0


def test_a_renewal_and_the_death_of_a_front_send_nobody_away(
    launch: Launcher, held: socket.socket
) -> None:
    relay = launch()
    port = relay.wait_until_ready()
    with calling(port) as callers:
        relay.process.send_signal(signal.SIGUSR2)
        relay.wait_for_log(r"supervisor\.rolled")

        all_log_in_again(callers)
    relay.process.terminate()
    assert relay.wait() == 0


def test_whom_a_dead_front_has_not_taken_its_successor_takes(
    launch: Launcher, held: socket.socket
) -> None:
    relay = launch()
    port = relay.wait_until_ready()
    [front] = [c for c in children_of(psutil.Process(relay.process.pid)) if c.role == "front"]
    front.process.suspend()
    caller = Caller(port, "100")
    poll_for("it to wait", lambda: caller.waits)

    front.process.kill()

    poll_for("logins", lambda: caller.logins > 1)
    caller.end()
    assert caller.failures == []


def test_a_socket_that_strangers_reach_is_refused_where_everyone_can_be_anyone(
    launch: Launcher,
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        refused = launch(sockets=[everywhere])
        assert refused.wait() == 1
        assert 'server.host = "0.0.0.0" is not a loopback address' in refused.stderr

        meant = launch("--insecure-open", sockets=[everywhere])
        poll_for("it", lambda: "ready ws://0.0.0.0:" in meant.stdout)


def test_a_socket_that_no_front_would_take_from_is_refused_in_a_line(launch: Launcher) -> None:
    with sharing(2) as held:
        refused = launch(sockets=held)

        assert refused.wait() == 1
        assert refused.stderr.endswith(
            "systemd hands over 2 sockets, for 1 fronts: one, or one a front\n"
        )
        assert refused.stderr.count("\n") == 1


@contextmanager
def sharing(count: int) -> Iterator[list[socket.socket]]:
    """Yield the sockets of a unit that has `count` times the same line, and ReusePort=yes."""
    with ExitStack() as stack:
        address = ("127.0.0.1", 0)
        held: list[socket.socket] = []
        while len(held) < count:
            held.append(
                stack.enter_context(socket.create_server(address, backlog=4096, reuse_port=True))
            )
            address = held[0].getsockname()
        yield held


def test_with_a_socket_a_front_all_get_clients_and_a_restart_refuses_none(
    launch: Launcher,
) -> None:
    with sharing(2) as held:
        port = held[0].getsockname()[1]

        def serve() -> Command:
            relay = launch("--fronts", "2", sockets=held)
            poll_for("it", lambda: f"ready ws://127.0.0.1:{port}/ fronts=2" in relay.stdout)
            return relay

        first = serve()
        clients = [SheetClient(f"ws://127.0.0.1:{port}/") for _ in range(100)]
        fronts = [
            child.process
            for child in children_of(psutil.Process(first.process.pid))
            if child.role == "front"
        ]
        shares = [
            sum(each.status == psutil.CONN_ESTABLISHED for each in front.net_connections())
            for front in fronts
        ]
        assert sum(shares) == 100
        assert min(shares) > 20  # with even shares less than one in 10^9
        for client in clients:
            client.drop()
        with calling(port) as callers:
            first.process.terminate()
            assert first.wait() == 0
            poll_for("all to wait", lambda: all(each.waits for each in callers))
            second = serve()
            all_log_in_again(callers)
        second.process.terminate()
        assert second.wait() == 0
