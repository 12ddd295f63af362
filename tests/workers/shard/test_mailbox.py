"""The mailbox: order, limits, eviction, and receipts that replace each other."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from relay.bus.envelopes import Receipt, Seq
from relay.errors import MailboxFull
from relay.settings.tables import MailboxSettings
from tests.workers.shard.harness import searches
from workers.shard.mailbox import Mailbox, Stretch, receipt_frame, refer_to_body
from workers.shard.room import Room
from workers.store.batch import Batch
from workers.store.keys import LAST_SEQ, box_of, receipt_key

LIMITS = Room(MailboxSettings())
FEW = Room(MailboxSettings(max_entries=3, max_bytes=1024, max_receipts=2, author_share=1.0))


class PlainMailbox:
    """A mailbox whose entries have plain numbers; else it is that mailbox."""

    def __init__(self, batch: Batch) -> None:
        self.__dict__["own"] = Mailbox.load(batch, "bob")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["own"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.own, name, value)

    def queue(
        self, batch: Batch, seq: int, frame: bytes, room: Room, *, author: str = "alice"
    ) -> None:
        self.own.add_message(batch, Seq(seq), author, frame, room)

    def queue_of_group(
        self, batch: Batch, seq: int, length: int, room: Room, *, author: str = "alice"
    ) -> None:
        self.own.expect_group_message(batch, author, length, room)
        batch.put_mail(self.box, Seq(seq), refer_to_body(Seq(seq), length))


@pytest.fixture
def mailbox(batch: Batch) -> PlainMailbox:
    return PlainMailbox(batch)


def seqs(mailbox: PlainMailbox, batch: Batch) -> list[int]:
    return [entry.seq for entry in everything(mailbox, batch).entries]


def everything(mailbox: PlainMailbox, batch: Batch) -> Stretch:
    whole: Stretch = mailbox.stretch(
        batch, after=0, up_to=LAST_SEQ, max_bytes=1 << 30, max_entries=1 << 30
    )
    return whole


def counts(mailbox: PlainMailbox) -> tuple[int, int, int]:
    return mailbox.messages, mailbox.size, mailbox.receipts


def delivered(message_id: str = "M1", level: int = 2, *, acker: str = "carol") -> Receipt:
    return Receipt("bob", "", message_id, acker, level, 1000)


# ------------------------------------------------------------------------------------ entries


def test_entries_are_read_in_order_as_the_frames_they_stand_for(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    receipt = delivered()
    batch.put_body(Seq(2), b"to all", 1)
    mailbox.queue(batch, 1, b"to bob", LIMITS)
    mailbox.queue_of_group(batch, 2, len(b"to all"), LIMITS)
    mailbox.add_receipt(batch, 3, receipt, LIMITS, author_is_absent=False)

    read = everything(mailbox, batch)

    assert [(e.seq, e.receipt_for, e.frame) for e in read.entries] == [
        (1, "", b"to bob"),
        (2, "", b"to all"),
        (3, "M1", receipt_frame(receipt)),
    ]
    assert read.ends
    assert counts(mailbox) == (2, 12, 1)


def test_a_removed_entry_is_gone_and_removing_it_again_changes_nothing(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    mailbox.queue(batch, 1, b"first", LIMITS)
    mailbox.queue(batch, 2, b"second", LIMITS)

    assert mailbox.remove(batch, 1)
    assert not mailbox.remove(batch, 1)

    assert seqs(mailbox, batch) == [2]
    assert counts(mailbox) == (1, 6, 0)


def test_removing_a_group_message_lets_go_of_its_body(mailbox: PlainMailbox, batch: Batch) -> None:
    batch.put_body(Seq(5), b"to all", 2)
    mailbox.queue_of_group(batch, 5, 6, LIMITS)

    mailbox.remove(batch, 5)

    assert batch.get_body(Seq(5)) == b"to all"
    batch.release_body(Seq(5))
    batch.commit()
    with pytest.raises(AssertionError):
        batch.get_body(Seq(5))


# ------------------------------------------------------------------------------------ reading


def test_a_stretch_begins_behind_the_cursor_and_ends_at_the_barrier(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    for seq in (10, 20, 30, 40):
        mailbox.queue(batch, seq, b"frame", LIMITS)

    read = mailbox.stretch(batch, after=10, up_to=30, max_bytes=1 << 20, max_entries=100)

    assert [entry.seq for entry in read.entries] == [20, 30]
    assert read.ends


@pytest.mark.parametrize(
    ("max_bytes", "max_entries", "expected"),
    [
        (300, 100, [1, 2, 3]),
        (299, 100, [1, 2]),
        (1 << 20, 2, [1, 2]),
        (0, 100, [1]),  # what does not fit is read alone
        (1 << 20, 4, [1, 2, 3, 4]),
    ],
)
def test_a_stretch_is_as_long_as_fits_and_says_whether_more_follows(
    mailbox: PlainMailbox, batch: Batch, max_bytes: int, max_entries: int, expected: list[int]
) -> None:
    for seq in (1, 2, 3, 4):
        mailbox.queue(batch, seq, bytes(100), LIMITS)

    read = mailbox.stretch(
        batch, after=0, up_to=LAST_SEQ, max_bytes=max_bytes, max_entries=max_entries
    )

    assert [entry.seq for entry in read.entries] == expected
    assert read.ends == (expected == [1, 2, 3, 4])


def test_a_stretch_without_entries_ends(mailbox: PlainMailbox, batch: Batch) -> None:
    assert everything(mailbox, batch) == Stretch([], ends=True)


# ------------------------------------------------------------------------------------- limits


def test_a_full_mailbox_refuses_when_nothing_in_it_was_sent(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    for seq in (1, 2, 3):
        mailbox.queue(batch, seq, b"frame", FEW)

    with pytest.raises(MailboxFull, match=r"3 messages, 15 bytes, .* at most 3 may"):
        mailbox.queue(batch, 4, b"frame", FEW)
    with pytest.raises(MailboxFull):
        mailbox.queue_of_group(batch, 4, 5, FEW)

    assert seqs(mailbox, batch) == [1, 2, 3]
    assert counts(mailbox) == (3, 15, 0)


def test_a_full_mailbox_lets_go_of_the_oldest_that_was_sent(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    for seq in (1, 2, 3):
        mailbox.queue(batch, seq, b"frame", FEW)
    mailbox.processed = Seq(2)

    mailbox.queue(batch, 4, b"frame", FEW)
    mailbox.queue(batch, 5, b"frame", FEW)
    with pytest.raises(MailboxFull):
        mailbox.queue(batch, 6, b"frame", FEW)

    assert seqs(mailbox, batch) == [3, 4, 5]
    assert len(mailbox.evicted) == 2


@pytest.mark.of_source
def test_a_search_for_what_to_let_go_does_not_pass_what_was_let_go_before(
    mailbox: PlainMailbox, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in the store until the journal is folded: thousands of entries, each time."""
    for seq in range(1, 4):
        mailbox.queue(batch, seq, b"frame", FEW, author="")
    begun = searches(monkeypatch)

    for seq in range(4, 8):
        mailbox.processed = Seq(seq - 1)
        mailbox.queue(batch, seq, b"frame", FEW, author="")

    # The first is for whose they are.
    assert begun == [0, 0, 0, 1, 2]
    assert seqs(mailbox, batch) == [5, 6, 7]


def test_as_many_are_let_go_as_the_new_one_needs_bytes(mailbox: PlainMailbox, batch: Batch) -> None:
    for seq in (1, 2, 3):
        mailbox.queue(batch, seq, bytes(300), FEW)
    mailbox.processed = Seq(3)

    mailbox.queue(batch, 4, bytes(700), FEW)

    assert seqs(mailbox, batch) == [3, 4]
    assert counts(mailbox) == (2, 1000, 0)


def test_nothing_is_let_go_where_that_would_not_be_enough(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    for seq in (1, 2, 3):
        mailbox.queue(batch, seq, bytes(300), FEW)
    mailbox.processed = Seq(1)

    with pytest.raises(MailboxFull):
        mailbox.queue(batch, 4, bytes(700), FEW)

    assert seqs(mailbox, batch) == [1, 2, 3]
    assert not mailbox.evicted


def test_receipts_take_no_room_of_messages_and_are_not_let_go_for_them(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    mailbox.add_receipt(batch, 1, delivered(), FEW, author_is_absent=True)
    for seq in (2, 3, 4):
        mailbox.queue(batch, seq, b"frame", FEW)
    mailbox.processed = Seq(2)

    mailbox.queue(batch, 5, b"frame", FEW)

    assert seqs(mailbox, batch) == [1, 3, 4, 5]
    assert counts(mailbox) == (3, 15, 1)


def test_letting_go_of_a_group_message_lets_go_of_its_body(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    batch.put_body(Seq(1), b"to all", 1)
    mailbox.queue_of_group(batch, 1, 6, FEW)
    for seq in (2, 3):
        mailbox.queue(batch, seq, b"frame", FEW)
    mailbox.processed = Seq(3)

    mailbox.queue(batch, 4, b"frame", FEW)

    batch.commit()
    with pytest.raises(AssertionError, match="missing"):
        batch.get_body(Seq(1))


def test_an_empty_mailbox_takes_a_message_of_any_size(mailbox: PlainMailbox, batch: Batch) -> None:
    """A frame is somewhat longer than the message element that the settings bound."""
    mailbox.queue(batch, 1, bytes(1500), FEW)

    assert seqs(mailbox, batch) == [1]


# ------------------------------------------------------------------------------------- totals


def test_saved_totals_are_loaded_without_counting(mailbox: PlainMailbox, batch: Batch) -> None:
    mailbox.queue(batch, 1, b"frame", LIMITS)
    mailbox.add_receipt(batch, 2, delivered(), LIMITS, author_is_absent=True)
    mailbox.processed = Seq(1)
    mailbox.save(batch)

    loaded = PlainMailbox(batch)

    assert counts(loaded) == (1, 5, 1)
    assert loaded.processed == 1


def test_without_totals_they_are_counted(mailbox: PlainMailbox, batch: Batch) -> None:
    batch.put_body(Seq(2), bytes(70), 1)
    mailbox.queue(batch, 1, bytes(30), LIMITS)
    mailbox.queue_of_group(batch, 2, 70, LIMITS)
    mailbox.add_receipt(batch, 3, delivered("M1"), LIMITS, author_is_absent=True)
    mailbox.add_receipt(batch, 4, delivered("M2"), LIMITS, author_is_absent=False)

    counted = PlainMailbox(batch)
    counted.count(batch)

    assert counts(counted) == (2, 100, 2)


def waiting(batch: Batch) -> PlainMailbox:
    """Return a mailbox that nobody has counted: a message, a group's and a receipt wait in it."""
    mailbox = PlainMailbox(batch)
    batch.put_body(Seq(2), bytes(70), 1)
    mailbox.queue(batch, 1, bytes(30), LIMITS)
    mailbox.queue_of_group(batch, 2, 70, LIMITS)
    mailbox.add_receipt(batch, 3, delivered("M1"), LIMITS, author_is_absent=False)
    uncounted = PlainMailbox(batch)
    assert not uncounted.is_counted
    return uncounted


CHANGES: dict[str, tuple[Callable[[PlainMailbox, Batch], object], tuple[int, int, int]]] = {
    "a message": (lambda m, b: m.queue(b, 9, bytes(5), LIMITS), (3, 105, 1)),
    "a group message": (lambda m, b: m.queue_of_group(b, 9, 70, LIMITS), (3, 170, 1)),
    "a receipt": (
        lambda m, b: m.add_receipt(b, 9, delivered("M9"), LIMITS, author_is_absent=False),
        (2, 100, 2),
    ),
    "a removal": (lambda m, b: m.remove(b, 1), (1, 70, 1)),
    "an expiry": (lambda m, b: m.expire(b, 2, 10), (1, 70, 1)),
    "the end of its session": (lambda m, b: m.make_receipts_findable(b, 10), (2, 100, 1)),
}


@pytest.mark.of_source
@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_the_first_change_counts_what_was_there(
    batch: Batch, change: Callable[[PlainMailbox, Batch], object], expected: tuple[int, int, int]
) -> None:
    mailbox = waiting(batch)

    change(mailbox, batch)

    assert counts(mailbox) == expected
    mailbox.count(batch)
    assert counts(mailbox) == expected, "counted twice"


@pytest.mark.of_source
def test_a_mailbox_is_read_without_counting(batch: Batch) -> None:
    """A worker that comes back reads those of all its sessions at once."""
    mailbox = waiting(batch)

    assert seqs(mailbox, batch) == [1, 2, 3]
    assert not mailbox.is_counted


@pytest.mark.of_source
def test_a_mailbox_that_is_full_is_so_before_it_is_counted(batch: Batch) -> None:
    mailbox = waiting(batch)

    with pytest.raises(MailboxFull):
        mailbox.check_room(batch, "alice", 1, Room(MailboxSettings(max_entries=2)))
    with pytest.raises(MailboxFull):
        waiting(batch).queue(batch, 9, b"x", Room(MailboxSettings(max_entries=2)))


def test_receipts_that_a_lost_session_left_become_findable(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    for seq, level in ((1, 2), (2, 3)):
        mailbox.add_receipt(batch, seq, delivered(level=level), LIMITS, author_is_absent=False)

    counted = PlainMailbox(batch)
    counted.make_receipts_findable(batch, 10)
    counted.add_receipt(batch, 3, delivered(level=4), LIMITS, author_is_absent=True)

    assert seqs(counted, batch) == [3]
    assert counts(counted) == (0, 0, 1)


def test_an_empty_mailbox_leaves_no_totals(mailbox: PlainMailbox, batch: Batch) -> None:
    mailbox.queue(batch, 1, b"frame", LIMITS)
    mailbox.save(batch)
    mailbox.remove(batch, 1)
    mailbox.save(batch)

    assert batch.get_totals(box_of("bob")) is None


# ------------------------------------------------------------------------------------ receipts


def test_an_absent_author_keeps_one_receipt_a_message_and_acker(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    """The highest level, in the place of the latest (2.4.5)."""
    for seq, level in ((1, 2), (2, 3)):
        mailbox.add_receipt(batch, seq, delivered(level=level), LIMITS, author_is_absent=True)
    mailbox.add_receipt(batch, 3, delivered("M2"), LIMITS, author_is_absent=True)
    mailbox.add_receipt(batch, 4, delivered(acker="dave"), LIMITS, author_is_absent=True)

    frames = [(entry.seq, entry.frame) for entry in everything(mailbox, batch).entries]

    assert frames == [
        (2, receipt_frame(delivered(level=3))),
        (3, receipt_frame(delivered("M2"))),
        (4, receipt_frame(delivered(acker="dave"))),
    ]
    assert mailbox.receipts == 3


def test_a_higher_level_that_waits_is_not_replaced_by_a_lower_one(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    for seq, level in ((1, 4), (2, 2)):
        mailbox.add_receipt(batch, seq, delivered(level=level), LIMITS, author_is_absent=True)

    (entry,) = everything(mailbox, batch).entries

    assert entry.frame == receipt_frame(delivered(level=4))


def test_receipts_of_a_group_message_and_a_1_1_message_do_not_replace_each_other(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    in_group = Receipt("bob", "hike-1", "M1", "carol", 3, 1000)
    mailbox.add_receipt(batch, 1, delivered(), LIMITS, author_is_absent=True)
    mailbox.add_receipt(batch, 2, in_group, LIMITS, author_is_absent=True)

    assert seqs(mailbox, batch) == [1, 2]


def test_a_present_author_gets_each_level(mailbox: PlainMailbox, batch: Batch) -> None:
    for seq, level in ((1, 2), (2, 3)):
        mailbox.add_receipt(batch, seq, delivered(level=level), LIMITS, author_is_absent=False)

    assert seqs(mailbox, batch) == [1, 2]


def test_when_the_session_ends_only_the_highest_level_stays(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    mailbox.add_receipt(batch, 1, delivered("M0"), LIMITS, author_is_absent=True)
    mailbox.add_receipt(batch, 2, delivered("M1"), LIMITS, author_is_absent=True)
    for seq, level in ((3, 3), (4, 4)):
        mailbox.add_receipt(batch, seq, delivered("M1", level), LIMITS, author_is_absent=False)

    mailbox.make_receipts_findable(batch, 10)

    frames = [(entry.seq, entry.frame) for entry in everything(mailbox, batch).entries]
    assert frames == [
        (1, receipt_frame(delivered("M0"))),
        (4, receipt_frame(delivered("M1", 4))),
    ]
    assert counts(mailbox) == (0, 0, 2)
    assert batch.get_receipt(receipt_key(mailbox.box, "M1", "carol", "")) == 4


def test_a_removed_receipt_is_not_found_any_more(mailbox: PlainMailbox, batch: Batch) -> None:
    mailbox.add_receipt(batch, 1, delivered(), LIMITS, author_is_absent=True)
    mailbox.remove(batch, 1)
    mailbox.add_receipt(batch, 2, delivered(level=2), LIMITS, author_is_absent=True)

    assert seqs(mailbox, batch) == [2]


def test_receipts_beyond_the_limit_are_dropped_but_a_level_still_rises(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    def add(seq: int, receipt: Receipt, *, absent: bool) -> bool:
        return bool(mailbox.add_receipt(batch, seq, receipt, FEW, author_is_absent=absent))

    assert add(1, delivered("M1"), absent=True)
    assert add(2, delivered("M2"), absent=True)
    assert not add(3, delivered("M3"), absent=True)
    assert not add(4, delivered("M3"), absent=False)
    assert add(5, delivered("M1", 3), absent=True)

    assert seqs(mailbox, batch) == [2, 5]
    assert mailbox.receipts == 2


# ------------------------------------------------------------------------------------- expiry


def test_only_entries_older_than_the_limit_expire_and_only_so_many_at_once(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    batch.put_body(Seq(2), b"to all", 1)
    mailbox.queue(batch, 1, b"frame", LIMITS)
    mailbox.queue_of_group(batch, 2, 6, LIMITS)
    mailbox.add_receipt(batch, 3, delivered(), LIMITS, author_is_absent=True)
    mailbox.queue(batch, 4, b"frame", LIMITS)

    assert mailbox.expire(batch, 4, 2) == 2
    assert seqs(mailbox, batch) == [3, 4]
    assert mailbox.expire(batch, 4, 2) == 1
    assert mailbox.expire(batch, 4, 2) == 0

    assert seqs(mailbox, batch) == [4]
    assert counts(mailbox) == (1, 5, 0)
    assert batch.get_receipt(receipt_key(mailbox.box, "M1", "carol", "")) is None


def test_a_receipt_that_takes_the_place_of_a_lower_one_needs_no_room(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    for seq in (1, 2):
        mailbox.add_receipt(batch, seq, delivered(f"M{seq}"), FEW, author_is_absent=True)
    mailbox.processed = Seq(2)

    assert mailbox.add_receipt(batch, 3, delivered("M2", 3), FEW, author_is_absent=True)

    assert seqs(mailbox, batch) == [1, 3]
    assert not mailbox.evicted


class CountingBatch:
    """A batch that counts the entries which are read in scans of mailboxes."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def scan_mail(self, box: bytes, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        for item in self._batch.scan_mail(box, after=Seq(after)):
            self.read += 1
            yield item


@pytest.mark.of_source
def test_a_full_mailbox_is_not_searched_again_and_again(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    """I7: each refusal would cost as much as there are receipts in front."""
    room = Room(MailboxSettings(max_entries=50, max_bytes=1 << 20, author_share=1.0))
    for seq in range(1, 51):
        mailbox.add_receipt(batch, seq, delivered(f"M{seq}"), room, author_is_absent=True)
    mailbox.processed = Seq(50)
    for seq in range(51, 101):
        mailbox.queue(batch, seq, b"frame", room)
    counting = cast(Batch, counter := CountingBatch(batch))

    for _ in range(20):
        with pytest.raises(MailboxFull):
            mailbox.queue(counting, 101, b"frame", room)

    # Once for whose they are, once for those of that author, once for those of everybody.
    assert counter.read < 100 + 2 * 52


def test_what_was_processed_since_a_vain_search_is_found(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    for seq in (1, 2, 3):
        mailbox.queue(batch, seq, b"frame", FEW)
    with pytest.raises(MailboxFull):
        mailbox.queue(batch, 6, b"frame", FEW)
    mailbox.processed = Seq(2)

    mailbox.queue(batch, 6, b"frame", FEW)

    assert seqs(mailbox, batch) == [2, 3, 6]


def test_receipts_are_made_findable_piece_by_piece_and_a_higher_level_keeps_its_place(
    mailbox: PlainMailbox, batch: Batch
) -> None:
    """What comes meanwhile, while the author is away already, is the later one (2.4.5)."""
    for seq in range(1, 7):
        mailbox.add_receipt(batch, seq, delivered(f"M{seq}"), LIMITS, author_is_absent=False)

    assert mailbox.make_receipts_findable(batch, 4) == 4
    assert not mailbox.is_findable
    mailbox.add_receipt(batch, 7, delivered("M6", 3), LIMITS, author_is_absent=True)
    mailbox.add_receipt(batch, 8, delivered("M1", 3), LIMITS, author_is_absent=True)
    assert mailbox.make_receipts_findable(batch, 4) == 2

    assert mailbox.is_findable
    frames = [(entry.seq, entry.frame) for entry in everything(mailbox, batch).entries]
    assert frames == [
        *((seq, receipt_frame(delivered(f"M{seq}"))) for seq in (2, 3, 4, 5)),
        (7, receipt_frame(delivered("M6", 3))),
        (8, receipt_frame(delivered("M1", 3))),
    ]
    assert counts(mailbox) == (0, 0, 6)


def test_only_what_came_since_the_login_is_left_to_make_findable(
    mailbox: PlainMailbox, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is searched for at the end of a session, however much waits."""
    for seq in range(1, 51):
        mailbox.add_receipt(batch, seq, delivered(f"M{seq}"), LIMITS, author_is_absent=True)
    for seq in (51, 52, 53):
        mailbox.add_receipt(batch, seq, delivered(f"M{seq}"), LIMITS, author_is_absent=False)
    mailbox.remove(batch, 51)
    mailbox.confirm(batch, Seq(51), 100)
    begun = searches(monkeypatch)

    assert mailbox.make_receipts_findable(batch, 100) == 2
    assert begun == []
