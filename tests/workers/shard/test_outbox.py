"""The outbox: in order, within credit, again from the start for a peer's next incarnation."""

import msgspec

from relay.bus.envelopes import NO_SEQ, Durable, Receipt, Seq
from tests import plain
from workers.shard.outbox import Outbox
from workers.store.batch import Batch
from workers.store.keys import pack_peer

PEER = 3
CONTENT = Receipt("alice", "", "M1", "bob", 2, 1000)
# What one entry takes of the credit.
ENTRY_BYTES = len(msgspec.msgpack.encode(plain.durable(1, CONTENT)))


class Link:
    """An outbox, the batch it writes in, and what it sent."""

    def __init__(self, batch: Batch, *, credit: int = 100, outbox: Outbox | None = None) -> None:
        self.batch = batch
        self.outbox = outbox or Outbox(PEER, max_bytes=credit * ENTRY_BYTES)
        self.sent: list[int] = []

    def put(self, *seqs: int) -> None:
        for seq in seqs:
            self.outbox.put(self.batch, Seq(seq), CONTENT, self._send)

    def end_batch(self) -> None:
        if self.outbox.has_more:
            self.outbox.send_more(self.batch, self._send)

    def confirm(self, seq: int) -> None:
        self.outbox.confirm(self.batch, Seq(seq))

    def connect(self) -> None:
        self.outbox.connected()
        self.end_batch()

    def stored(self) -> list[int]:
        return [seq for seq, _ in self.batch.scan_outgoing(pack_peer(PEER), after=NO_SEQ)]

    def _send(self, entry: Durable) -> None:
        assert entry.content == CONTENT
        self.sent.append(entry.seq)


def test_an_entry_is_sent_at_once_and_stored_until_it_is_confirmed(batch: Batch) -> None:
    link = Link(batch)
    link.connect()

    link.put(1, 2)
    assert link.sent == link.stored() == [1, 2]

    link.confirm(1)
    assert link.stored() == [2]

    link.confirm(2)
    assert link.stored() == []


def test_a_confirmation_covers_everything_before_it_and_may_repeat(batch: Batch) -> None:
    link = Link(batch)
    link.connect()
    link.put(1, 2, 3)

    link.confirm(2)
    link.confirm(2)
    link.confirm(1)

    assert link.stored() == [3]


def test_entries_wait_for_a_peer_that_is_away(batch: Batch) -> None:
    link = Link(batch)

    link.put(1, 2)
    link.end_batch()
    assert link.sent == []

    link.connect()
    assert link.sent == [1, 2]


def test_a_reconnected_peer_gets_what_it_did_not_confirm_before_anything_new(
    batch: Batch,
) -> None:
    link = Link(batch)
    link.connect()
    link.put(1, 2, 3)
    link.confirm(1)

    link.outbox.disconnected()
    link.put(4)
    link.outbox.connected()
    link.put(5)
    link.end_batch()
    link.put(6)

    assert link.sent == [1, 2, 3, 2, 3, 4, 5, 6]


def test_a_fresh_outbox_sends_what_its_worker_left_in_the_store(batch: Batch) -> None:
    before = Link(batch)
    before.connect()
    before.put(1, 2)

    link = Link(batch)
    link.outbox.connected()
    link.put(3)
    link.end_batch()

    assert link.sent == [1, 2, 3]


def test_beyond_the_credit_entries_wait_and_follow_in_order(batch: Batch) -> None:
    link = Link(batch, credit=2)
    link.connect()

    link.put(1, 2, 3, 4)
    link.end_batch()
    assert link.sent == [1, 2]

    link.confirm(1)
    link.put(5)
    link.end_batch()
    assert link.sent == [1, 2, 3]

    link.confirm(3)
    link.end_batch()
    assert link.sent == [1, 2, 3, 4, 5]

    link.confirm(5)
    link.put(6)
    assert link.sent == [1, 2, 3, 4, 5, 6]
    assert link.stored() == [6]


def test_an_entry_larger_than_the_credit_is_sent_alone(batch: Batch) -> None:
    link = Link(batch, outbox=Outbox(PEER, max_bytes=1))
    link.connect()

    link.put(1, 2)
    assert link.sent == [1]

    link.confirm(1)
    link.end_batch()
    assert link.sent == [1, 2]


def test_a_confirmation_of_an_earlier_connection_does_no_harm(batch: Batch) -> None:
    link = Link(batch)
    link.connect()
    link.put(1, 2)
    link.outbox.disconnected()
    link.outbox.connected()

    link.confirm(2)
    link.end_batch()
    assert link.sent == [1, 2, 1, 2]

    link.confirm(2)
    assert link.stored() == []


def test_a_batch_with_nothing_new_sends_nothing_again(batch: Batch) -> None:
    link = Link(batch)
    link.connect()
    link.put(1)

    link.end_batch()
    link.end_batch()

    assert link.sent == [1]
    assert not link.outbox.has_more
