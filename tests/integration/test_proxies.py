"""A relay behind real proxies, with the files of config/: whose address counts, and how long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, auth_frame, user_jid
from tests.outside.proxies import Proxy, executable, haproxy, nginx
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import DEADLINE_S, poll_for

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

# All of 127.0.0.0/8 is this machine; the proxies connect from the first of them.
SOMEBODY, ANOTHER, LIE = "127.0.0.5", "127.0.0.6", "203.0.113.9"
TRUST = 'trusted_proxies = ["127.0.0.1"]\n'
ONE_EACH = "[admission]\nexempt = []\naddress_connections = 1\n"
_T = TypeVar("_T")
Runner = Callable[..., AbstractContextManager[Proxy]]


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        executable(name) is None or executable("openssl") is None,
        reason=f"needs {name} and openssl (apt-get install nginx-light haproxy openssl)",
    )


def tls_by_nginx(relay: Relay, **options: Any) -> AbstractContextManager[Proxy]:
    return nginx(relay.port, **options)


def tls_by_haproxy(relay: Relay, **options: Any) -> AbstractContextManager[Proxy]:
    return haproxy(behind_tls=relay.port, **options)


def through_haproxy(relay: Relay, **options: Any) -> AbstractContextManager[Proxy]:
    return haproxy(passed_through=relay.port, **options)


NGINX = pytest.param(tls_by_nginx, TRUST, marks=needs("nginx"), id="nginx")
HAPROXY = pytest.param(tls_by_haproxy, TRUST, marks=needs("haproxy"), id="haproxy")
THROUGH = pytest.param(
    through_haproxy, TRUST + "proxy_protocol = true\n", marks=needs("haproxy"), id="proxy-protocol"
)
ALL = pytest.mark.parametrize(("run", "server"), [NGINX, HAPROXY, THROUGH])


class Clients:
    """Connections through a proxy, closed with the test; time passes for them in `run` alone.

    On one thread: a TLS socket of two hangs now and then.
    """

    def __init__(self, proxy: Proxy | Relay, stack: ExitStack, *, is_tls: bool) -> None:
        self._runner = stack.enter_context(asyncio.Runner())
        self._stack = stack
        self._url = f"{'wss' if is_tls else 'ws'}://127.0.0.1:{proxy.port}"
        self._tls = proxy.trust() if is_tls and isinstance(proxy, Proxy) else None

    def run(self, what: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(what)

    def connect(self, address: str = SOMEBODY, path: str = "/", **headers: str) -> ClientConnection:
        async def opened() -> ClientConnection:
            return await connect(
                self._url + path,
                local_addr=(address, 0),
                additional_headers=headers,
                open_timeout=DEADLINE_S,
                close_timeout=1.0,
                proxy=None,
                ssl=self._tls,
            )

        client = self.run(opened())
        self._stack.callback(lambda: self.run(client.close()))
        return client

    def frame(self, client: ClientConnection) -> Any:
        """The next frame."""
        return json.loads(self.run(asyncio.wait_for(client.recv(), DEADLINE_S)))

    def login(self, user: str, address: str = SOMEBODY) -> ClientConnection:
        client = self.connect(address)
        self.run(client.send(json.dumps(auth_frame(user_jid(user)))))
        assert self.frame(client) == AUTH_SUCCESS
        assert self.frame(client)[0] == "q"
        return client

    def echoes(self, client: ClientConnection) -> bool:
        """Whether the relay answers it."""
        self.run(client.send("?,,"))
        return str(self.run(asyncio.wait_for(client.recv(), DEADLINE_S))).startswith("!")

    def status(self, address: str = SOMEBODY, *, leaves: bool = False) -> int:
        """The status that a handshake from there gets; 0 where there is none."""
        try:
            client = self.connect(address)
            if leaves:
                self.run(client.close())
        except InvalidStatus as refused:
            return refused.response.status_code
        except (WebSocketException, OSError):
            return 0
        return 101


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def clients_of(run: Runner, relay: Relay, stack: ExitStack, **options: float) -> Clients:
    return clients_behind(stack.enter_context(run(relay, **options)), run, stack)


def clients_behind(proxy: Proxy, run: Runner, stack: ExitStack) -> Clients:
    """Return them once the proxy has seen that the relay is ready."""
    clients = Clients(proxy, stack, is_tls=run is not through_haproxy)
    poll_for("it is sent clients", lambda: clients.status(ANOTHER, leaves=True) == 101)
    return clients


def addresses(relay: Relay) -> list[str]:
    """From where the clients came that the relay has let in, by its log."""
    return [line["address"].split(":")[0] for line in relay.log.events("client.connected")]


@ALL
def test_limits_and_the_log_go_by_the_clients_address(
    start_relay: RelayStarter, stack: ExitStack, run: Runner, server: str
) -> None:
    relay = start_relay(workers=1, config=f"{DEBUG}[server]\n{server}{ONE_EACH}")
    clients = clients_of(run, relay, stack)
    first = clients.connect(SOMEBODY, **{"X-Forwarded-For": LIE, "Forwarded": f"for={LIE}"})

    assert clients.echoes(first)
    assert clients.status(SOMEBODY) == 429
    poll_for("who has left is gone", lambda: clients.status(ANOTHER) == 101)
    poll_for("the log to tell", lambda: addresses(relay)[-2:] == [SOMEBODY, ANOTHER])
    poll_for("the log to tell", lambda: bool(relay.log.events("connections.refused")))
    [line, *_] = relay.log.events("connections.refused")
    assert line["last_address"] == SOMEBODY
    assert LIE not in addresses(relay)
    clients.run(first.close())
    poll_for("room again", lambda: clients.status(SOMEBODY) == 101)


@ALL
def test_a_client_that_is_idle_for_longer_than_the_proxy_waits_stays(
    start_relay: RelayStarter, stack: ExitStack, run: Runner, server: str
) -> None:
    keepalive = "[keepalive]\nping_interval_s = 0.3\n"
    relay = start_relay(workers=1, config=f"[server]\n{server}{keepalive}")
    clients = clients_of(run, relay, stack, idle_s=1.0)
    alice = clients.login(ALICE)

    clients.run(asyncio.sleep(2.5))  # it is the time itself that is to pass

    assert clients.echoes(alice)


@ALL
def test_a_reload_of_the_proxy_costs_nobody_the_connection(
    start_relay: RelayStarter, stack: ExitStack, run: Runner, server: str
) -> None:
    relay = start_relay(workers=1, config=f"[server]\n{server}")
    proxy = stack.enter_context(run(relay))
    clients = clients_behind(proxy, run, stack)
    alice = clients.login(ALICE)

    proxy.reload()

    assert clients.echoes(alice)
    poll_for("others are let in", lambda: clients.status(ANOTHER) == 101)


@pytest.mark.parametrize(("run", "server"), [HAPROXY, THROUGH])
def test_a_balancer_sends_nobody_to_a_relay_that_is_about_to_stop(
    start_relay: RelayStarter, stack: ExitStack, run: Runner, server: str
) -> None:
    notice = "[supervisor]\ndrain_notice_s = 4.0\n"
    relay = start_relay(workers=1, config=f"[server]\n{server}{notice}")
    clients = clients_of(run, relay, stack)
    bob = clients.login(BOB)

    relay.ask_to_stop()

    poll_for("nobody is sent there", lambda: clients.status(ANOTHER) in (0, 503))
    assert clients.echoes(bob)
    assert not relay.log.events("front.stopped")
    [line] = relay.log.events("front.draining")
    assert line["clients_leave_in_s"] == 4.0
    assert clients.frame(bob)[1]["kind"] == "shutdown"


@needs("nginx")
def test_a_health_check_through_a_proxy_is_answered(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    relay = start_relay(workers=1, config=f"[server]\n{TRUST}")
    clients = clients_of(tls_by_nginx, relay, stack)

    with pytest.raises(InvalidStatus) as refused:
        clients.connect(path="/readyz")
    assert refused.value.response.status_code == 200
    assert refused.value.response.body == b"ready\n"
