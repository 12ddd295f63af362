"""What is taken of the sockets that a service manager hands over, and what is refused."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.integration.command import handing_over

pytestmark = pytest.mark.slow  # each starts a process: where descriptor 3 is a test's own

TAKE = """
import os
from relay.errors import BootError
from relay.supervision.activation import take_listeners

try:
    found = take_listeners()
except BootError as error:
    print(error)
else:
    print([(s.fileno(), s.getsockname()[1], os.get_inheritable(s.fileno())) for s in found])
print(sorted(name for name in os.environ if name.startswith("LISTEN_")), take_listeners())
"""


def take(*sockets: socket.socket, before: str = "") -> list[str]:
    """Return what a process prints that was handed these."""
    done = subprocess.run(
        [*handing_over(sockets), sys.executable, "-c", before + TAKE],
        pass_fds=[each.fileno() for each in sockets],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout.splitlines()


def test_the_socket_is_taken_once_and_no_child_hears_of_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken, rest = take(held)

        assert taken == str([(3, held.getsockname()[1], False)])
        assert rest == "[] ()"


def test_what_was_handed_to_another_process_is_not_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken, rest = take(held, before="import os; os.environ['LISTEN_PID'] = '1'")

        assert taken == "[]"
        assert rest == "[] ()"


@pytest.mark.parametrize("value", ["", "0", "-1", "many"])
def test_where_there_is_none_none_is_taken(value: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        assert take(held, before=f"import os; os.environ['LISTEN_FDS'] = {value!r}")[0] == "[]"


def test_several_of_one_address_are_taken_in_their_order() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as one:
        address = one.getsockname()
        with socket.create_server(address, reuse_port=True) as another:
            taken, rest = take(one, another)

    assert taken == str([(fd, address[1], False) for fd in (3, 4)])
    assert rest == "[] ()"


def test_two_addresses_are_refused_for_a_front_listens_on_one() -> None:
    one = ("127.0.0.1", 0)
    with socket.create_server(one) as a, socket.create_server(one) as b:
        refusal, _ = take(a, b)

    assert refusal.startswith("systemd hands over sockets of ('127.0.0.1', ")
    assert refusal.endswith(": the relay listens on one address; [::] is IPv4's too")


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (socket.AF_INET, socket.SOCK_STREAM),  # which does not listen
        (socket.AF_INET, socket.SOCK_DGRAM),
        (socket.AF_UNIX, socket.SOCK_STREAM),
    ],
)
def test_what_takes_no_tcp_clients_is_refused(family: int, kind: int) -> None:
    with socket.socket(family, kind) as wrong:
        refusal, _ = take(wrong)

    assert "relay.socket, which is no listening TCP socket" in refusal
