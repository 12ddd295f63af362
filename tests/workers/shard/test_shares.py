"""Who has how much of a mailbox: exactly for those who have most, a bound for the others."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from relay.settings.tables import MailboxSettings
from workers.shard.room import MAX_LOOKS_PER_S, Room
from workers.shard.shares import Shares

ROOM = Room(MailboxSettings(max_entries=100, max_bytes=100_000, author_share=0.25))


def test_below_a_share_of_all_nobody_has_more_than_one() -> None:
    assert (ROOM.share_entries, ROOM.share_bytes, ROOM.named) == (25, 25_000, 16)
    assert Room(MailboxSettings(max_entries=1)).share_entries == 1


def test_an_author_with_a_share_is_full_and_one_with_less_is_not() -> None:
    shares = Shares.of([("stranger", 10)] * 25 + [("bob", 10)] * 24, ROOM)

    assert shares.full("stranger", 10, ROOM) is not None
    assert shares.full("bob", 10, ROOM) is None
    assert shares.full("carol", 10, ROOM) is None
    shares.add("bob", 10)
    assert shares.full("bob", 10, ROOM) is not None
    shares.remove("bob", 10)
    assert shares.full("bob", 10, ROOM) is None


def test_a_share_is_full_by_its_bytes_too_but_the_first_message_may_be_of_any_size() -> None:
    shares = Shares.of([("stranger", 24_000)], ROOM)

    assert shares.full("stranger", 1000, ROOM) is None
    assert shares.full("stranger", 1001, ROOM) is not None
    assert shares.full("bob", 60_000, ROOM) is None


def test_many_authors_take_no_more_memory_than_a_few() -> None:
    shares = Shares.of([(f"author{number}", 1) for number in range(90)], ROOM)

    for number in range(10_000):
        shares.add(f"other{number}", 1)

    assert len(list(shares.by_most(in_bytes=False))) == ROOM.named


def test_those_with_most_come_first_by_messages_or_by_bytes() -> None:
    shares = Shares.of([("many", 1)] * 9 + [("large", 500)] * 2 + [("few", 1)], ROOM)

    assert [name for name, _ in shares.by_most(in_bytes=False)] == ["many", "large", "few"]
    assert [name for name, _ in shares.by_most(in_bytes=True)] == ["large", "many", "few"]


@pytest.mark.parametrize("seed", range(20))
def test_nobody_gets_past_a_share_and_a_count_lasts_for_half_a_share(seed: int) -> None:
    """Whatever comes and goes, from whomever, in a mailbox within its limit."""
    chance = random.Random(seed)
    authors = [f"a{number}" for number in range(chance.choice([3, 20, 90]))]
    weights = [chance.random() ** 3 for _ in authors]
    held: list[str] = []
    shares = Shares.of([], ROOM)
    counts = added = 0
    for _ in range(3000):
        if len(held) >= ROOM.max_entries or (held and chance.random() < 0.4):
            author = held.pop(chance.randrange(len(held)))
            shares.remove(author, 1)
            continue
        (author,) = chance.choices(authors, weights)
        if shares.must_count(author, 1, ROOM):
            counts += 1
            shares = Shares.of([(each, 1) for each in held], ROOM)
            assert not shares.must_count(author, 1, ROOM)
        is_full = shares.full(author, 1, ROOM) is not None
        assert is_full == (Counter(held)[author] >= ROOM.share_entries)
        if not is_full:
            held.append(author)
            shares.add(author, 1)
            added += 1

    assert counts <= 1 + added / (ROOM.share_entries / 2)


def test_only_so_much_may_be_read_a_second() -> None:
    room = Room(MailboxSettings())
    room.begin(7)
    assert room.may_look_at(MAX_LOOKS_PER_S - 1)
    assert not room.may_look_at(2)
    assert room.may_look_at(1)
    room.begin(7)
    assert not room.may_look_at(1)
    room.begin(8)
    assert room.may_look_at(MAX_LOOKS_PER_S)
