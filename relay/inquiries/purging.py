"""A purge on another host, whose admin begins it and is asked how it goes on."""

from __future__ import annotations

from typing import Literal

import msgspec

from relay.inquiries.contract import Inquiry


class ShareSeen(msgspec.Struct, frozen=True):
    """How it goes on there, as an operation of that admin's."""

    id: str
    state: Literal["running", "done", "failed"]
    detail: str
    counts: dict[str, int] = {}  # msgspec copies it


class BeginPurge(Inquiry[ShareSeen], frozen=True):
    """Purge the ranges `workers`, which that host must own, of what `Purge` of the API says."""

    name = "purge.begin"
    answer = ShareSeen

    workers: list[int]
    user: str
    older_than_s: int | None
    dry_run: bool
    by: str  # who wants it, for the log


class AskShare(Inquiry[ShareSeen], frozen=True):
    """How is the operation of that id? It is refused where the admin is another by now."""

    name = "purge.how"
    answer = ShareSeen

    id: str
