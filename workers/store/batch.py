"""One batch of changes to a store, as the shard makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from relay.bus.envelopes import NO_SEQ, Seq
from workers.store.journal import Journal
from workers.store.keys import LAST_SEQ, SEQ_BYTES, pack_seq, unpack_seq
from workers.store.meta import (
    APPLIED_NAME,
    CONFIRMED_NAME,
    DATES_NAME,
    DAY_NAME,
    FORGOTTEN_NAME,
    SEQ_NAME,
    WAITING_NAME,
)
from workers.store.owned import OwnedTree
from workers.store.schema import decode_keys, encode_keys, pack_count, unpack_count
from workers.store.tree import Tree


class Batch:
    """Changes that belong together: everything read in it sees them. Commit or abort each once.

    Over 15 fields and over 25 methods, a few for each tree: one object for each family of trees
    would cost every message some look-ups more. None of them does more than its tree.
    """

    def __init__(
        self, trees: Mapping[str, Tree], owned: Mapping[str, OwnedTree], journal: Journal
    ) -> None:
        self._journal = journal
        self._owned = owned
        self._mail = trees["mail"]
        self._boxes = trees["boxes"]
        self._receipts = trees["receipts"]
        self._messages = trees["messages"]
        self._expiry = trees["expiry"]
        self._bodies = trees["bodies"]
        self._holders = trees["holders"]
        self._outbox = trees["outbox"]
        self._meta = trees["meta"]
        self._new_messages: list[bytes] = []
        self._released: dict[Seq, int] = {}  # bodies that fewer mailboxes refer to, by how many
        # Of what was put that may be many times what came in: a group message is once in each
        # peer's outbox.
        self.bulk_bytes = 0
        # What is asked and noted of each message, and each ack, without a call of this object's.
        self.get_message = self._messages.get  # what is known of a message towards one recipient
        self.update_message = self._messages.put  # replaces that
        # The same of many at once, and entries of many mailboxes by their keys.
        self.update_messages = self._messages.put_all
        self.put_mails = self._mail.put_all

    def begin(self) -> None:
        """Start anew, once the last one was committed or aborted."""
        self.bulk_bytes = 0
        self._new_messages = []
        self._released = {}

    def commit(self) -> None:
        """Make everything durable, in the mode that the store was opened with.

        Raises:
            StoreWriteError: it may be stored or not; say nothing of it, abort it, and open anew.
        """
        for seq, count in self._released.items():
            self._let_go_of_body(seq, count)
        if self._new_messages:
            self._expiry.put(pack_seq(self.last_seq()), encode_keys(self._new_messages))
        self._journal.commit()

    def abort(self) -> None:
        """Undo everything that the batch wrote."""
        self._journal.abort()

    # ------------------------------------------------------------------------------- mailboxes

    def put_mail(self, box: bytes, seq: Seq, entry: bytes) -> None:
        """Add or replace the entry `seq` of a mailbox."""
        self._mail.put(box + pack_seq(seq), entry)

    def pop_mail(self, box: bytes, seq: Seq) -> bytes | None:
        """Remove and return an entry, or None where there is none."""
        return self._mail.pop(box + pack_seq(seq))

    def scan_mail(self, box: bytes, *, after: Seq = NO_SEQ) -> Iterator[tuple[Seq, bytes]]:
        """Yield (seq, entry) of a mailbox in order, behind `after`.

        Do not write to the mailbox while iterating.
        """
        if after < LAST_SEQ:
            for key, entry in self._mail.scan(box + pack_seq(after + 1), box):
                yield unpack_seq(key), entry

    def next_box(self, after: bytes) -> tuple[bytes, Seq] | None:
        """Return the first mailbox behind the key `after` and the seq of its oldest entry, or None.

        As the pages have it: the entry may be gone by now. What only the journal knows of is
        seconds old.
        """
        key = self._mail.next_stored(after)
        return None if key is None else (key[:-SEQ_BYTES], unpack_seq(key))

    def find_box(self, after: bytes) -> tuple[bytes, Seq] | None:
        """Return the same as the batch has it, with what only the journal knows of: dearer."""
        for key, _ in self._mail.scan(after):
            return key[:-SEQ_BYTES], unpack_seq(key)
        return None

    def get_totals(self, box: bytes) -> bytes | None:
        """Return the totals kept of an absent user's mailbox."""
        return self._boxes.get(box)

    def scan_totals(self, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (mailbox, totals) of absent users in order, behind the key `after`."""
        return self._boxes.scan(after)

    def put_totals(self, box: bytes, totals: bytes) -> None:
        """Keep the totals of an absent user's mailbox."""
        self._boxes.put(box, totals)

    def delete_totals(self, box: bytes) -> None:
        """Forget the totals of a mailbox."""
        self._boxes.pop(box)

    def get_receipt(self, key: bytes) -> Seq | None:
        """Return the seq of an absent author's receipt."""
        value = self._receipts.get(key)
        return None if value is None else unpack_seq(value)

    def put_receipt(self, key: bytes, seq: Seq) -> None:
        """Remember where an absent author's receipt is."""
        self._receipts.put(key, pack_seq(seq))

    def delete_receipt(self, key: bytes) -> None:
        """Forget where a receipt was."""
        self._receipts.pop(key)

    # --------------------------------------------------------------------------- group bodies

    def put_body(self, seq: Seq, frame: bytes, holders: int) -> None:
        """Store a group message that `holders` mailboxes refer to."""
        key = pack_seq(seq)
        self.bulk_bytes += len(frame)
        self._bodies.put(key, frame)
        self._holders.put(key, pack_count(holders))

    def get_body(self, seq: Seq) -> bytes:
        """Return a group message that some mailbox refers to."""
        body = self._bodies.get(pack_seq(seq))
        assert body is not None, f"body {seq} is missing though a mailbox refers to it"
        return body

    def release_body(self, seq: Seq) -> None:
        """Note that one mailbox less refers to a body; without any it goes with the commit."""
        self._released[seq] = self._released.get(seq, 0) + 1

    def _let_go_of_body(self, seq: Seq, count: int) -> None:
        key = pack_seq(seq)
        value = self._holders.get(key)
        assert value is not None, f"body {seq} has no holders though a mailbox refers to it"
        holders = unpack_count(value) - count
        assert holders >= 0, f"body {seq} was let go of by more than hold it"
        if holders > 0:
            self._holders.put(key, pack_count(holders))
        else:
            self._holders.pop(key)
            self._bodies.pop(key)

    # ------------------------------------------------------------------------------- messages

    def add_message(self, key: bytes, record: bytes) -> None:
        """Remember a new message; `expire_messages` forgets it."""
        self._messages.put(key, record)
        self._new_messages.append(key)

    def add_messages(self, records: Mapping[bytes, bytes]) -> None:
        """Remember new messages, as `add_message` does."""
        self._messages.put_all(records)
        self._new_messages += records

    def getter_of(self, prefix: bytes) -> Callable[[bytes], bytes | None]:
        """Return a `get_message` for many keys that begin with `prefix`, as yet perhaps unknown."""
        stored = self._messages.next_stored(prefix)
        if stored is not None and stored.startswith(prefix):
            return self._messages.get
        return self._messages.get_unstored

    def scan_messages(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, record) of every message whose key begins with `prefix`."""
        return self._messages.scan(prefix, prefix)

    def knows_message(self, prefix: bytes) -> bool:
        """Tell whether any message's key begins with `prefix`."""
        return next(self.scan_messages(prefix), None) is not None

    def scan_added(self, after: Seq) -> Iterator[tuple[Seq, list[bytes]]]:
        """Yield (seq, keys) of the messages that a batch of seq `seq` added, in order."""
        for key, names in self._expiry.scan(pack_seq(after + 1)):
            yield unpack_seq(key), decode_keys(names)

    def forget_added(self, seq: Seq, gone: Iterable[bytes], kept: list[bytes]) -> None:
        """Forget those messages that are `gone` of what that batch added; it has `kept` others."""
        for key in gone:
            self._messages.pop(key)
        if kept:
            self._expiry.put(pack_seq(seq), encode_keys(kept))
        else:
            self._expiry.pop(pack_seq(seq))

    def expire_messages(self, before: Seq, *, at_least: int = 1) -> int:
        """Forget what batches of before seq `before` added, the oldest first; return how many.

        What one batch added goes together: it is `at_least` that many or a few more, or all that
        are due.
        """
        due: list[bytes] = []
        lists: list[bytes] = []
        for key, names in self._expiry.scan(b""):
            if unpack_seq(key) >= before or len(due) >= at_least:
                break
            due += decode_keys(names)
            lists.append(key)
        for key in lists:
            self._expiry.pop(key)
        for key in due:
            self._messages.pop(key)
        if lists:
            # A message that waits may outlive what is known of it: up to here that is no fault.
            up_to = max(self._get_seq(FORGOTTEN_NAME), unpack_seq(lists[-1]))
            self._meta.put(FORGOTTEN_NAME, pack_seq(up_to))
        return len(due)

    # --------------------------------------------------------------------------------- outbox

    def put_outgoing(self, peer: bytes, seq: Seq, content: bytes) -> None:
        """Keep `content` for a peer until it has stored it."""
        self.bulk_bytes += len(content)
        self._outbox.put(peer + pack_seq(seq), content)

    def scan_outgoing(self, peer: bytes, *, after: Seq) -> Iterator[tuple[Seq, bytes]]:
        """Yield (seq, content) of what waits for a peer, in order, behind `after`."""
        for key, content in self._outbox.scan(peer + pack_seq(after + 1), peer):
            yield unpack_seq(key), content

    def delete_outgoing(self, peer: bytes, seq: Seq) -> None:
        """Forget what a peer has stored."""
        self._outbox.pop(peer + pack_seq(seq))

    # ----------------------------------------------------------------------------- extensions

    def owned_tree(self, name: str) -> OwnedTree:
        """Return the tree EXTENSION.TREE; KeyError unless the store was opened with its row."""
        return self._owned[name]

    # --------------------------------------------------------------------------------- counters

    def last_seq(self) -> Seq:
        """Return the highest sequence number that was ever given out here."""
        return self._get_seq(SEQ_NAME)

    def put_last_seq(self, seq: Seq) -> None:
        """Note the highest sequence number given out."""
        self._meta.put(SEQ_NAME, pack_seq(seq))

    def day_us(self) -> int:
        """Return the latest day that was kept, in us since 1970; 0 if none was."""
        return self._get_seq(DAY_NAME)

    def put_day_us(self, day_us: int) -> None:
        """Keep what day it is."""
        self._meta.put(DAY_NAME, pack_seq(day_us))

    def dates(self) -> bytes | None:
        """Return what is kept of when numbers were given out (workers.shard.dates)."""
        return self._meta.get(DATES_NAME)

    def put_dates(self, dates: bytes) -> None:
        """Keep when numbers were given out."""
        self._meta.put(DATES_NAME, dates)

    def applied(self, peer: int) -> Seq:
        """Return up to which entry of a peer's outbox everything is stored here."""
        return self._get_seq(APPLIED_NAME % peer)

    def put_applied(self, peer: int, seq: Seq) -> None:
        """Note up to which entry a peer's outbox is stored here."""
        self._meta.put(APPLIED_NAME % peer, pack_seq(seq))

    def confirmed(self, peer: int) -> Seq:
        """Return up to which entry a peer has stored the outbox for it."""
        return self._get_seq(CONFIRMED_NAME % peer)

    def put_confirmed(self, peer: int, seq: Seq) -> None:
        """Note up to which entry a peer has stored the outbox for it.

        No worker needs it: it tells whether what left this store is in the other (`moment`).
        """
        self._meta.put(CONFIRMED_NAME % peer, pack_seq(seq))

    def waiting(self) -> bytes:
        """Return what was last noted of authors of whom much waits, empty where nothing was."""
        return self._meta.get(WAITING_NAME) or b""

    def put_waiting(self, notes: bytes) -> None:
        """Note of whom much waits (workers.shard.waiting); nothing if it is empty."""
        if notes:
            self._meta.put(WAITING_NAME, notes)
        else:
            self._meta.pop(WAITING_NAME)

    def _get_seq(self, name: bytes) -> Seq:
        value = self._meta.get(name)
        return NO_SEQ if value is None else unpack_seq(value)
