"""One ordered tree of a store: pages on disk and, above them in memory, what is newer.

What a batch writes lies in `fresh` until it is committed, then in `recent` until the journal has
it folded into the pages (journal). A key that was removed is there too, without a value,
because the pages may still have it. Reading sees the newest of the three.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import islice
from typing import Any, Final, NamedTuple

from workers.store.keys import SEQ_BYTES

Value = bytes | None  # None: removed


class _Absent(Enum):
    """What stands for the value of a key that a layer does not know."""

    ABSENT = 0


MAX_KEY_BYTES: Final = 511  # LMDB's limit
LAST_NUMBER: Final = b"\xff" * SEQ_BYTES  # none is higher

_ABSENT: Final = _Absent.ABSENT
_END: Final[tuple[Any, Any]] = (None, None)
# So many new keys are put in their places one by one; with more, all are sorted, which is near to
# one pass where most are in order.
_MAX_INSERTED = 16
_RUN = 64  # keys that a scan looks up at a time


class Layer(dict[bytes, Value]):
    """Keys and their values, in order too when somebody asks for that."""

    __slots__ = ("_gone", "_order")

    def __init__(self) -> None:
        super().__init__()
        # All keys but those that came last, sorted; and those of them that were forgotten, which
        # stay until they are many. To take one out costs as much as the list is long.
        self._order: list[bytes] = []
        self._gone: set[bytes] = set()

    def between(self, first: bytes, end: bytes, most: int = sys.maxsize) -> list[bytes]:
        """Return the keys in [first, end) in order, up to `most`; an empty `end` is behind all."""
        if not self:
            return []
        order = self._sorted()
        low = bisect_left(order, first)
        high = bisect_left(order, end, low) if end else len(order)
        if self._gone:
            high = self._clear_of_gone(low, high, most)
        return order[low : min(high, low + most)]

    def _clear_of_gone(self, low: int, high: int, most: int) -> int:
        """Take what is gone out of the first `most` from `low` on; return where `high` is then.

        Who looks at the head of a mailbox again and again passes each only once.
        """
        order, gone = self._order, self._gone
        found: list[bytes] = []
        end = low
        while end < high and len(found) < most:
            begin, end = end, min(high, end + max(_RUN, 2 * (end - low)))
            found += [key for key in order[begin:end] if key not in gone]
        removed = end - low - len(found)
        if removed:
            gone.difference_update(order[low:end])
            order[low:end] = found
        return high - removed

    def _sorted(self) -> list[bytes]:
        order, gone = self._order, self._gone
        if len(gone) * 2 > len(order):
            order[:] = [key for key in order if key not in gone]
            gone.clear()
        new = list(islice(reversed(self), len(self) - (len(order) - len(gone))))
        if gone and not gone.isdisjoint(new):
            again = gone.intersection(new)
            order[:] = [key for key in order if key not in again]
            gone -= again
        if len(new) <= _MAX_INSERTED:
            for key in new:
                insort(order, key)
        else:
            order += new
            order.sort()
        return order

    def forgetting(self) -> Callable[[bytes, None], object]:
        """Return what forgets a key, if it is there, until somebody asks for the order next.

        It is called with the key and None.
        """
        return self._forget if self._order else self.pop

    def _forget(self, key: bytes, _: None) -> None:
        order = self._order
        if self.pop(key, _ABSENT) is not _ABSENT:
            at = bisect_left(order, key)
            if at < len(order) and order[at] == key:
                self._gone.add(key)

    def forget_run(self, keys: list[bytes]) -> None:
        """Forget `keys`, a run of what `between` returned earlier."""
        for key in keys:
            self.pop(key, None)
        order = self._order
        if order:
            low = bisect_left(order, keys[0])
            high = bisect_right(order, keys[-1], low)
            run = order[low:high]
            order[low:high] = [key for key in run if key in self and key not in self._gone]
            self._gone.difference_update(run)

    def empty(self) -> None:
        """Forget all keys."""
        self.clear()
        self._order.clear()
        self._gone.clear()


class Folded(NamedTuple):
    """What went into pages: how many keys, with how many bytes of values."""

    keys: int
    size: int


class Tree:
    """The items of one tree, as the transaction that is open sees them.

    A tree `grows` if all its keys end in sequence numbers, each higher than any before. One that
    does may be `fleeting` as well: most of its items are gone within seconds.
    """

    __slots__ = ("_db", "_txn", "fleeting", "fresh", "grows", "recent", "stored_up_to")

    def __init__(self, db: Any, *, grows: bool, fleeting: bool = False) -> None:
        self.grows = grows
        self.fleeting = fleeting
        self.fresh = Layer()
        self.recent = Layer()
        # No key with a higher number at its end is in a page of a tree that grows.
        self.stored_up_to = LAST_NUMBER
        self._db = db
        # Any: lmdb's annotations say bytes | memoryview, which only its `buffers` flag decides,
        # and that is never set here.
        self._txn: Any = None

    def use(self, txn: Any) -> None:
        """Read the pages through `txn` from here on."""
        self._txn = txn

    def get(self, key: bytes) -> Value:
        """Return the value of `key`, None where there is none."""
        value = self.fresh.get(key, _ABSENT)
        if value is _ABSENT:
            value = self.recent.get(key, _ABSENT)
            if value is _ABSENT:
                value = self._txn.get(key, db=self._db)
        return value

    def get_unstored(self, key: bytes) -> Value:
        """Return the same, where it is known that no page has it."""
        value = self.fresh.get(key, _ABSENT)
        return self.recent.get(key) if value is _ABSENT else value

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of `key`.

        Raises:
            ValueError: no page could ever take it. Here, because the fault is what asks for it.
        """
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes")
        self.fresh[key] = value

    def put_all(self, items: Mapping[bytes, bytes]) -> None:
        """Set many values.

        Raises:
            ValueError: as for `put`; nothing has changed.
        """
        if items and not 0 < min(map(len, items)) <= max(map(len, items)) <= MAX_KEY_BYTES:
            raise ValueError(f"keys of {sorted(set(map(len, items)))} bytes")
        self.fresh.update(items)

    def pop(self, key: bytes) -> Value:
        """Remove `key` and return the value that it had, None where it had none."""
        fresh = self.fresh
        value = fresh.get(key, _ABSENT)
        if value is _ABSENT:
            # As in `get`, which would be a call more for each message and receipt.
            value = self.recent.get(key, _ABSENT)
            if value is _ABSENT:
                value = self._txn.get(key, db=self._db)
        if value is not None:
            fresh[key] = None
        return value

    def count(self) -> int:
        """Return how many items there are; looks at every key in memory."""
        entries: int = self._txn.stat(self._db)["entries"]
        for key in {**self.recent, **self.fresh}:
            is_stored = self._txn.get(key, db=self._db) is not None
            entries += (self.get(key) is not None) - is_stored
        return entries

    def unfolded(self) -> Folded:
        """Return how many keys more there are than in the pages, and the bytes that these lack.

        Of a tree that grows, between two batches. Only what may be in a page is looked up there.
        """
        txn, db, stored_up_to = self._txn, self._db, self.stored_up_to
        keys = size = 0
        for key, value in self.recent.items():
            if value is not None and key[-SEQ_BYTES:] > stored_up_to:
                keys, size = keys + 1, size + len(value)
                continue
            is_stored = txn.get(key, db=db) is not None
            keys += (value is not None) - is_stored
            size += 0 if value is None or is_stored else len(value)
        return Folded(keys, size)

    def fold(self, txn: Any, keys: list[bytes], *, max_bytes: int) -> Folded:
        """Write what is `recent` at `keys` into the pages, through the transaction `txn`.

        It ends with the key that reaches `max_bytes`.
        """
        db, recent = self._db, self.recent
        size = 0
        highest = self.stored_up_to if self.grows else LAST_NUMBER
        for count, key in enumerate(keys, start=1):
            value = recent.get(key, _ABSENT)
            if value is None:
                txn.delete(key, db=db)
            elif value is not _ABSENT:
                txn.put(key, value, db=db)
                if key[-SEQ_BYTES:] > highest:
                    self.stored_up_to = highest = key[-SEQ_BYTES:]
                size += len(value)
                if size >= max_bytes:
                    return Folded(count, size)
        return Folded(len(keys), size)

    def keep(self) -> None:
        """Add what is `fresh` to what is `recent`, because it is committed.

        If a key is removed that no page can have (`stored_up_to`) there is nothing to remember.
        """
        fresh, recent = self.fresh, self.recent
        if self.grows:
            stored_up_to = self.stored_up_to
            forget = recent.forgetting()
            for key, value in fresh.items():
                if value is not None or key[-SEQ_BYTES:] <= stored_up_to:
                    recent[key] = value
                else:
                    forget(key, None)
        else:
            recent.update(fresh)
        fresh.empty()

    def scan(self, first: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the items from the key `first` on, in order, while keys begin with `prefix`.

        `first` does too.
        Do not write to what is still to come while iterating.
        """
        newer = self._newer(first, _behind(prefix))
        with self._txn.cursor(self._db) as cursor:
            is_at_item = cursor.set_range(first) if first else cursor.first()
            stored = _while_prefixed(cursor, prefix) if is_at_item else iter(())
            key, value = next(stored, _END)
            for newer_key in newer:
                while key is not None and key < newer_key:
                    yield key, value
                    key, value = next(stored, _END)
                if key == newer_key:
                    key, value = next(stored, _END)
                newer_value = self.fresh.get(newer_key, _ABSENT)
                if newer_value is _ABSENT:
                    newer_value = self.recent[newer_key]
                if newer_value is not None:
                    yield newer_key, newer_value
            if key is not None:
                yield key, value
                yield from stored

    def next_stored(self, first: bytes) -> bytes | None:
        """Return the first key in the pages from `first` on, whatever memory says of it."""
        with self._txn.cursor(self._db) as cursor:
            if not cursor.set_range(first):
                return None
            key: bytes = cursor.key()
            return key

    def _newer(self, first: bytes, end: bytes) -> Iterator[bytes]:
        """Yield the keys of both layers in [first, end) in order, looked up a run at a time.

        Most look at a few entries of a mailbox that may have ten thousand.
        """
        while True:
            runs = [layer.between(first, end, _RUN) for layer in (self.recent, self.fresh)]
            cut = [run[-1] for run in runs if len(run) == _RUN]
            keys = sorted({*runs[0], *runs[1]}) if runs[0] and runs[1] else runs[0] or runs[1]
            if not cut:
                yield from keys
                return
            # Up to there neither layer has more.
            last = min(cut)
            yield from keys[: bisect_right(keys, last)]
            first = last + b"\0"


def _while_prefixed(cursor: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    for item in cursor:
        if not item[0].startswith(prefix):
            return
        yield item


def _behind(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with `prefix`; empty where none is."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else b""
