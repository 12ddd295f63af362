"""What becomes of one user's frames: a process notes it while somebody goes on asking.

Nothing is kept of a trace but in the process that notes, and no longer than somebody asks: whoever
asks says the user each time, so a process that has come anew notes from then on. That its notes
begin later than those of the others is how one tells that some are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from relay.inquiries.contract import MAX_ITEMS, Inquiry, NoAnswer

# So long a process goes on noting for who does not ask any more.
LEASE_MS: Final = 10_000
# Users that one process traces at a time; another is refused.
MAX_TRACED: Final = 8
# What one process keeps of one user until it is asked for: the oldest goes, its number is missing.
MAX_NOTES: Final = 2000
MAX_NOTED_BYTES: Final = 1024 * 1024
# Of a frame that names more messages, so many are named.
MAX_IDS: Final = 16
MAX_TEXT_BYTES: Final = 4096


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that became of a frame, a message or a receipt of the user.

    `what` is "read" or "written" of a client's frame, "logged_in" or "gone"; of a worker
    "taken", "stored", "refused" or "sent". `peer` is whom it was from or for, a local part.
    """

    number: int
    at_us: int  # since 1970
    what: str
    kind: str = ""
    ids: tuple[str, ...] = ()
    more_ids: int = 0  # than are named
    peer: str = ""
    detail: str = ""
    size: int = 0
    text: bytes | None = None  # of the frame, where texts were asked for


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a process' notes, in order; `more` tells whether others were there.

    A worker tells the `session` that it serves the user by, and the front of it.
    """

    notes: list[Note]
    begun_us: int  # nothing before was noted
    more: bool = False
    front: str = ""  # its identity on the bus
    session: int = 0


class AskNotes(Inquiry[Notes], frozen=True):
    """Those of `user` behind `after` and up to `until_us`; this begins a trace, or goes on with it.

    `session` is that of the user at this front, 0 where it has none. `begun_us` is of the answer
    before: to a trace that began at another time `after` means nothing.
    """

    name = "trace"
    answer = Notes

    user: str
    until_us: int
    begun_us: int = 0
    after: int = 0
    session: int = 0
    texts: bool = False


class Trace:
    """The notes of one user in one process."""

    def __init__(self, user: str, now_us: int) -> None:
        self.user = user
        self.begun_us = now_us
        self.texts = False  # whether anybody wants them
        self.asked_ms = 0
        self._notes: deque[Note] = deque()
        self._bytes = 0
        self._number = 0

    def add(
        self,
        what: str,
        now_us: int,
        *,
        kind: str = "",
        ids: tuple[str, ...] = (),
        peer: str = "",
        detail: str = "",
        size: int = 0,
        text: bytes | None = None,
    ) -> None:
        """Note something; the oldest notes go where it would be too many."""
        self._number += 1
        if text is not None:
            text = text[:MAX_TEXT_BYTES] if self.texts else None
        note = Note(
            number=self._number,
            at_us=now_us,
            what=what,
            kind=kind,
            ids=ids[:MAX_IDS],
            more_ids=max(0, len(ids) - MAX_IDS),
            peer=peer,
            detail=detail,
            size=size,
            text=text,
        )
        self._notes.append(note)
        self._bytes += _size_of(note)
        while len(self._notes) > MAX_NOTES or self._bytes > MAX_NOTED_BYTES:
            self._bytes -= _size_of(self._notes.popleft())

    def notes(self, asked: AskNotes) -> Notes:
        """Return those that are asked for; what was fetched before is let go."""
        found: list[Note] = []
        more = False
        if asked.begun_us == self.begun_us:
            while self._notes and self._notes[0].number <= asked.after:
                self._bytes -= _size_of(self._notes.popleft())
        for note in self._notes:
            if note.at_us > asked.until_us:
                break
            if len(found) == MAX_ITEMS:
                more = True
                break
            found.append(note if asked.texts else msgspec.structs.replace(note, text=None))
        return Notes(notes=found, begun_us=self.begun_us, more=more)


class Traces:
    """The traces of one process, by user: empty as long as nobody asks."""

    def __init__(self) -> None:
        self.of: dict[str, Trace] = {}

    def asked(self, asked: AskNotes, *, now_us: int, clock_ms: int) -> Trace | NoAnswer:
        """Return the trace that is asked for, which goes on from here."""
        trace = self.of.get(asked.user)
        if trace is None:
            if len(self.of) >= MAX_TRACED:
                return NoAnswer(429, f"{MAX_TRACED} users are traced already")
            trace = self.of[asked.user] = Trace(asked.user, now_us)
        trace.asked_ms = clock_ms
        trace.texts = trace.texts or asked.texts
        return trace

    def take_ended(self, clock_ms: int) -> Iterator[Trace]:
        """Forget the traces that nobody has asked for lately, and yield them."""
        for user, trace in list(self.of.items()):
            if clock_ms - trace.asked_ms > LEASE_MS:
                yield self.of.pop(user)


def _size_of(note: Note) -> int:
    words = len(note.kind) + len(note.peer) + len(note.detail) + sum(map(len, note.ids))
    return 100 + words + len(note.text or b"")
