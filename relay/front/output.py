"""What a session wants done: its connection takes it after each thing that it has fed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from relay.auth.contract import Credentials
from relay.bus.envelopes import ToWorker
from relay.protocol.slots import Slot
from relay.protocol.stanza import ExtensionRequest


class Hold:
    """Why a connection is not read for now: some of these, joined by `|`; 0 is none."""

    # Integers, because an enum's flags take a microsecond to join, and a login joins some ten.
    LOGIN: Final = 1  # its login is being answered; what follows counts only after that
    WRITE: Final = 2  # it does not read what it is sent
    LINK: Final = 4  # a worker is behind
    PENDING: Final = 8  # too much is held behind sends that wait for an answer
    DRAIN: Final = 16  # the front is about to stop


# An envelope for the worker of a slot, and whether the next one is to get it again, if need be. A
# plain tuple, because there is one a message.
Envelope = tuple[Slot, ToWorker, bool]


class Closing(NamedTuple):
    """How the connection is to be closed, behind all frames."""

    code: int
    reason: str


class Opened(NamedTuple):
    """A login has succeeded; `caps` are what it was granted (E1)."""

    user: str
    caps: tuple[str, ...]


class Closed(NamedTuple):
    """A session that was opened has ended."""

    user: str


# What is for extensions.
Note = ExtensionRequest | Opened | Closed


class Output(msgspec.Struct, eq=False, gc=False):
    """Lists that a session's machines fill, each in order, and the connection empties."""

    frames: list[bytes] = []  # texts for the client
    # An empty list takes 56 bytes, and few sessions need one; so below, and in other machines.
    envelopes: list[Envelope] | None = None
    receipts: int = 0  # written since the connection looked: each needs a ping behind it
    # Whether any of the following has changed: looked at once, because they seldom do.
    has_news: bool = False
    hold: int = 0  # why the client is not to be read, as far as the session knows
    notes: list[Note] | None = None
    closing: Closing | None = None
    credentials: Credentials | None = None  # to be checked
    counted: dict[str, int] | None = None  # for the front's counters
    # Units of work that went to the session's worker, and whose end it wants to hear of.
    told: int = 0
    refused_logins: list[int] | None = None  # their codes
    awaits_turn: bool = False  # a frame that waited may be long work, and needs such a turn

    def request(self, slot: Slot, content: ToWorker, *, durable: bool) -> None:
        """Have something told to the worker of `slot`, see `Envelope`."""
        if self.envelopes is None:
            self.envelopes = []
        self.envelopes.append((slot, content, durable))

    def check(self, credentials: Credentials) -> None:
        """Have a login checked; the session is to hear what came of it."""
        self.credentials = credentials
        self.has_news = True

    def note(self, note: Note) -> None:
        """Have the extensions see something."""
        if self.notes is None:
            self.notes = []
        self.notes.append(note)
        self.has_news = True

    def take_notes(self) -> Sequence[Note]:
        """Return what was noted, once."""
        notes, self.notes = self.notes, None
        return notes or ()

    def count_refused_login(self, code: int) -> None:
        """Have a login counted that has failed with this code."""
        self.refused_logins = [*(self.refused_logins or ()), code]
        self.has_news = True

    def count(self, what: str, times: int = 1) -> None:
        """Have something counted that is rare: what is refused or dropped."""
        if self.counted is None:
            self.counted = {}
        self.counted[what] = self.counted.get(what, 0) + times
        self.has_news = True

    def add_hold(self, why: int) -> None:
        """Have the client not read for now."""
        self.hold |= why
        self.has_news = True

    def drop_hold(self, why: int) -> None:
        """Have the client read again, as far as that goes."""
        if self.hold & why:
            self.hold &= ~why
            self.has_news = True

    def tell_when_done(self, units: int) -> None:
        """Have the session hear when all is confirmed that its worker was told up to here."""
        self.told += units
        self.has_news = True

    def await_turn(self) -> None:
        """Have the session called back when it is its turn to do long work."""
        self.awaits_turn = self.has_news = True

    def close(self, code: int, reason: str) -> None:
        """Close the connection, behind all frames."""
        self.closing = Closing(code, reason)
        self.has_news = True
