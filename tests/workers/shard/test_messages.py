"""What is known of messages: repeats are recognised, acks find the delivery they mean."""

import pytest
from msgspec.structs import replace

from relay.bus.envelopes import Seq
from workers.shard import messages
from workers.shard.messages import NO_DIGEST, Known
from workers.store.batch import Batch
from workers.store.keys import message_key


def add(
    batch: Batch,
    message_id: str,
    *,
    author: str,
    recipient: str,
    group: str = "",
    seq: int,
    digest: bytes = NO_DIGEST,
) -> None:
    key = message_key(message_id, author, recipient, group)
    messages.add(batch, key, seq=Seq(seq), time_s=1000, digest=digest)


def test_a_message_is_found_by_all_of_its_key(batch: Batch) -> None:
    add(batch, "M1", author="alice", recipient="bob", seq=7, digest=b"12345678")

    assert messages.find(batch, "M1", "alice", "bob") == Known(
        message_key("M1", "alice", "bob", ""), "alice", "", Seq(7), 1000, 1, b"12345678"
    )
    assert messages.find(batch, "M1", "alice", "carol") is None
    assert messages.find(batch, "M1", "bob", "alice") is None
    assert messages.find(batch, "M2", "alice", "bob") is None
    assert messages.find(batch, "M1", "alice", "bob", "hike-1") is None


def test_the_records_of_a_group_message_and_of_its_copies_are_apart(batch: Batch) -> None:
    add(batch, "M1", author="alice", recipient="", group="hike-1", seq=1)
    add(batch, "M1", author="alice", recipient="bob", group="hike-1", seq=2)
    add(batch, "M1", author="alice", recipient="bob", seq=3)

    found = [
        messages.find(batch, "M1", "alice", recipient, group)
        for recipient, group in (("", "hike-1"), ("bob", "hike-1"), ("bob", ""))
    ]

    assert [message and message.seq for message in found] == [1, 2, 3]
    assert found[1] == Known(
        message_key("M1", "alice", "bob", "hike-1"), "alice", "hike-1", Seq(2), 1000, 1, NO_DIGEST
    )


def test_raising_the_level_changes_nothing_else(batch: Batch) -> None:
    add(batch, "M1", author="alice", recipient="bob", seq=7, digest=b"12345678")
    message = messages.find(batch, "M1", "alice", "bob")
    assert message is not None

    messages.raise_level(batch, message, 3)

    assert messages.find(batch, "M1", "alice", "bob") == replace(message, level=3)


def test_the_only_author_of_an_id_is_found_without_being_named(batch: Batch) -> None:
    add(batch, "M1", author="alice", recipient="bob", seq=7)
    add(batch, "M1", author="carol", recipient="dave", seq=8)
    add(batch, "M1", author="carol", recipient="bob", group="hike-1", seq=9)

    only = messages.find_only_author(batch, "M1", "bob")

    assert only is not None
    assert (only.author, only.seq) == ("alice", 7)
    assert messages.find_only_author(batch, "M1", "erin") is None
    assert messages.find_only_author(batch, "M2", "bob") is None


def test_of_several_authors_none_is_the_only_one(batch: Batch) -> None:
    for author in ("alice", "carol"):
        add(batch, "M1", author=author, recipient="bob", seq=7)

    assert messages.find_only_author(batch, "M1", "bob") is None


def test_the_search_for_the_only_author_is_bounded(batch: Batch) -> None:
    add(batch, "M1", author="a", recipient="bob", seq=1)
    for number in range(7):
        add(batch, "M1", author=f"b{number}", recipient="dave", seq=2)
    assert messages.find_only_author(batch, "M1", "bob") is not None

    add(batch, "M1", author="c", recipient="dave", seq=3)

    assert messages.find_only_author(batch, "M1", "bob") is None


@pytest.mark.parametrize("message_id", ["\U0001f600" * 128, "a" * 65, "a" * 64, " "])
def test_any_id_is_found_again(batch: Batch, message_id: str) -> None:
    add(batch, message_id, author="alice", recipient="bob", seq=7)

    found = messages.find(batch, message_id, "alice", "bob")
    only = messages.find_only_author(batch, message_id, "bob")

    assert found is not None
    assert only == found
