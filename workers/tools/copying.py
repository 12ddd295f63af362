"""The stores of a new generation, filled with what is in the old ones, each tree as its row says.

What is keyed by a slot goes to the slot's new owner. What is numbered by a worker needs more care:

- A body's number is unique only in its store. Where the numbers of two stores collide, one of the
  bodies gets a free number, and the entries that refer to it follow.
- A list of messages to expire is divided among their new owners.
- Sequence numbers go on behind the highest of all stores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from struct import error as StructError
from typing import Any, Final, assert_never

import msgspec

from relay import log
from relay.bus.envelopes import NO_SEQ, Seq
from relay.errors import BootError
from relay.protocol.slots import ShardMap, Slot
from workers.shard import dates, mailbox
from workers.store.environment import open_environment
from workers.store.keys import pack_seq, slot_of_message
from workers.store.meta import (
    DATES_NAME,
    DAY_NAME,
    FORGOTTEN_NAME,
    MARK_NAME,
    SEQ_NAME,
    encode_mark,
)
from workers.store.schema import (
    MAX_TREES,
    ROWS,
    Move,
    TreeRow,
    decode_keys,
    encode_keys,
    pack_count,
    unpack_count,
)
from workers.store.snapshot import Snapshot
from workers.tools.plan import Reached, ReshardPlan
from workers.tools.progress import Progress

# Uncommitted changes are in memory; a commit costs no fsync here.
COMMIT_BYTES: Final = 32 * 1024 * 1024
# Numbers of bodies that are remembered; the others are looked up again.
MOST_NUMBERS: Final = 50_000

logger = log.get_logger()


def copy(plan: ReshardPlan, snapshots: Sequence[Snapshot], reached: Reached) -> None:
    """Make the stores of the plan, with what is in the `snapshots`, but for what is on its way.

    Raises:
        BootError: a store holds what it should not.
        lmdb.Error, OSError: one cannot be written.
    """
    rows = {row.name: row for row in ROWS}
    for snapshot in snapshots:
        rows.update((row.name, row) for row in snapshot.rows)
    with _Stores(plan, rows, reached) as stores:
        reached("made")
        _copy_all(snapshots, rows.values(), stores, reached)
    reached("copied")


def _copy_all(
    snapshots: Sequence[Snapshot], rows: Iterable[TreeRow], stores: _Stores, reached: Reached
) -> None:
    before: Counter[str] = Counter()
    for snapshot in snapshots:
        before.update({row.name: snapshot.count(row.name) for row in snapshot.rows})
    progress = Progress(
        f"laying the stores out for {len(stores)} workers",
        before.total(),
        log=lambda percent: logger.info("reshard.progress", percent=percent),
    )
    last_seq = max((snapshot.last_seq() for snapshot in snapshots), default=0)
    day_us = max((snapshot.number(DAY_NAME) for snapshot in snapshots), default=0)
    merged = dates.merge(dates.decode(snapshot.get("meta", DATES_NAME)) for snapshot in snapshots)
    forgotten = max((snapshot.forgotten() for snapshot in snapshots), default=0)
    old_shards = ShardMap(len(snapshots)).shards if snapshots else ()
    for index, snapshot in enumerate(snapshots):
        store = _StoreCopy(snapshot, old_shards[index], stores, progress)
        try:
            last_seq = max(last_seq, store.copy())
        except (StructError, ValueError, IndexError, msgspec.DecodeError) as error:
            raise BootError(
                f"the store of worker {index} holds what it should not ({error}): let"
                " `python -m workers.store check` say what"
            ) from error
        reached(f"copied worker-{index}")
    for worker in range(len(stores)):
        stores.put(worker, "meta", SEQ_NAME, pack_seq(last_seq))
        if forgotten:
            stores.put(worker, "meta", FORGOTTEN_NAME, pack_seq(forgotten))
        if day_us:
            stores.put(worker, "meta", DAY_NAME, pack_seq(day_us))
        if merged.notes:
            stores.put(worker, "meta", DATES_NAME, dates.encode(merged))
    for row in rows:
        now = stores.count(row.name)
        if row.keeps_count and before[row.name] != now:
            raise BootError(f"of {before[row.name]} items in `{row.name}` {now} were copied")
    progress.end()


class _Stores:
    """The stores of the new generation while they are filled: their trees as they are, no index."""

    def __init__(self, plan: ReshardPlan, trees: Iterable[str], reached: Reached) -> None:
        self.shards = plan.shards
        self._reached = reached
        self._environments: list[Any] = []
        self._trees: list[dict[str, Any]] = []
        self._txns: list[Any] = []
        self._unwritten = 0
        for index, directory in enumerate(plan.directories):
            directory.mkdir(mode=0o700)
            environment = open_environment(
                directory, map_size=plan.map_bytes, max_dbs=MAX_TREES, sync=False
            )
            self._environments.append(environment)
            self._trees.append({name: environment.open_db(name.encode()) for name in trees})
            self._txns.append(environment.begin(write=True))
            self.put(index, "meta", MARK_NAME, encode_mark(plan.mark(index)))

    def __enter__(self) -> _Stores:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        try:
            if kind is None:
                self._commit()
                for environment in self._environments:
                    environment.sync(True)
        finally:
            for txn in self._txns:
                txn.abort()
            for environment in self._environments:
                environment.close()

    def __len__(self) -> int:
        return len(self._environments)

    def put(self, worker: int, tree: str, key: bytes, value: bytes) -> None:
        self._txns[worker].put(key, value, db=self._trees[worker][tree])
        self._unwritten += len(key) + len(value)

    def get(self, worker: int, tree: str, key: bytes) -> bytes | None:
        value: bytes | None = self._txns[worker].get(key, db=self._trees[worker][tree])
        return value

    def count(self, tree: str) -> int:
        return sum(
            txn.stat(trees[tree])["entries"]
            for txn, trees in zip(self._txns, self._trees, strict=True)
        )

    def breathe(self) -> None:
        """Commit what was put, if it is much."""
        if self._unwritten >= COMMIT_BYTES:
            self._commit()
            self._txns = [environment.begin(write=True) for environment in self._environments]
            self._reached("copying")

    def _commit(self) -> None:
        for txn in self._txns:
            txn.commit()
        self._unwritten = 0


class _StoreCopy:
    """Copies one old store, item by item, to the new owners."""

    def __init__(
        self, snapshot: Snapshot, slots: range, stores: _Stores, progress: Progress
    ) -> None:
        self._snapshot = snapshot
        self._slots = slots
        self._stores = stores
        self._progress = progress
        self._highest_body = NO_SEQ
        # The numbers that bodies got at their new owners: members of a group share them.
        self._numbers: dict[tuple[int, Seq], Seq] = {}

    def copy(self) -> Seq:
        """Copy everything; return the highest number that a body has got."""
        for row in self._snapshot.rows:
            match row.move:
                case Move.COPIED:
                    for key, value in self._items(row):
                        self._stores.put(self._owner(row.slot(key)), row.name, key, value)
                case Move.QUEUED:
                    for key, entry in self._items(row):
                        self._copy_entry(row, key, entry)
                case Move.SPLIT:
                    for key, names in self._items(row):
                        self._split(row, key, names)
                case Move.MADE_ANEW | Move.APPLIED | Move.LEFT:
                    pass
                case _:
                    assert_never(row.move)
        return self._highest_body

    def _items(self, row: TreeRow) -> Iterator[tuple[bytes, bytes]]:
        for item in self._snapshot.items(row.name):
            self._progress.advance()
            self._stores.breathe()
            yield item

    def _owner(self, slot: Slot | None) -> int:
        if slot not in self._slots or slot is None:
            raise ValueError(f"an item of slot {slot}, which is not the worker's")
        return self._stores.shards.owner(slot)

    def _copy_entry(self, row: TreeRow, key: bytes, entry: bytes) -> None:
        worker = self._owner(row.slot(key))
        if entry[0] == mailbox.GROUP_MESSAGE:
            body, length = mailbox.body_of(entry)
            entry = mailbox.refer_to_body(self._hold_body(worker, body), length)
        self._stores.put(worker, row.name, key, entry)

    def _hold_body(self, worker: int, body: Seq) -> Seq:
        """Count one holder more of a body at its new owner; return its number there."""
        number = self._numbers.get((worker, body))
        if number is None:
            if len(self._numbers) >= MOST_NUMBERS:
                self._numbers.clear()
            number = self._numbers[worker, body] = self._put_body(worker, body)
        key = pack_seq(number)
        held = self._stores.get(worker, "holders", key)
        count = unpack_count(held) + 1 if held else 1
        self._stores.put(worker, "holders", key, pack_count(count))
        return number

    def _put_body(self, worker: int, body: Seq) -> Seq:
        frame = self._snapshot.get("bodies", pack_seq(body))
        if frame is None:
            raise ValueError(f"body {body} is missing though a mailbox refers to it")
        # Its own number, or the next that is free; it is found there again by its content.
        number = body
        while (there := self._stores.get(worker, "bodies", pack_seq(number))) not in (None, frame):
            number = Seq(number + 1)
        if there is None:
            self._stores.put(worker, "bodies", pack_seq(number), frame)
        self._highest_body = max(self._highest_body, number)
        return number

    def _split(self, row: TreeRow, key: bytes, names: bytes) -> None:
        by_worker: dict[int, list[bytes]] = {}
        for listed in decode_keys(names):
            by_worker.setdefault(self._owner(slot_of_message(listed)), []).append(listed)
        for worker, keys in by_worker.items():
            # Another store's batch may have the same number.
            there = self._stores.get(worker, row.name, key)
            if there is not None:
                keys = decode_keys(there) + keys
            self._stores.put(worker, row.name, key, encode_keys(keys))
