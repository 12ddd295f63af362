"""Lay the stores of a data directory out for another number of workers, before any of them starts.

    1. Hold data/reshard.lock and the lock of every store that counts, so that nothing else writes.
    2. Remove the generations that do not count: what an earlier attempt left.
    3. Build all stores of the next generation beside the present one, and sync them.
    4. Replace meta.json: from that moment on the new generation counts.
    5. Rename the old generation, so that a half removed one is not taken for whole, and remove it.

Killed before 4, the next start finds the old layout and begins again; killed after it, the next
start finds the new one and has only to remove. At no time is a store written that counts.

What is keyed by a slot moves with it. What is numbered by a worker needs more care:

- A body's number is unique only in its store. Where the numbers of two stores collide, one of the
  bodies gets a free number, and the entries that refer to it follow.
- An outbox ends here: what its peer has not applied is applied to the mailboxes' new owners, all
  of it, since all of them are at hand. What the peer has applied, by its own count, is left out.
- Sequence numbers go on behind the highest of all stores.

The first start of a relay is a case of this: from no workers to some.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import error as StructError
from typing import Any, Final

import lmdb
import msgspec

from relay import log
from relay.bus.envelopes import GroupCopy, Receipt
from relay.disk.files import sync, take_lock
from relay.disk.layout import (
    Layout,
    discarded,
    generation_directory,
    leftovers,
    read_layout,
    write_layout,
)
from relay.errors import BootError, DiskError, StoreDamaged
from relay.process.exitcodes import CANNOT_BOOT
from relay.protocol.slots import ShardMap, shard_ranges, slot_of
from relay.settings.tables import Settings
from workers.shard import mailbox, outbox
from workers.shard.shard import Shard
from workers.store.batch import Batch
from workers.store.journalfile import STEP
from workers.store.keys import pack_seq, slot_at, slot_of_message, split_outgoing
from workers.store.schema import (
    FORGOTTEN_NAME,
    MARK_NAME,
    SEQ_NAME,
    TREES,
    Mark,
    decode_keys,
    encode_keys,
    encode_mark,
    pack_count,
    unpack_count,
)
from workers.store.snapshot import Snapshot
from workers.store.store import LOCK_WAIT_S, Store, lock_store, unusable
from workers.tools.progress import Progress

# Uncommitted changes are in memory; a commit costs no fsync here.
COMMIT_BYTES: Final = 32 * 1024 * 1024
# Outbox entries that are applied in one transaction a worker.
TAKEN_OVER_AT_ONCE: Final = 200
# Pages that are filled in another order than that of their keys are a third empty.
ROOM_FACTOR: Final = 1.3
# Numbers of bodies that are remembered; the others are looked up again.
MOST_NUMBERS: Final = 50_000
# What an empty store takes, and its journal once a worker has opened it.
STORE_BYTES: Final = 128 * 1024 + 2 * STEP

logger = log.get_logger()

Reached = Callable[[str], None]


def reshard(data: Path, settings: Settings, *, reached: Reached = lambda step: None) -> None:
    """Bring the data directory into the layout that `settings` asks for; it may have it already.

    `reached` is told each step that has been made durable, or could be lost.

    Raises:
        BootError, DiskError: one line says why it cannot be; the data are as they were.
    """
    workers = settings.server.workers
    with ExitStack() as held:
        try:
            held.callback(os.close, take_lock(data / "reshard.lock", wait_s=LOCK_WAIT_S))
        except OSError as error:
            raise BootError(f"{data} cannot be written: {error.strerror}") from None
        layout = read_layout(data)
        if not layout.generation:
            # From here on stores without a word of them in meta.json are unfinished, not orphans.
            write_layout(data, layout)
        old = [layout.store_directory(data, index) for index in range(layout.workers)]
        for directory in old:
            held.callback(os.close, lock_store(directory, wait_s=LOCK_WAIT_S))
        reached("locked")
        snapshots = [
            held.enter_context(_open(path, Mark(layout.generation, layout.workers, index)))
            for index, path in enumerate(old)
        ]
        _remove(leftovers(data, layout), reached)
        if layout.workers == workers:
            return
        _check_room(data, snapshots, workers, settings.store.min_free_bytes)
        wanted = Layout(generation=layout.generation + 1, workers=workers)
        started_s = time.monotonic()
        if snapshots:
            logger.info(
                "reshard.started",
                workers_before=layout.workers,
                workers=workers,
                bytes=sum(snapshot.used_bytes() for snapshot in snapshots),
            )
        try:
            _build(data, wanted, snapshots, settings, reached)
        except (lmdb.Error, OSError, BootError) as error:
            shutil.rmtree(generation_directory(data, wanted.generation), ignore_errors=True)
            raise BootError(
                f"data directory {data} cannot be laid out for {workers} workers: {error};"
                " nothing has changed"
            ) from error
        # Where this fails the next start sees which of the two layouts is written.
        write_layout(data, wanted)
        reached("committed")
        took_s = round(time.monotonic() - started_s, 1)
        logger.info("reshard.finished" if snapshots else "stores.created", took_s=took_s)
        _remove(leftovers(data, wanted), reached)


@contextmanager
def _open(directory: Path, mark: Mark) -> Iterator[Snapshot]:
    try:
        snapshot = Snapshot(directory)
    except (StoreDamaged, OSError) as error:
        raise unusable(directory, error) from error
    try:
        if snapshot.mark() != mark:
            raise unusable(directory, f"it is the store of {snapshot.mark()}, not of {mark}")
        yield snapshot
    finally:
        snapshot.close()


def _remove(paths: list[Path], reached: Reached) -> None:
    for path in paths:
        logger.info("reshard.removed", directory=path.name)
        aside = discarded(path)
        if aside != path:
            path.rename(aside)
            sync(path.parent)
            reached("set aside")
        shutil.rmtree(aside)
        reached("removed")


def _check_room(data: Path, snapshots: list[Snapshot], workers: int, to_spare: int) -> None:
    if not snapshots:
        return
    needed = sum(snapshot.used_bytes() for snapshot in snapshots)
    for snapshot in snapshots:
        # A body is stored once a worker that has some of its holders.
        for key, value in snapshot.items("holders"):
            copies = min(unpack_count(value), workers)
            if copies > 1:
                needed += (copies - 1) * len(snapshot.get("bodies", key) or b"")
    needed = int(needed * ROOM_FACTOR) + workers * STORE_BYTES + to_spare
    free = shutil.disk_usage(data).free
    if free < needed:
        raise BootError(
            f"data directory {data} is laid out for {len(snapshots)} workers, not for {workers};"
            f" laying it out anew needs {needed:,} bytes beside the present stores, but {free:,}"
            f" are free: make room, or start with --workers {len(snapshots)}"
        )


def _build(
    data: Path, wanted: Layout, snapshots: list[Snapshot], settings: Settings, reached: Reached
) -> None:
    generation = generation_directory(data, wanted.generation)
    generation.mkdir(mode=0o700)
    size = sum(snapshot.used_bytes() for snapshot in snapshots)
    # An upper bound, which takes address space only: a body in every store.
    map_bytes = settings.store.map_bytes + 2 * size * min(wanted.workers, 8)
    directories = [wanted.store_directory(data, index) for index in range(wanted.workers)]
    with _Stores(directories, wanted, map_bytes, reached) as stores:
        reached("made")
        _copy(snapshots, stores, reached)
    reached("copied")
    _take_over(snapshots, directories, wanted, settings, map_bytes, reached)
    reached("taken over")
    for directory in directories:
        sync(directory)
    sync(generation)
    sync(data)
    reached("synced")


# --- what is keyed by a slot ---


class _Stores:
    """The stores of the new generation while they are filled: their trees as they are, no index."""

    def __init__(
        self, directories: list[Path], layout: Layout, map_bytes: int, reached: Reached
    ) -> None:
        ranges = shard_ranges(layout.workers)
        self.owner_of_slot = [worker for worker, slots in enumerate(ranges) for _ in slots]
        self._reached = reached
        self._environments: list[Any] = []
        self._trees: list[dict[str, Any]] = []
        self._txns: list[Any] = []
        self._unwritten = 0
        for index, directory in enumerate(directories):
            directory.mkdir(mode=0o700)
            environment = lmdb.open(
                str(directory), map_size=map_bytes, max_dbs=len(TREES), sync=False
            )
            self._environments.append(environment)
            self._trees.append({name: environment.open_db(name.encode()) for name in TREES})
            self._txns.append(environment.begin(write=True))
            mark = Mark(layout.generation, layout.workers, index)
            self.put(index, "meta", MARK_NAME, encode_mark(mark))

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


def _copy(snapshots: list[Snapshot], stores: _Stores, reached: Reached) -> None:
    progress = Progress(
        f"laying the stores out for {len(stores)} workers",
        sum(snapshot.count(tree) for snapshot in snapshots for tree in TREES),
        log=lambda percent: logger.info("reshard.progress", percent=percent),
    )
    last_seq = max((snapshot.last_seq() for snapshot in snapshots), default=0)
    forgotten = max((snapshot.forgotten() for snapshot in snapshots), default=0)
    for index, snapshot in enumerate(snapshots):
        store = _StoreCopy(snapshot, shard_ranges(len(snapshots))[index], stores, progress)
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
    for tree in ("mail", "boxes", "receipts", "messages"):
        before, now = sum(snapshot.count(tree) for snapshot in snapshots), stores.count(tree)
        if before != now:
            raise BootError(f"of {before} items in `{tree}` {now} were copied")
    progress.end()


class _StoreCopy:
    """Copies one old store, item by item, to the new owners."""

    def __init__(
        self, snapshot: Snapshot, slots: range, stores: _Stores, progress: Progress
    ) -> None:
        self._snapshot = snapshot
        self._slots = slots
        self._stores = stores
        self._progress = progress
        self._highest_body = 0
        # The numbers that bodies got at their new owners: members of a group share them.
        self._numbers: dict[tuple[int, int], int] = {}

    def copy(self) -> int:
        """Copy everything; return the highest number that a body has got."""
        for key, raw in self._items("mail"):
            worker = self._owner(slot_at(key))
            if raw[0] == mailbox.GROUP_MESSAGE:
                body, length = mailbox.body_of(raw)
                raw = mailbox.refer_to_body(self._hold_body(worker, body), length)
            self._stores.put(worker, "mail", key, raw)
        for tree in ("boxes", "receipts"):
            for key, value in self._items(tree):
                self._stores.put(self._owner(slot_at(key)), tree, key, value)
        for key, value in self._items("messages"):
            self._stores.put(self._owner(slot_of_message(key)), "messages", key, value)
        for key, value in self._items("expiry"):
            self._split_expiry(key, value)
        return self._highest_body

    def _items(self, tree: str) -> Iterator[tuple[bytes, bytes]]:
        for item in self._snapshot.items(tree):
            self._progress.advance()
            self._stores.breathe()
            yield item

    def _owner(self, slot: int) -> int:
        if slot not in self._slots:
            raise ValueError(f"an item of slot {slot}, which is not the worker's")
        return self._stores.owner_of_slot[slot]

    def _hold_body(self, worker: int, body: int) -> int:
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

    def _put_body(self, worker: int, body: int) -> int:
        frame = self._snapshot.get("bodies", pack_seq(body))
        if frame is None:
            raise ValueError(f"body {body} is missing though a mailbox refers to it")
        # Its own number, or the next that is free; it is found there again by its content.
        number = body
        while (there := self._stores.get(worker, "bodies", pack_seq(number))) not in (None, frame):
            number += 1
        if there is None:
            self._stores.put(worker, "bodies", pack_seq(number), frame)
        self._highest_body = max(self._highest_body, number)
        return number

    def _split_expiry(self, key: bytes, value: bytes) -> None:
        by_worker: dict[int, list[bytes]] = {}
        for listed in decode_keys(value):
            by_worker.setdefault(self._owner(slot_of_message(listed)), []).append(listed)
        for worker, keys in by_worker.items():
            # Another store's batch may have the same number.
            there = self._stores.get(worker, "expiry", key)
            if there is not None:
                keys = decode_keys(there) + keys
            self._stores.put(worker, "expiry", key, encode_keys(keys))


# --- what was on its way between two workers ---


def _take_over(
    snapshots: list[Snapshot],
    directories: list[Path],
    layout: Layout,
    settings: Settings,
    map_bytes: int,
    reached: Reached,
) -> None:
    counters: Counter[str] = Counter()
    with _Shards(directories, layout, settings, map_bytes) as shards:
        for number, (_, content) in enumerate(_unapplied(snapshots), start=1):
            for owner, part in _by_owner(content, shards.owner_of_slot):
                shards.of(owner).take_over(part)
            if number % TAKEN_OVER_AT_ONCE == 0:
                shards.commit()
                reached("taking over")
        shards.commit()
        counters = shards.counters()
        taken = shards.taken
    if taken:
        logger.info("reshard.took_over", entries=taken, **counters)


def _unapplied(snapshots: list[Snapshot]) -> Iterator[tuple[int, GroupCopy | Receipt]]:
    """Yield (seq, content) of what no peer has applied, each outbox in order."""
    for sender, snapshot in enumerate(snapshots):
        for key, value in snapshot.items("outbox"):
            peer, seq = split_outgoing(key)
            if peer >= len(snapshots) or peer == sender:
                raise BootError(f"the outbox of worker {sender} has an entry for worker {peer}")
            if seq > snapshots[peer].applied(sender):
                yield seq, outbox.decode(value).content


def _by_owner(
    content: GroupCopy | Receipt, owner_of_slot: list[int]
) -> Iterator[tuple[int, GroupCopy | Receipt]]:
    if isinstance(content, Receipt):
        yield owner_of_slot[slot_of(content.author)], content
        return
    by_owner: dict[int, list[str]] = {}
    for member in content.members:
        by_owner.setdefault(owner_of_slot[slot_of(member)], []).append(member)
    for owner, members in by_owner.items():
        yield owner, msgspec.structs.replace(content, members=members)


class _Shards:
    """The new stores with the rules by which a worker changes them; opened when first needed."""

    def __init__(
        self, directories: list[Path], layout: Layout, settings: Settings, map_bytes: int
    ) -> None:
        self._ranges = shard_ranges(layout.workers)
        self.owner_of_slot = [worker for worker, slots in enumerate(self._ranges) for _ in slots]
        self.taken = 0
        self._directories = directories
        self._layout = layout
        self._settings = settings
        self._map_bytes = map_bytes
        self._open: dict[int, tuple[Store, Shard]] = {}
        self._batches: dict[int, Batch] = {}

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        for batch in self._batches.values():
            batch.abort()
        for store, _ in self._open.values():
            store.close()

    def of(self, worker: int) -> Shard:
        """Return the shard of `worker`, within a batch."""
        self.taken += 1
        if worker not in self._open:
            store = Store(
                self._directories[worker],
                durability="os",  # closing it syncs
                map_bytes=self._map_bytes,
                max_map_bytes=self._map_bytes,
                mark=Mark(self._layout.generation, self._layout.workers, worker),
            )
            shards = ShardMap(self._layout.workers)
            self._open[worker] = store, Shard(worker, shards, self._settings)
        store, shard = self._open[worker]
        if worker not in self._batches:
            self._batches[worker] = store.begin()
            shard.begin(self._batches[worker], now_ms=time.time_ns() // 1_000_000)
        return shard

    def commit(self) -> None:
        for worker in list(self._batches):
            store, shard = self._open[worker]
            shard.end()
            self._batches.pop(worker).commit()
            store.fold()

    def counters(self) -> Counter[str]:
        return sum((shard.counters for _, shard in self._open.values()), Counter())


# --- the process ---


def main() -> int:
    """Re-shard as the settings in the run directory say; return the exit code."""
    parser = argparse.ArgumentParser(description="Started by supervisor.py, not by hand.")
    parser.add_argument("--run-dir", type=Path, required=True)
    given = parser.parse_args()
    os.umask(0o077)
    settings = msgspec.json.decode((given.run_dir / "settings.json").read_bytes(), type=Settings)
    log.configure(settings.log.format, settings.log.level, process="reshard", pid=os.getpid())
    threading.Thread(target=_end_with_the_supervisor, daemon=True).start()
    try:
        reshard(Path(settings.server.data), settings)
    except (BootError, DiskError) as error:
        logger.error("process.cannot_boot", reason=str(error))
        return CANNOT_BOOT
    return 0


def _end_with_the_supervisor() -> None:
    # Its end of the pipe closes when it is gone. To be killed at any point is what we are made for.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
