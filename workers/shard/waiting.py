"""What of each author waits here for recipients who have not acked it: at most a quota (2.7).

Only 1-1 messages count: what waits of groups is bounded by the mailboxes of their members.

It is in memory, and less than exact: what an ack, an eviction or a purge removes is taken off at
once, and all else, what has expired, what nobody will ever ack, goes off evenly over the time that
an entry may wait. So nobody is refused for ever, and who has little waiting is soon forgotten. At
most three quotas wait of anybody: one goes off within that time, and one may be of entries that are
older. Authors with much are noted in the store each second, so that a restart grants nobody more
than `NOTED` of a quota anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from typing import Final

import msgspec

from relay.bus.envelopes import Seq
from relay.settings.tables import Settings
from workers.shard.noted import Note, decode_notes, encode_notes
from workers.shard.turn import Turn
from workers.store.batch import Batch

# The part of a quota from which on an author is looked at closely, and noted in the store.
NOTED: Final = 1 / 8
MAX_NOTED: Final = 1000
# Authors that a sweep looks at, once a second. At most so many are forgotten in time.
MAX_SWEPT: Final = 1000
# Authors with anything waiting that are known at a time, some 200 bytes each.
MAX_AUTHORS: Final = 100_000

_DAY_MS: Final = 86_400_000
_YOUNG: Final = 1 / 100  # of the time that an entry may wait
_NO_LIMIT: Final = 1 << 60


class Part:
    """What waits of one author, as of `as_of_ms`."""

    __slots__ = ("as_of_ms", "messages", "size")

    def __init__(self, as_of_ms: int) -> None:
        self.messages = 0.0
        self.size = 0.0
        self.as_of_ms = as_of_ms


class Waiting:
    """Counts it, and tells who has too much."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._parts: dict[str, Part] = {}
        self._to_sweep: list[str] = []
        # Authors of whom much waits: only they are asked whether it is too much.
        self.much: set[str] = set()
        self._young_from = 0  # of entries from this seq on hardly anything went off by their age
        self._noted: bytes | None = None  # None: the store was not looked at yet
        self.adopt(turn.settings)

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from here on."""
        quota = settings.quota
        self._max_messages = quota.waiting_messages or _NO_LIMIT
        self._max_size = quota.waiting_bytes or _NO_LIMIT
        self._much_messages = self._max_messages * NOTED
        self._much_size = self._max_size * NOTED
        self._ttl_ms = settings.mailbox.ttl_days * _DAY_MS

    def begin(self) -> None:
        """Start a batch."""
        if self._noted is None:
            self._recall(self._turn.batch)

    def refusal(self, author: str, length: int) -> str:
        """Tell for people why no message of `length` bytes is taken; empty where one is."""
        part = self._parts.get(author)
        if part is None:
            return ""
        self._let_go(part)
        if part.messages + 1 > self._max_messages:
            waits = f"{part.messages:.0f} messages", self._max_messages
        elif part.size + length > self._max_size:
            waits = f"{part.size:.0f} bytes", self._max_size
        else:
            return ""
        return (
            f"{waits[0]} of this author wait for users who have not acked; at most {waits[1]} may"
        )

    def add(self, author: str, length: int) -> None:
        """Note that a message was stored."""
        part = self._parts.get(author)
        if part is None:
            if len(self._parts) >= MAX_AUTHORS:
                self._forget_one()
            part = self._parts[author] = Part(self._turn.now_ms)
        messages = part.messages = part.messages + 1
        size = part.size = part.size + length
        if size >= self._much_size or messages >= self._much_messages:
            self.much.add(author)

    def ended(self, author: str, seq: Seq, length: int) -> None:
        """Note that the entry `seq` waits no more, but for what went off by its age."""
        part = self._parts.get(author)
        if part is None:
            return
        if seq >= self._young_from:
            part.messages -= 1
            part.size -= length
        else:
            left = max(0.0, 1 - (self._turn.now_ms - seq / 1000) / self._ttl_ms)
            part.messages -= left
            part.size -= left * length

    def part_of(self, author: str) -> Part | None:
        """Return what waits of an author as it was counted last, None for nothing."""
        return self._parts.get(author)

    def parts(self) -> Iterator[tuple[str, Part]]:
        """Yield what waits of each author as it was counted last; those with much first."""
        for author in self.much:
            if author in self._parts:
                yield author, self._parts[author]
        yield from ((each, part) for each, part in self._parts.items() if each not in self.much)

    def sweep(self) -> None:
        """Let go of what is past its time, of some authors, and note those with much."""
        self._set_young()
        if not self._to_sweep:
            self._to_sweep = list(self._parts)
        for author in self._to_sweep[-MAX_SWEPT:]:
            part = self._parts.get(author)
            if part is not None:
                self._let_go(part)
                if part.messages <= 0 and part.size <= 0:
                    del self._parts[author]
        del self._to_sweep[-MAX_SWEPT:]
        self._note()

    def keep(self) -> None:
        """Note what is left of those who were noted, whatever the settings: a purge has none."""
        left = [
            Note(author, part.messages, part.size, part.as_of_ms)
            for author in self.much
            if (part := self._parts.get(author)) and (part.messages > 0 or part.size > 0)
        ]
        self._write(left)

    def _set_young(self) -> None:
        self._young_from = self._turn.now_ms * 1000 - int(self._ttl_ms * _YOUNG * 1000)

    def _let_go(self, part: Part) -> None:
        now_ms = self._turn.now_ms
        gone = max(0, now_ms - part.as_of_ms) / self._ttl_ms  # the clock may go back
        part.as_of_ms = now_ms
        part.messages = max(0.0, part.messages - gone * self._max_messages)
        part.size = max(0.0, part.size - gone * self._max_size)

    def _forget_one(self) -> None:
        """Forget the author who has been known longest, unless much of him waits."""
        for author in self._parts:
            if author not in self.much:
                del self._parts[author]
                self._turn.counters["waiting_authors_forgotten"] += 1
                return

    def _note(self) -> None:
        found: list[Note] = []
        for author in list(self.much):
            part = self._parts.get(author)
            if part is None or (
                part.messages < self._much_messages and part.size < self._much_size
            ):
                self.much.discard(author)
            else:
                found.append(Note(author, part.messages, part.size, part.as_of_ms))
        self._write(found)

    def _write(self, found: list[Note]) -> None:
        notes = b""
        if found:
            notes = encode_notes(nlargest(MAX_NOTED, found, key=self._fullness))
        if notes != self._noted:
            self._noted = notes
            self._turn.batch.put_waiting(notes)

    def _fullness(self, note: Note) -> float:
        return max(note.messages / self._max_messages, note.size / self._max_size)

    def _recall(self, batch: Batch) -> None:
        self._set_young()
        self._noted = batch.waiting()
        try:
            notes = decode_notes(self._noted) if self._noted else []
        except msgspec.MsgspecError:
            # An estimate is no reason not to serve; the check of a store tells of it.
            self._turn.counters["waiting_notes_unreadable"] += 1
            notes = []
        for note in notes:
            part = self._parts[note.author] = Part(note.as_of_ms)
            part.messages, part.size = note.messages, note.size
            self.much.add(note.author)
