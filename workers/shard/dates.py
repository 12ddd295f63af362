"""When sequence numbers were given out, where they do not tell it themselves.

A number is the clock's time, or one more than the last: after a clock that ran ahead, numbers do so
for years. So while they are ahead of the day, it is noted now and then which had been reached by
when. What had a lower number was stored before, what has a higher one was stored later.

In doubt an entry is taken for younger than it is: it waits a little longer, and is not lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from relay.bus.envelopes import NO_SEQ, Seq

# Of how many parts of its time an entry may wait too long.
_PARTS: Final = 32
# Notes beyond that are merged, those that lie closest for their age.
_MOST_NOTES: Final = 100
# A number that is ahead by less is in time: as much as a clock may be off (workers.calendar).
_AHEAD_US: Final = 300_000_000
# How often the day is kept in the store: a start soon after a stop finds it within the tolerance.
KEPT_EVERY_US: Final = 240_000_000


class Note(NamedTuple):
    """On that day (in us since 1970) the numbers had come to `seq`."""

    day_us: int
    seq: Seq


class Dates:
    """The notes of one store, the oldest first; neither days nor numbers ever go back in them."""

    def __init__(self, notes: Iterable[Note] = ()) -> None:
        self.notes = list(notes)

    def reached(self, day_us: int) -> Seq:
        """Return the number below which all were given out by that day."""
        low, high = NO_SEQ, None
        for note in self.notes:
            if note.day_us > day_us:
                high = Seq(note.seq + 1)
                break
            low = Seq(note.seq + 1)
        reached = max(Seq(day_us), low)
        return reached if high is None else min(reached, high)

    def note(self, last_seq: Seq, *, day_us: int, shortest_us: int, longest_us: int) -> bool:
        """Note that the numbers have come to `last_seq` today, if they do not tell it themselves.

        What waits does so between `shortest_us` and `longest_us`. Return whether anything changed.
        """
        before = len(self.notes)
        # What is past its time by a later note needs no earlier one.
        while len(self.notes) > 1 and self.notes[1].day_us <= day_us - longest_us:
            del self.notes[0]
        is_new = last_seq - day_us > _AHEAD_US and (
            not self.notes or day_us - self.notes[-1].day_us >= shortest_us // _PARTS
        )
        if is_new:
            self.notes.append(Note(day_us, last_seq))
        while len(self.notes) > _MOST_NOTES:
            self._merge(day_us)
        return is_new or len(self.notes) != before

    def _merge(self, day_us: int) -> None:
        """Make one of two: everything between them counts as stored on the later day."""

        def closeness(index: int) -> float:
            older, newer = self.notes[index], self.notes[index + 1]
            return (newer.day_us - older.day_us) / max(1, day_us - older.day_us)

        index = min(range(len(self.notes) - 2), key=closeness)
        older, newer = self.notes[index : index + 2]
        self.notes[index : index + 2] = [Note(newer.day_us, older.seq)]

    def move(self, *, by_us: int, day_us: int) -> None:
        """Go by another calendar, on which what was noted is later by `by_us`, and no later than
        `day_us`, which is today.
        """
        moved = [Note(min(day_us, note.day_us + max(0, by_us)), note.seq) for note in self.notes]
        # Of several on one day only the last says something, and none that says what numbers do.
        last_of = {note.day_us: note for note in moved}
        self.notes = [each for each in last_of.values() if abs(each.seq - each.day_us) > _AHEAD_US]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[tuple[int, int]]).decode


def encode(dates: Dates) -> bytes:
    """Return what the store keeps."""
    return _encode(dates.notes)


def decode(value: bytes | None) -> Dates:
    """Return what the store has kept, if anything; msgspec.DecodeError if it is none."""
    notes = [] if value is None else _decode(value)
    return Dates(Note(day_us, Seq(seq)) for day_us, seq in notes)


def latest_day_us(day_us: int, last_seq: Seq) -> int:
    """Return the latest day that a store knows of, 0 if it knows none.

    `day_us` is the one that it has kept, 0 if none. It cannot be much later: it would have been
    kept again. A number that says so was given out by a clock that was not believed.
    """
    if not day_us:
        return last_seq
    return max(day_us, min(last_seq, day_us + KEPT_EVERY_US + _AHEAD_US))


def merge(stores: Iterable[Dates]) -> Dates:
    """Return dates by which nothing is older than by those of any of the `stores`.

    What runs ahead of the day is noted anew by its next owner: it may wait as long once more.
    """
    notes = sorted(
        note for dates in stores for note in dates.notes if note.seq - note.day_us <= _AHEAD_US
    )
    lowest = None
    merged: list[Note] = []
    for note in reversed(notes):
        lowest = note.seq if lowest is None else min(lowest, note.seq)
        merged.append(Note(note.day_us, lowest))
    return Dates(reversed(merged))
