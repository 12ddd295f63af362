"""Logins by a key that nobody knows yet: it is fetched, they wait a little, and not too many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import jwt
import pytest

from relay.auth import awaited
from relay.auth.awaited import MOST_WAITING
from relay.auth.contract import CLOSED, Credentials, Denied, Granted, Peer, Verdict
from relay.auth.token import TokenAuthenticator
from relay.protocol.stanza import Token
from relay.settings.tables import TokenSettings
from tests.auth.signing import jwk, private_key

ALICE = "917069852821"
NOW = 1_700_000_000
OLD, NEW = private_key("EdDSA"), private_key("EdDSA")
NO_KEY = Denied(401, "token: no key here has signed it")


class Scene:
    """A mode that goes by keys of an address; `asked` counts how often it wants them."""

    def __init__(self) -> None:
        self.asked = 0
        settings = TokenSettings(algorithm="EdDSA", jwks_url="https://id.example/keys")
        self.mode = TokenAuthenticator(settings, self._ask)

    def _ask(self) -> None:
        self.asked += 1

    def publish(self, **keys: Any) -> None:
        entries = [jwk(key, "EdDSA", kid=kid) for kid, key in keys.items()]
        self.mode.take_keys(json.dumps({"keys": entries}).encode())

    def check(self, kid: str, key: Any = OLD) -> Verdict | Coroutine[Any, Any, Verdict]:
        token = jwt.encode({"sub": ALICE, "exp": NOW + 60}, key, "EdDSA", headers={"kid": kid})
        return self.mode.check(Credentials(ALICE, Token(token)), Peer(), now_s=NOW)

    def later(self, kid: str, key: Any = OLD) -> asyncio.Task[Verdict]:
        verdict = self.check(kid, key)
        assert isinstance(verdict, Coroutine)
        return asyncio.create_task(verdict)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited, "WAIT_S", 0.3)
    monkeypatch.setattr(awaited, "ASK_EVERY_S", 0.05)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_known_key_is_looked_at_at_once_and_nobody_is_asked() -> None:
    scene = Scene()
    scene.publish(old=OLD)

    assert isinstance(scene.check("old"), Granted)
    assert scene.check("old", NEW) == NO_KEY
    assert scene.asked == 0


def test_a_login_waits_for_its_key_and_goes_on_with_it() -> None:
    async def run() -> None:
        scene = Scene()
        scene.publish(old=OLD)
        first, second = scene.later("new", NEW), scene.later("else", NEW)
        await turns()
        assert scene.asked == 1

        scene.publish(old=OLD, new=NEW)

        assert isinstance(await first, Granted)
        assert await second == NO_KEY

    asyncio.run(run())


def test_a_login_that_comes_just_after_another_has_keys_fetched_too() -> None:
    """By then they may be others than the fetch has brought that the first one has asked for."""

    async def run() -> None:
        scene = Scene()
        scene.publish(old=OLD)
        waiting = [scene.later("new"), scene.later("newer")]
        await asyncio.gather(*waiting)
        assert scene.asked >= 2
        asked = scene.asked
        await asyncio.sleep(0.15)
        assert scene.asked == asked  # nobody waits any more

    asyncio.run(run())


def test_a_key_that_is_there_and_has_not_signed_it_is_no_reason_to_wait() -> None:
    scene = Scene()
    scene.publish(new=OLD)

    assert scene.check("new", NEW) == NO_KEY


def test_without_any_keys_logins_are_closed_and_not_refused() -> None:
    async def run() -> None:
        scene = Scene()
        assert await scene.later("old") == Denied(503, CLOSED, 1.0)

    asyncio.run(run())


@pytest.mark.parametrize("content", [b"", b"{}", b'{"keys": []}', b"[" * 10**5])
def test_a_set_without_keys_changes_nothing(content: bytes) -> None:
    scene = Scene()
    scene.publish(old=OLD)

    scene.mode.take_keys(content)

    assert isinstance(scene.check("old"), Granted)


def test_so_many_may_wait_and_the_others_hear_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited, "MOST_WAITING", 3)

    async def run() -> None:
        scene = Scene()
        scene.publish(old=OLD)
        waiting = [scene.later(f"made-up-{number}", NEW) for number in range(3)]
        await turns()

        assert scene.check("made-up-4", NEW) == Denied(503, CLOSED, 1.0)
        assert isinstance(scene.check("old"), Granted)
        assert await asyncio.gather(*waiting) == [NO_KEY] * 3
        again = scene.later("made-up-5", NEW)
        assert await again == NO_KEY

    assert MOST_WAITING >= 100
    asyncio.run(run())


def test_one_that_has_gone_waits_no_more() -> None:
    async def run() -> None:
        scene = Scene()
        waiting = scene.later("new")
        await turns()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        keys = scene.mode._awaited
        assert keys is not None
        assert keys.waiting == 0

    asyncio.run(run())
