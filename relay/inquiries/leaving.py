"""Sending users away: what the admin tells a front, whose sessions they are."""

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


class BansRead(msgspec.Struct, frozen=True):
    """The front reads the list; it closes sessions in a moment, in which nobody else waits."""


class ReadBans(Inquiry[BansRead], frozen=True):
    """Look at the list of bans at once, not at the next sign of life."""

    name = "bans.read"
    answer = BansRead
