"""Mode "token" by keys that are published at an address (auth_token.jwks_url)."""

from __future__ import annotations

import signal
import time
from typing import Any

import jwt
import pytest

from tests.auth.publisher import Handler, Publisher, publishes, says
from tests.auth.signing import jwk, private_key
from tests.integration.conftest import RelayStarter
from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, EMPTY_Q, Frame, ack_1
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S, poll_for

pytestmark = pytest.mark.ordeal

OLD, NEW = private_key("EdDSA"), private_key("EdDSA")
OLD_KEY, NEW_KEY = jwk(OLD, "EdDSA", kid="old"), jwk(NEW, "EdDSA", kid="new")
NO_KEY = "token: no key here has signed it"


def config(url: str, rest_s: float = 0.2) -> str:
    return (
        '[auth]\nmode = "token"\n[auth_token]\nalgorithm = "EdDSA"\n'
        f'jwks_url = "{url}"\njwks_rest_s = {rest_s}\n'
    )


def auth(user: str, *, key: Any = OLD, kid: str = "old", **header: object) -> Frame:
    claims = {"sub": user, "exp": time.time() + 600}
    token = jwt.encode(claims, key, "EdDSA", headers={"kid": kid, **header})
    return ["auth", {"type": "new"}, {"remoteJid": user, "token": token}]


def logged_in(relay: Relay, user: str, **token: Any) -> SheetClient:
    client = relay.connect()
    client.send(auth(user, **token))
    client.expect(AUTH_SUCCESS, EMPTY_Q)
    return client


def answer_to(relay: Relay, user: str, **token: Any) -> Frame:
    client = relay.connect()
    client.send(auth(user, **token))
    answer = client.recv()
    client.drop()
    return answer


def fetched(relay: Relay) -> list[Any]:
    return relay.log.events("auth.keys_fetched")


def test_a_key_that_is_published_while_the_relay_runs_is_known_at_its_first_login(
    start_relay: RelayStarter,
) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        relay = start_relay(workers=1, fronts=2, config=config(publisher.url))
        alice = logged_in(relay, ALICE)
        assert publisher.asked == 1

        publisher.answer = publishes(OLD_KEY, NEW_KEY)
        logged_in(relay, BOB, key=NEW, kid="new")

        assert publisher.asked == 2
        publisher.answer = publishes(NEW_KEY)  # the old one is withdrawn
        assert answer_to(relay, BOB, kid="else")[1]["reason"] == NO_KEY
        poll_for("the old key to go", lambda: answer_to(relay, ALICE)[1].get("code") == 401)
        alice.send_message(BOB, "M")  # its session goes on until its token ends
        alice.expect(ack_1("M", author=ALICE, to=BOB))


def test_a_key_that_nobody_knows_is_asked_about_now_and_then_and_holds_nobody_up(
    start_relay: RelayStarter,
) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        relay = start_relay(workers=1, fronts=1, config=config(publisher.url, rest_s=60))
        logged_in(relay, ALICE)
        strangers = [relay.connect() for _ in range(50)]
        began_s = time.monotonic()
        for number, stranger in enumerate(strangers):
            stranger.send(auth(BOB, key=NEW, kid=f"made up {number}"))

        logged_in(relay, BOB)

        assert time.monotonic() - began_s < 2.5
        for stranger in strangers:
            assert stranger.recv()[1] == {
                "from": "backend",
                "status": "failure",
                "code": 401,
                "reason": NO_KEY,
            }
        assert 2.5 < time.monotonic() - began_s < 10
        assert publisher.asked == 1  # it has just been asked


def test_where_the_address_is_down_at_the_start_logins_are_closed_until_it_is_there(
    start_relay: RelayStarter,
) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        port = publisher.port
    relay = start_relay(workers=1, fronts=1, config=config(publisher.url))

    refused = answer_to(relay, ALICE)
    assert refused[1]["code"] == 503
    assert refused[1]["retryAfter"] >= 1
    assert refused[1]["reason"] == "logins cannot be checked now, try again"

    with Publisher(publishes(OLD_KEY), port):
        poll_for("logins", lambda: answer_to(relay, ALICE) == AUTH_SUCCESS)
    [told] = relay.log.events("auth.keys_not_fetched")
    assert told["has_keys"] is False


def test_a_restart_while_the_address_is_down_lets_in_whom_it_let_in_before(
    start_relay: RelayStarter,
) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        relay = start_relay(workers=1, fronts=1, config=config(publisher.url))
        logged_in(relay, ALICE)
    relay.stop()
    relay.start()

    began_s = time.monotonic()
    logged_in(relay, ALICE)
    assert time.monotonic() - began_s < 2.5
    kept = relay.directory / "data" / "token-keys.json"
    assert kept.stat().st_mode & 0o077 == 0


def test_keys_of_another_address_are_not_believed_after_a_restart(
    start_relay: RelayStarter,
) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        relay = start_relay(workers=1, fronts=1, config=config(publisher.url))
        logged_in(relay, ALICE)
    relay.stop()
    relay.config_path.write_text(config(publisher.url + "/other"))
    relay.start()

    assert answer_to(relay, ALICE)[1]["code"] == 503


def drips(handler: Handler) -> None:
    """Say a byte now and then, so that no silence is long."""
    handler.send_response(200)
    handler.end_headers()
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says(200, b"<html>"), "its answer is no JWKS"),
        (says(200, b"[" * 100_000), "its answer is no JWKS"),
        (publishes(), "its answer has no key with a kid that is for EdDSA"),
        (publishes(jwk(private_key("ES256"), "ES256", kid="new")), "its answer has no key"),
        (says(302, b"", Location="https://elsewhere.example/"), "it redirects"),
        (says(200, b"x" * 2_000_000), "its answer has over 1048576 bytes"),
        (drips, "it has not answered in time"),
    ],
)
def test_a_bad_answer_keeps_the_old_keys_and_is_told_once(
    start_relay: RelayStarter, answer: Any, reason: str
) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        relay = start_relay(workers=1, fronts=1, config=config(publisher.url))
        logged_in(relay, ALICE)
        publisher.answer = answer

        assert answer_to(relay, BOB, key=NEW, kid="new")[1]["reason"] == NO_KEY

        poll_for("it to be told", lambda: bool(relay.log.events("auth.keys_not_fetched")))
        [told] = relay.log.events("auth.keys_not_fetched")
        assert told["reason"].startswith(reason)
        assert publisher.url not in relay.log.path.read_text()
        logged_in(relay, ALICE)


def test_a_front_that_starts_later_has_the_keys_at_once(start_relay: RelayStarter) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        relay = start_relay(workers=1, fronts=1, config=config(publisher.url))
        logged_in(relay, ALICE)
    [front] = relay.children("front")
    front.process.kill()
    poll_for("another front", lambda: len(relay.log.events("front.started")) == 2)

    logged_in(relay, ALICE)


def test_a_token_that_names_no_key_is_refused_without_asking(start_relay: RelayStarter) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        relay = start_relay(workers=1, fronts=1, config=config(publisher.url))
        logged_in(relay, ALICE)
        token = jwt.encode({"sub": ALICE, "exp": time.time() + 600}, OLD, "EdDSA")
        client = relay.connect()

        client.send(["auth", {"type": "new"}, {"remoteJid": ALICE, "token": token}])

        assert client.recv()[1]["reason"] == "token: it does not name its key (kid)"
        assert publisher.asked == 1


def test_a_renewed_supervisor_has_the_keys_and_goes_on_fetching(
    start_relay: RelayStarter,
) -> None:
    with Publisher(publishes(OLD_KEY)) as publisher:
        relay = start_relay(workers=1, fronts=1, config=config(publisher.url))
        logged_in(relay, ALICE)
        port = publisher.port
    (relay.directory / "data" / "token-keys.json").unlink()  # so it is handed over, or lost

    relay.process.send_signal(signal.SIGUSR2)
    poll_for("its end", lambda: bool(relay.log.events("supervisor.rolled")), deadline_s=30)

    assert relay.log.events("supervisor.renewed")
    logged_in(relay, ALICE)
    with Publisher(publishes(NEW_KEY), port):
        poll_for("it", lambda: answer_to(relay, BOB, key=NEW, kid="new") == AUTH_SUCCESS)
