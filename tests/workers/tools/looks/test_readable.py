"""Keys for people: who and what they are of, or their bytes where that cannot be read."""

import pytest

from workers.store.keys import (
    box_of,
    message_key,
    owned_prefix,
    pack_peer,
    pack_seq,
    receipt_key,
)
from workers.store.schema import ROWS
from workers.tools.looks.readable import READABLE, readable

BOX = box_of("bob")


def test_the_keys_of_every_tree_can_be_read() -> None:
    assert READABLE.keys() == {row.name for row in ROWS}


@pytest.mark.parametrize(
    ("tree", "key", "text"),
    [
        ("mail", BOX + pack_seq(7), "bob 7"),
        ("boxes", BOX, "bob"),
        ("receipts", receipt_key(BOX, "id", "carol", ""), "bob id"),
        ("messages", message_key("id", "bob", "carol", ""), "'id' of bob to carol"),
        ("messages", message_key("id", "bob", "carol", "1-2"), "'id' of bob to carol in 1-2"),
        ("messages", message_key("id", "bob", "", "1-2"), "'id' of bob to 1-2"),
        ("expiry", pack_seq(7), "7"),
        ("bodies", pack_seq(7), "7"),
        ("holders", pack_seq(7), "7"),
        ("outbox", pack_peer(3) + pack_seq(7), "for worker 3 7"),
        ("meta", b"seq", "seq"),
        ("diary.notes", owned_prefix("bob") + b"monday", "bob monday"),
        ("diary.notes", owned_prefix("bob"), "bob "),
        ("diary.log", owned_prefix("bob") + pack_seq(7), "bob 0000000000000007"),
        ("diary.log", owned_prefix("bob") + b"\xff", "bob ff"),
    ],
)
def test_it_says_whose_and_what_it_is(tree: str, key: bytes, text: str) -> None:
    assert readable(tree, key) == text


@pytest.mark.parametrize("tree", [*READABLE, "diary.notes"])
def test_what_is_malformed_is_shown_as_it_is(tree: str) -> None:
    assert readable(tree, b"\xff\xfe") in ("fffe", "65534", "for worker 65534 65534")
