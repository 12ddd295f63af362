"""The short ways of a plain send and a plain ack, held against the general ones.

Acks of several messages, and of several people: test_many_acks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from relay.bus.envelopes import LIVE, LOGIN, Acked, CloseSession, SendToUser, ToWorker
from tests import plain
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    CAROL,
    FRONT,
    NOW_S,
    OTHER_FRONT,
    ShardHarness,
    ack,
    settings_with,
    to_user,
)
from workers.shard.effects import Effects, Identity
from workers.shard.mailbox import Mailbox
from workers.shard.plain import Plain
from workers.shard.shard import Shard
from workers.store.journal import IDENTITY_NAME

# Small enough that each limit is met: those of a mailbox, and those of an author.
SMALL_BOXES = settings_with(
    mailbox={"max_entries": 6, "author_share": 0.5, "max_receipts": 3},
    quota={"waiting_messages": 0},
    flow={"page_bytes": 100},
)
SMALL_QUOTA = settings_with(quota={"waiting_messages": 6}, flow={"page_bytes": 100})
USERS = (ALICE, BOB, CAROL)
FRONTS = (FRONT, OTHER_FRONT, FRONT)  # of each user
BATCHES = 40

Step = Callable[[Shard], object]

IDS = [*(f"M{n}" for n in range(12)), "é", "long" * 20]


def given_to(front: Identity, envelope: ToWorker) -> Step:
    return lambda shard: shard.handle(front, envelope)


def seq(n: int) -> int:
    """One of those that are given out in the first moments."""
    return NOW_S * 1_000_000 + n * 1000 + n % 7


def sends(author: int, chat: int, message_id: str, text: str) -> Step:
    return given_to(FRONTS[author], to_user(USERS[author], USERS[chat], message_id, text))


def acks(acker: int, author: int, found: list[str], level: int, time_s: int) -> Step:
    acked = ack(USERS[acker], found, level, author=USERS[author], t=time_s)
    return given_to(FRONTS[acker], acked)


def opens(user: int, phase: int, *, goes_on: bool) -> Step:
    request = plain.open_session(user, USERS[user], phase, 0)

    def step(shard: Shard) -> None:
        shard.handle(FRONTS[user], request)
        if goes_on:
            shard.handle(FRONTS[user], plain.ready(user, 0, 0))

    return step


def is_ready(user: int, up_to: int) -> Step:
    def step(shard: Shard) -> None:
        reader = shard.readers.at(FRONTS[user], user)
        if reader is not None:
            cursor = min(seq(up_to), reader.cursor)
            shard.handle(FRONTS[user], plain.ready(user, cursor, reader.pages))

    return step


def confirms(user: int) -> Step:
    def step(shard: Shard) -> None:
        reader = shard.readers.at(FRONTS[user], user)
        if reader is not None:
            shard.handle(FRONTS[user], plain.confirmed(user, reader.cursor))

    return step


def may_happen(choose: Random, sent: list[tuple[int, int, str]]) -> Step:
    """Return the next of what fronts say and do, after what was `sent`; most of it is plain."""
    user, other = choose.randrange(3), choose.randrange(3)
    match choose.choices(range(9), [40, 40, 3, 9, 5, 1, 1, 1, 3])[0]:
        case 0:
            sent.append((user, other, choose.choice(IDS)))
            return sends(*sent[-1], choose.choice(["hi", "hello", "hi"]))
        case 1:
            message_id = choose.choice(IDS)
            if sent and choose.random() < 0.8:
                other, user, message_id = choose.choice(sent[-8:])
            time_s = choose.choice([-1, NOW_S, NOW_S + 10**6])
            return acks(user, other, [message_id], choose.randint(2, 4), time_s)
        case 2:
            return opens(user, choose.choice([LOGIN, LIVE]), goes_on=choose.random() < 0.8)
        case 3:
            return is_ready(user, choose.choice([99, choose.randrange(40)]))
        case 4:
            return confirms(user)
        case 5:
            return given_to(FRONTS[user], CloseSession(user))
        case 6:
            return given_to(FRONTS[user], plain.pause(user, 0))
        case 7:
            return lambda shard: shard.front_full(FRONTS[user])
        case _:
            return lambda shard: shard.front_has_room(FRONTS[user])


def take_no_short_ways(shard: Shard) -> None:
    receipts: Any = shard._handlers[Acked]
    ways: Plain = receipts.__self__._plain
    ways.takes_sends = ways.takes_acks = False


def announce_everybody(shard: Shard) -> None:
    for user in range(3):
        opens(user, LIVE, goes_on=True)(shard)


def log_in_everybody(shard: Shard) -> None:
    for user, (local, front) in enumerate(zip(USERS, FRONTS, strict=True)):
        shard.handle(front, plain.open_session(user, local, LOGIN, 0))
        shard.handle(front, plain.ready(user, 0, 1))


def take_all(steps: Sequence[Step], shard: Shard) -> None:
    for step in steps:
        step(shard)


def said(effects: Effects) -> tuple[object, ...]:
    return dict(effects.to_fronts), dict(effects.to_peers), effects.applied


def state(harness: ShardHarness) -> list[object]:
    """All that a shard and its store hold."""
    shard = harness.shard
    trees = {name: harness.tree(name) for name in harness.store._trees}
    trees["meta"].pop(IDENTITY_NAME, None)
    return [
        trees,
        dict(shard.counters),
        shard.turn.seq,
        [
            (each.user, each.state, each.cursor, each.barrier, each.pages, list(each.receipts))
            for each in shard.readers
        ],
        [box(each.mailbox) for each in shard.readers],
        [(author, part.messages, part.size) for author, part in shard.authors_waiting()],
    ]


def box(mailbox: Mailbox) -> list[object]:
    shares = mailbox.shares
    return [
        *(mailbox.is_counted, mailbox.messages, mailbox.size, mailbox.receipts),
        *(mailbox.processed, list(mailbox._plain), list(mailbox.evicted)),
        shares and {name: (part.messages, part.size) for name, part in shares._named.items()},
    ]


@pytest.mark.parametrize("seed", range(30))
def test_short_ways_decide_as_the_general_ones(tmp_path: Path, seed: int) -> None:
    choose, sent = Random(seed), list[tuple[int, int, str]]()
    limits = SMALL_BOXES if seed % 2 else SMALL_QUOTA
    both = [ShardHarness(tmp_path / name, 0, 1, limits, {}) for name in ("short", "general")]
    take_no_short_ways(both[1].shard)
    batches = [
        [may_happen(choose, sent) for _ in range(choose.randint(1, 8))] for _ in range(BATCHES)
    ]
    all_steps: list[list[Step]] = [[log_in_everybody], *batches]
    for number, steps in enumerate(all_steps):
        refusal = "no room" if number and choose.random() < 0.1 else ""
        outcomes = []
        for harness in both:
            harness.refusal = refusal
            effects = harness.turn(partial(take_all, steps), now_ms=NOW_S * 1000 + number)
            outcomes.append((said(effects), state(harness)))
        assert outcomes[0] == outcomes[1]
        if number == BATCHES // 2:
            for harness in both:
                harness.stop()
                harness.start()
            take_no_short_ways(both[1].shard)
            for harness in both:
                harness.turn(announce_everybody, now_ms=NOW_S * 1000 + number)
    for harness in both:
        harness.stop()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What became of each try of a short way."""
    tries: list[bool] = []

    for name in ("send", "ack"):
        take = getattr(Plain, name)

        def watched(*arguments: Any, take: Callable[..., bool] = take) -> bool:
            tries.append(take(*arguments))
            return tries[-1]

        monkeypatch.setattr(Plain, name, watched)
    return tries


@pytest.mark.of_source
def test_plain_sends_and_acks_take_the_short_ways(tmp_path: Path, taken: list[bool]) -> None:
    harness = ShardHarness(tmp_path, 0, 1, SMALL_BOXES, {})
    harness.turn(log_in_everybody, now_ms=NOW_S * 1000)
    send: SendToUser = to_user(ALICE, BOB, "M1")

    harness.turn(given_to(FRONT, send), now_ms=NOW_S * 1000)
    assert taken == [True]
    harness.turn(given_to(FRONT, send), now_ms=NOW_S * 1000)  # a repeat
    assert taken == [True, False]
    acked = given_to(OTHER_FRONT, ack(BOB, "M1", author=ALICE))
    harness.turn(acked, now_ms=NOW_S * 1000)
    assert taken == [True, False, True]
    harness.turn(acked, now_ms=NOW_S * 1000)
    assert taken == [True, False, True, False]
    harness.stop()
