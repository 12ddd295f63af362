"""What the worker's parts cost: a message through the shard, the mailbox, the store.

    python -m tests.bench.bench_store

Processor time of each, the best of several runs, on one core. A message through the shard is its
send, its recipient's ack and its author's pong, each in a batch of its own: three transactions.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import cast

import lmdb

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    Acked,
    Confirmed,
    Deliver,
    FrontBatch,
    RequestNumber,
    SendToUser,
    Seq,
    ToWorker,
    WorkerBatch,
)
from relay.protocol import frames
from relay.protocol.slots import ShardMap
from relay.settings.tables import MailboxSettings, Settings
from tests import plain
from workers.loop import SWEPT_BOXES
from workers.shard.effects import Effects
from workers.shard.mailbox import Mailbox
from workers.shard.room import Room
from workers.shard.shard import Shard
from workers.store.journalfile import FIRST_RECORD, IDENTITY_BYTES, JournalFile, create_journal_file
from workers.store.keys import box_of, message_key
from workers.store.store import Store

from .timing import show, us_each

FRONT = b"front-0-1"
PAIRS = 100
ABSENT = 10_000  # users who are never there, for what waits
TEXT = b'{"conversation": "%s"}' % (b"x" * 100)
TIME_S = 1_566_970_629


class Worker:
    """A shard on a store, with pairs of users who are online."""

    def __init__(
        self,
        directory: Path,
        *,
        synced: bool,
        now_ms: Callable[[], int] | None = None,
        has_ordered_ids: bool = False,
    ) -> None:
        settings = Settings()
        self._has_ordered_ids = has_ordered_ids
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self.store = Store(
            directory,
            durability="fsync" if synced else "os",
            map_bytes=settings.store.map_bytes,
            max_map_bytes=settings.store.max_map_bytes,
        )
        self._shard = Shard(0, ShardMap(1), settings)
        self._users = [str(917_000_000_000 + n) for n in range(2 * PAIRS)]
        self._ids = itertools.count()
        self._absent = itertools.count()
        self._swept_to = b""
        self.turn([plain.open_session(n, user, LOGIN, 0) for n, user in enumerate(self._users)])
        self.turn([plain.ready(n, 0, 1) for n in range(len(self._users))])

    def turn(self, items: list[ToWorker]) -> Effects:
        """Take a batch as the loop does, from the bus and back to it."""
        payload = envelopes.encode(WorkerBatch(1, 1, 1, len(items), items))
        received = envelopes.decode_worker_batch(payload).items
        with self.store.writing() as batch:
            self._shard.begin(batch, now_ms=self._now_ms())
            for item in received:
                self._shard.handle(FRONT, item)
            effects = self._shard.end()
        for answers in effects.to_fronts.values():
            envelopes.encode(FrontBatch(1, 1, answers))
        self.store.fold()
        return effects

    def sweep(self) -> None:
        """Do what a worker does every second for what is past its time."""
        with self.store.writing() as batch:
            self._shard.begin(batch, now_ms=self._now_ms())
            self._swept_to = self._shard.sweep(
                self._swept_to, max_boxes=SWEPT_BOXES, day_ms=self._now_ms()
            )
            self._shard.end()
        self.store.fold()

    def _send(self, number: int, author: str, recipient: str) -> SendToUser:
        scattered = next(self._ids) * 0x9E3779B97F4A7C15 % 2**64
        second = self._now_ms() // 1000 if self._has_ordered_ids else 0
        # As clients of others make them, without any order, or as ours do.
        message_id = f"{second:08X}{scattered:016X}"
        frame = frames.delivered_to_user(
            author=author,
            message_id=message_id,
            message=TEXT,
            time_s=TIME_S,
            key_extra=b"",
            extra=b"",
        )
        return SendToUser(
            RequestNumber(number), author, recipient, message_id, TIME_S, b"12345678", frame
        )

    def messages(self, count: int) -> int:
        """Send, ack and confirm `count` messages, each step a batch; return how many."""
        sends: list[ToWorker] = []
        acks: list[ToWorker] = []
        for n in range(count):
            pair = n % PAIRS
            author, recipient = self._users[2 * pair], self._users[2 * pair + 1]
            send = self._send(n, author, recipient)
            sends.append(send)
            acks.append(Acked(recipient, [send.message_id], 2, author, False, recipient, False, -1))
        self.turn(sends)
        receipts: dict[int, Seq] = {}
        for answer in self.turn(acks).to_fronts[FRONT]:
            if isinstance(answer, Deliver):
                receipts[answer.session] = answer.seq
        self.turn([Confirmed(session, seq) for session, seq in receipts.items()])
        return count

    def messages_to_absent(self, count: int) -> int:
        """Send so many in one batch to users who are not there, in turn; return how many."""
        users = (str(918_000_000_000 + next(self._absent) % ABSENT) for _ in range(count))
        self.turn([self._send(n, self._users[0], user) for n, user in enumerate(users)])
        return count

    def rounds(self, size: int) -> int:
        """Send 400 messages, or so, in batches of `size`."""
        return sum(self.messages(size) for _ in range(400 // size))


def seqs_of(count: int) -> Iterable[Seq]:
    # Not a call of `Seq` each, which would be measured too.
    return cast("Iterable[Seq]", range(1, count + 1))


def puts(store: Store, count: int) -> int:
    """Add entries to one mailbox, and remove them."""
    box = box_of("917069852821")
    with store.writing() as batch:
        for seq in seqs_of(count):
            batch.put_mail(box, seq, TEXT)
        for seq in seqs_of(count):
            batch.pop_mail(box, seq)
    return count


def mailbox(store: Store, count: int) -> int:
    """The same by way of a mailbox, which counts them."""
    room = Room(MailboxSettings(author_share=1.0, max_entries=count + 1))
    with store.writing() as batch:
        box = Mailbox.load(batch, "917069852821")
        for seq in seqs_of(count):
            box.add_message(batch, seq, "917069852822", TEXT, room)
        for seq in seqs_of(count):
            box.remove(batch, seq)
    return count


def commits(directory: Path) -> None:
    """Print what it costs to make 2 KiB durable: as a record of a journal, and with LMDB alone."""
    path = directory / "journal-0"
    create_journal_file(path, bytes(IDENTITY_BYTES))
    journal, numbers = JournalFile(path, FIRST_RECORD, synced=True), itertools.count(1)
    content = bytes(2_000)

    def records() -> int:
        journal.begin_anew()
        for _ in range(100):
            journal.append(next(numbers), content)
        return 100

    with lmdb.open(str(directory), map_size=1 << 30, max_dbs=1) as environment:
        db = environment.open_db(b"batches")

        def transactions() -> int:
            for number in range(100):
                with environment.begin(db, write=True) as txn:
                    txn.put(b"%d" % number, content)
            return 100

        show("2 KiB as a record of a journal, synced", us_each(records))
        show("2 KiB in an LMDB transaction, synced", us_each(transactions))
    journal.close()


def main() -> None:
    """Print a line for each part."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=Path.cwd()) as directory:
        for synced in (False, True):
            worker = Worker(Path(directory) / str(synced), synced=synced)
            name = "fsync" if synced else "no fsync"
            for size in (1, 8, 32, 100, 400):
                us = us_each(partial(worker.rounds, size))
                show(f"a message through the shard, {size} a batch, {name}", us)
            worker.store.close()
        store = Store(
            Path(directory) / "plain", durability="os", map_bytes=1 << 30, max_map_bytes=1 << 30
        )
        show("an entry put and popped", us_each(lambda: puts(store, 2_000)))
        show("the same through a mailbox", us_each(lambda: mailbox(store, 2_000)))
        store.close()
        commits(Path(directory))

        def key() -> int:
            for n in range(2_000):
                message_key(f"3EB0A1ED1B05362{n:05}", "917069852821", "919428284313", "")
            return 2_000

        show("the key of a message", us_each(key))


if __name__ == "__main__":
    main()
