"""The Python client and a real relay: whatever happens, each message comes once and in order."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from relay.client import (
    Connected,
    Delayed,
    Disconnected,
    Failed,
    Limits,
    RelayClient,
    SendRefused,
    Sent,
    TokenRequest,
)
from tests.outside.frames import ALICE, BOB, GROUP
from tests.outside.network import Network
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S

from .conftest import RelayStarter
from .talker import COUNT, Person, numbered
from .test_tokens import config as token_config
from .test_tokens import token_of

pytestmark = [pytest.mark.ordeal, pytest.mark.timeout(180)]

# So that the relay soon knows that a client is gone, and a receipt is soon confirmed.
QUICK: Final = """
[keepalive]
ping_interval_s = 1
pong_timeout_s = 2
receipt_ping_s = 0.2
"""
# So that a client soon knows that its connection is gone.
SOON: Final = Limits(keepalive_s=1, answer_s=1, reconnect_max_s=2, confirm_s=1.5)
LONG_S: Final = 60.0


async def until(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.02)


async def expect_all(author: Person, reader: Person, name: str) -> None:
    """All came once and in order, and the ticks are right."""
    await until(f"all of {name}", lambda: len(reader.got) >= COUNT)
    await until("the ticks", lambda: len(author.read) >= COUNT)
    assert reader.got == numbered(name)
    assert len(author.of(Sent)) == COUNT
    assert len(author.read) == COUNT
    assert author.client.waiting == []
    assert author.of(Failed) == []


Scene = Callable[[Person, Person], Awaitable[None]]


def play(first: RelayClient, second: RelayClient, scene: Scene) -> tuple[Person, Person]:
    """Have two chat; both are listened to while the scene is played."""

    async def run() -> tuple[Person, Person]:
        async with first, second:
            people = Person(first), Person(second)
            listening = [asyncio.create_task(each.listen()) for each in people]
            await scene(*people)
        await asyncio.gather(*listening)
        return people

    return asyncio.run(run())


def test_two_chat_alone_and_in_a_group(start_relay: RelayStarter) -> None:
    relay = start_relay(config=QUICK)

    async def scene(alice: Person, bob: Person) -> None:
        alone = alice.client.send(BOB, "one")
        in_group = alice.client.send(GROUP, "two")
        for each in (alone, in_group):
            await each.sent
            await each.delivered
            await each.read

    _, bob = play(RelayClient(relay.url, ALICE), RelayClient(relay.url, BOB), scene)
    assert bob.got == ["one", "two"]


def test_whatever_happens_to_the_connection_each_message_comes_once_in_order(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config=QUICK, fronts=2)

    async def scene(alice: Person, bob: Person) -> None:
        await until("both are in", lambda: alice.client.online and bob.client.online)
        talking = [
            asyncio.create_task(alice.chatter(BOB, "a", 0.2)),
            asyncio.create_task(bob.chatter(ALICE, "b", 0.2)),
        ]
        await until("some messages", lambda: len(bob.got) >= 3)
        network.cut()
        await until("it notices", lambda: not alice.client.online)
        network.mend()
        await until("it is back", lambda: alice.client.online)
        for front in relay.children("front"):
            front.process.kill()
        await until("its third login", lambda: len(alice.of(Connected)) >= 3)
        # It goes on talking into a network that takes it all, and must notice all the same.
        network.fall_silent()
        await until("it notices", lambda: not alice.client.online)
        network.mend()
        await until("it is back", lambda: alice.client.online)
        relay.children("worker")[0].process.kill()
        await asyncio.gather(*talking)
        await expect_all(alice, bob, "a")
        await expect_all(bob, alice, "b")

    with Network(relay.port) as network:
        alice, _ = play(
            RelayClient(f"ws://127.0.0.1:{network.port}/", ALICE, limits=SOON),
            RelayClient(relay.url, BOB, limits=SOON),
            scene,
        )
    reasons = [event.reason for event in alice.of(Disconnected)]
    assert "no sign of life from the relay" in reasons


def test_a_relay_that_is_renewed_costs_no_message(start_relay: RelayStarter) -> None:
    relay = start_relay(config=QUICK, fronts=2)
    before = {child.process.pid for child in relay.children()}

    async def scene(alice: Person, bob: Person) -> None:
        await until("both are in", lambda: alice.client.online and bob.client.online)
        talking = [
            asyncio.create_task(alice.chatter(BOB, "a", 0.1)),
            asyncio.create_task(bob.chatter(ALICE, "b", 0.1)),
        ]
        relay.process.send_signal(signal.SIGUSR2)
        await until(
            "all are new", lambda: not before & {child.process.pid for child in relay.children()}
        )
        await asyncio.gather(*talking)
        await expect_all(alice, bob, "a")
        await expect_all(bob, alice, "b")

    play(
        RelayClient(relay.url, ALICE, limits=SOON), RelayClient(relay.url, BOB, limits=SOON), scene
    )


def test_a_token_is_renewed_before_its_end_and_the_session_goes_on(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(config=token_config(tmp_path) + QUICK)
    asked: list[TokenRequest] = []

    def token(request: TokenRequest) -> str:
        asked.append(request)
        return token_of(ALICE, left_s=600 if request.renew else 3)

    async def scene(alice: Person, bob: Person) -> None:
        await until("it asks for another", lambda: len(asked) == 2)
        await asyncio.sleep(3)  # the first is over now
        await alice.client.send(BOB, "still here").sent
        await until("it is heard", lambda: bob.got == ["still here"])

    bobs = token_of(BOB, left_s=600)
    alice, _ = play(
        RelayClient(relay.url, ALICE, token=token), RelayClient(relay.url, BOB, token=bobs), scene
    )
    assert [each.renew for each in asked] == [False, True]
    assert alice.of(Disconnected) == []


def test_tokens_that_end_cost_no_message(start_relay: RelayStarter, tmp_path: Path) -> None:
    relay = start_relay(config=token_config(tmp_path) + QUICK)
    # The second time she is given the first again: that session ends with its token.
    first = token_of(ALICE, left_s=4)
    tokens = [first, first, token_of(ALICE, left_s=9), token_of(ALICE, left_s=600)]
    asked: list[bool] = []

    def token(request: TokenRequest) -> str:
        asked.append(request.renew)
        return tokens[min(len(asked), len(tokens)) - 1]

    async def scene(alice: Person, bob: Person) -> None:
        await until("both are in", lambda: alice.client.online and bob.client.online)
        await asyncio.gather(alice.chatter(BOB, "a", 0.2), bob.chatter(ALICE, "b", 0.2))
        await expect_all(alice, bob, "a")
        await expect_all(bob, alice, "b")
        assert alice.ended == ""

    alice, _ = play(
        RelayClient(relay.url, ALICE, token=token, limits=SOON),
        RelayClient(relay.url, BOB, token=token_of(BOB, left_s=600), limits=SOON),
        scene,
    )
    assert asked == [False, True, True, True]
    assert [event.code for event in alice.of(Disconnected)] == [4401]


def test_a_token_that_nobody_renews_ends_the_client(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(config=token_config(tmp_path) + QUICK)

    async def scene(alice: Person, bob: Person) -> None:
        await until("its end", lambda: alice.ended != "")

    short, long = token_of(ALICE, left_s=2), token_of(BOB, left_s=600)
    alice, _ = play(
        RelayClient(relay.url, ALICE, token=short), RelayClient(relay.url, BOB, token=long), scene
    )
    assert alice.ended == "LoginRefused"
    assert len(alice.of(Connected)) == 1


def test_who_is_replaced_stays_away(start_relay: RelayStarter) -> None:
    relay = start_relay(config=QUICK)

    async def scene(alice: Person, bob: Person) -> None:
        await until("she is in", lambda: alice.client.online)
        await asyncio.to_thread(relay.login, ALICE)
        await until("its end", lambda: alice.ended != "")
        await asyncio.sleep(1)

    alice, _ = play(RelayClient(relay.url, ALICE), RelayClient(relay.url, BOB), scene)
    assert alice.ended == "Replaced"
    assert len(alice.of(Connected)) == 1


def test_a_full_mailbox_is_told_and_the_message_may_be_sent_again(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[mailbox]\nmax_entries = 2\nauthor_share = 1.0\n")

    async def scene(alice: Person, bob: Person) -> None:
        for text in ("one", "two"):
            await alice.client.send("away", text).sent
        sending = alice.client.send("away", "three")
        with pytest.raises(SendRefused) as refused:
            await sending.sent
        assert (refused.value.code, refused.value.retryable) == (507, True)
        assert alice.client.waiting == []
        away = await asyncio.to_thread(relay.login, "away")
        for frame in away.queued:
            away.ack(frame)
        await until("there is room", lambda: not relay_has(relay, "away"))
        await alice.client.send("away", "three", id=sending.id).sent

    play(RelayClient(relay.url, ALICE), RelayClient(relay.url, BOB), scene)


def relay_has(relay: Relay, user: str) -> bool:
    return bool(relay.login(user).queued)


def test_a_clock_that_is_wrong_changes_no_order(start_relay: RelayStarter) -> None:
    relay = start_relay(config=QUICK)
    script = """
import sys, time
real = time.time
time.time = lambda: real() - 3 * 86400
from relay.client.sync import SyncClient
with SyncClient(sys.argv[1], sys.argv[2]) as client:
    for text in ("one", "two"):
        client.send(sys.argv[3], text)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, relay.url, ALICE, BOB], cwd=REPOSITORY, timeout=DEADLINE_S
    )
    assert done.returncode == 0
    relay.login("other").send_message(BOB, "M", {"conversation": "three"})

    frames = relay.login(BOB).queued

    assert [f[2][0]["message"]["conversation"] for f in frames] == ["one", "two", "three"]
    ages = [time.time() - int(frame[2][0]["messageTimestamp"]) for frame in frames]
    assert [round(age / 86400) for age in ages[:2]] == [3, 3]


def test_what_is_sent_while_the_relay_cannot_take_it_arrives_once(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[quota]\nmessages_per_s = 5\nmessages_burst = 5\n" + QUICK)

    async def scene(alice: Person, bob: Person) -> None:
        sendings = [alice.client.send(BOB, f"a{number}") for number in range(1, 16)]
        for each in sendings:
            await each.sent
        await until("all came", lambda: len(bob.got) >= 15)

    alice, bob = play(
        RelayClient(relay.url, ALICE, limits=SOON), RelayClient(relay.url, BOB, limits=SOON), scene
    )
    assert {event.code for event in alice.of(Delayed)} == {429}
    assert sorted(bob.got) == sorted(f"a{number}" for number in range(1, 16))
