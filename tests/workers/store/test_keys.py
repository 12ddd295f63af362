"""Keys: they sort as they must, never collide and always fit LMDB."""

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.protocol.slots import slot_of
from workers.store.keys import (
    LAST_SEQ,
    box_of,
    box_of_receipt,
    id_prefix,
    message_key,
    message_prefix,
    pack_seq,
    pack_slot,
    parse_message_key,
    receipt_key,
    slot_at,
    slot_of_message,
    split_box,
    split_message_key,
    unpack_seq,
)

MAX_LMDB_KEY = 511  # bytes

examples = settings(max_examples=50, deadline=None)

LOCAL = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", fullmatch=True)  # R11
MAYBE_LOCAL = st.just("") | LOCAL
# R21: 1 to 128 characters, no control characters, no lone surrogates.
MESSAGE_ID = st.text(
    st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=128
) | st.text("\U0001f600é", min_size=30, max_size=128)


@examples
@given(st.integers(0, LAST_SEQ), st.integers(0, LAST_SEQ))
def test_numbers_sort_as_bytes_and_come_back(one: int, other: int) -> None:
    assert (pack_seq(one) < pack_seq(other)) == (one < other)
    assert unpack_seq(b"any prefix" + pack_seq(one)) == one


@examples
@given(LOCAL)
def test_a_mailbox_key_begins_with_the_slot_of_its_user(user: str) -> None:
    assert box_of(user).startswith(pack_slot(slot_of(user)))


@examples
@given(LOCAL, LOCAL, st.integers(1, LAST_SEQ))
def test_no_mailbox_holds_the_keys_of_another(one: str, other: str, seq: int) -> None:
    if one != other:
        assert not (box_of(one) + pack_seq(seq)).startswith(box_of(other))


def test_two_devices_have_two_mailboxes() -> None:
    assert box_of("bob") == box_of("bob", "0")
    assert not (box_of("bob", "00") + pack_seq(1)).startswith(box_of("bob", "0"))


@examples
@given(MESSAGE_ID, LOCAL, MAYBE_LOCAL, MAYBE_LOCAL)
def test_a_message_key_says_whose_it_is(
    message_id: str, author: str, recipient: str, group: str
) -> None:
    key = message_key(message_id, author, recipient, group)

    assert key.startswith(message_prefix(message_id, author))
    assert split_message_key(key, id_prefix(message_id)) == (author, recipient, group)


@examples
@given(MESSAGE_ID, LOCAL, LOCAL, LOCAL)
def test_every_key_fits_lmdb(message_id: str, author: str, recipient: str, group: str) -> None:
    message = message_key(message_id, author, recipient, group)
    receipt = receipt_key(box_of(recipient), message_id, author, group)

    assert len(message) <= MAX_LMDB_KEY
    assert len(receipt) <= MAX_LMDB_KEY


def test_the_longest_of_everything_fits_lmdb() -> None:
    longest = "\U0001f600" * 128
    local = "9" * 64

    assert len(message_key(longest, local, local, local)) <= MAX_LMDB_KEY
    assert len(message_key("a" * 64, local, local, local)) <= MAX_LMDB_KEY
    assert len(receipt_key(box_of(local), "a" * 64, local, local)) <= MAX_LMDB_KEY


@examples
@given(MESSAGE_ID, MESSAGE_ID)
def test_ids_that_begin_alike_keep_apart(one: str, other: str) -> None:
    if one != other:
        assert not id_prefix(one).startswith(id_prefix(other))


def test_long_ids_that_differ_at_their_end_keep_apart() -> None:
    assert id_prefix("a" * 127 + "b") != id_prefix("a" * 127 + "c")


def test_a_hashed_id_is_no_plain_one() -> None:
    hashed = id_prefix("a" * 128)

    # What stands in the key would itself be an id only with a control character in it (R21).
    assert ord(hashed.decode()[0]) < 0x20


@examples
@given(LOCAL, MESSAGE_ID, LOCAL, MAYBE_LOCAL, LOCAL, MAYBE_LOCAL)
def test_receipts_of_other_ackers_or_groups_have_other_keys(
    author: str, message_id: str, acker: str, group: str, other: str, other_group: str
) -> None:
    box = box_of(author)
    same = (acker, group) == (other, other_group)

    assert (
        receipt_key(box, message_id, acker, group)
        == receipt_key(box, message_id, other, other_group)
    ) == same


@examples
@given(LOCAL)
def test_a_mailbox_tells_its_user_and_slot(user: str) -> None:
    assert split_box(box_of(user)) == (user, "0")
    assert slot_at(box_of(user) + pack_seq(7)) == slot_of(user)


@examples
@given(MESSAGE_ID, LOCAL, MAYBE_LOCAL, MAYBE_LOCAL)
def test_a_message_key_is_understood_without_knowing_its_id(
    message_id: str, author: str, recipient: str, group: str
) -> None:
    key = message_key(message_id, author, recipient, group)

    if recipient or group:
        assert parse_message_key(key) == (author, recipient, group)
        assert slot_of_message(key) == slot_of(recipient or group)


@examples
@given(LOCAL, MESSAGE_ID, LOCAL, MAYBE_LOCAL)
def test_a_receipt_key_tells_its_mailbox(
    author: str, message_id: str, acker: str, group: str
) -> None:
    assert box_of_receipt(receipt_key(box_of(author), message_id, acker, group)) == box_of(author)
