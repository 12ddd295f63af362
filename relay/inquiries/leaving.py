"""Sending users away: what the admin tells a front, whose sessions they are, and other hosts."""

from __future__ import annotations

import msgspec

from relay.inquiries.contract import Inquiry


class Kicked(msgspec.Struct, frozen=True):
    """Sessions that were closed; `next` is 0 where none are left to look at."""

    sessions: int
    next: int = 0


class Kick(Inquiry[Kicked], frozen=True):
    """Close those of `user` behind session `after`, with 1012; he may come again."""

    name = "kick"
    answer = Kicked

    user: str
    after: int = 0


class ListsRead(msgspec.Struct, frozen=True):
    """The front has; it closes sessions from now on, in moments in which nobody else waits."""


class ListsTaken(msgspec.Struct, frozen=True):
    """The host has them; `not_asked` are the numbers of its fronts that did not say they look."""

    not_asked: list[int] = []


class TakeLists(Inquiry[ListsTaken], frozen=True):
    """Take the lists of whom nobody lets in from the cluster now, and have the fronts look.

    Of the admin of another host: its agent does so within seconds, too.
    """

    name = "bans.take"
    answer = ListsTaken


class ReadLists(Inquiry[ListsRead], frozen=True):
    """Look at the lists of whom operators let in no more at once, not at the next sign of life."""

    name = "bans.read"  # from when that was the only one
    answer = ListsRead
