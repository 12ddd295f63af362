"""A share of a purge, for the admin of another host."""

from __future__ import annotations

from relay.admin.operations import Operation
from relay.admin.purging import Which, begin_share
from relay.admin.tools import ToolRuns
from relay.admin.view import View
from relay.inquiries.contract import UNKNOWN, Handlers, NoAnswer
from relay.inquiries.purging import AskShare, BeginPurge, ShareSeen

_BUSY = 409


def handlers(view: View) -> Handlers:
    """Return what this topic answers."""

    def begin(asked: BeginPurge) -> ShareSeen | NoAnswer:
        which = Which(asked.user, asked.older_than_s, dry_run=asked.dry_run)
        try:
            return _seen(begin_share(view, which, asked.workers, by=asked.by))
        except ToolRuns as error:
            return NoAnswer(_BUSY, str(error))

    def how(asked: AskShare) -> ShareSeen | NoAnswer:
        found = view.operations.find(asked.id)
        if found is None:
            return NoAnswer(UNKNOWN, "its admin is another by now: nobody knows what became of it")
        return _seen(found)

    return {BeginPurge: begin, AskShare: how}


def _seen(operation: Operation) -> ShareSeen:
    return ShareSeen(operation.id, operation.state, operation.detail, operation.counts)
