"""Mode "proxy" in a relay: a real nginx asks for passwords and names whom it has let in."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, auth_frame, user_jid
from tests.outside.proxies import Proxy, nginx
from tests.outside.relay import Relay

from .conftest import RelayStarter
from .test_proxies import SOMEBODY, Clients, needs

pytestmark = [pytest.mark.ordeal, needs("nginx")]

TRUST = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
MODE = '[auth]\nmode = "proxy"\n'
USERS = f"{ALICE}:first\n{BOB}:second\n+{ALICE}:third\n"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def login(user: str) -> dict[str, str]:
    """The header of a browser that was told the password."""
    passwords = dict(line.split(":") for line in USERS.splitlines())
    said = base64.b64encode(f"{user}:{passwords[user]}".encode()).decode()
    return {"Authorization": f"Basic {said}"}


def behind(relay: Relay, stack: ExitStack, **options: Any) -> Clients:
    proxy: Proxy = stack.enter_context(nginx(relay.port, users=USERS, **options))
    return Clients(proxy, stack, is_tls=True)


def answers(clients: Clients, user: str, address: str = "127.0.0.1", **headers: str) -> Any:
    """What who says he is `user` is answered."""
    client = clients.connect(address, **headers)
    clients.run(client.send(json.dumps(auth_frame(user_jid(user)))))
    return clients.frame(client)


def code(answer: Any) -> tuple[int, str]:
    return answer[1]["code"], answer[1]["reason"]


ANOTHER = (401, "the login is of another user than remoteJid")
NOBODY = (401, "no proxy has said who this is")


def test_who_has_shown_nginx_a_password_is_that_user_and_no_other(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    clients = behind(start_relay(workers=1, config=TRUST + MODE), stack)

    assert answers(clients, ALICE, **login(ALICE)) == AUTH_SUCCESS
    assert answers(clients, BOB, **login(BOB)) == AUTH_SUCCESS
    assert code(answers(clients, BOB, **login(ALICE))) == ANOTHER
    # Another user of nginx, and no other spelling of the first.
    assert code(answers(clients, ALICE, **login(f"+{ALICE}"))) == ANOTHER
    # What the client says there itself is overwritten.
    assert code(answers(clients, BOB, **login(ALICE), **{"X-Remote-User": BOB})) == ANOTHER
    assert clients.status() == 401  # without a password: nginx's own


def test_a_proxy_that_names_nobody_lets_nobody_in(
    start_relay: RelayStarter, stack: ExitStack
) -> None:
    clients = behind(start_relay(workers=1, config=TRUST + MODE), stack, forwards=False)

    assert code(answers(clients, ALICE, **login(ALICE))) == NOBODY


def test_nobody_else_is_believed(start_relay: RelayStarter, stack: ExitStack) -> None:
    relay = start_relay(workers=1, config=TRUST + MODE)
    believed = behind(relay, stack)
    direct = Clients(relay, stack, is_tls=False)

    refused = answers(direct, ALICE, address=SOMEBODY, **{"X-Remote-User": ALICE})

    assert code(refused) == NOBODY
    assert answers(believed, ALICE, **login(ALICE)) == AUTH_SUCCESS


def test_who_is_denied_is_let_in_no_more_in_this_mode_too(
    start_relay: RelayStarter, stack: ExitStack, tmp_path: Any
) -> None:
    deny = tmp_path / "deny"
    deny.write_text(f"user {ALICE}\n")
    mode = f'[auth]\nmode = "proxy"\ndeny_file = "{deny}"\n'
    clients = behind(start_relay(workers=1, config=TRUST + mode), stack)

    assert code(answers(clients, ALICE, **login(ALICE))) == (403, "this user may not log in")
    assert answers(clients, BOB, **login(BOB)) == AUTH_SUCCESS
