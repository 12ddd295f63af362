"""Sends users away from a front."""

from __future__ import annotations

from itertools import islice

from relay.front.insight import Insight
from relay.inquiries.contract import Handlers, Later
from relay.inquiries.leaving import Kick, Kicked, ListsRead, ReadLists
from relay.inquiries.people import MAX_SEEN
from relay.protocol import closecodes, frames


def handlers(insight: Insight) -> Handlers:
    """Answer for a front."""
    hub = insight.hub

    def kick(asked: Kick) -> Kicked:
        behind = (number for number in hub.clients if number > asked.after)
        looked_at = list(islice(behind, MAX_SEEN))
        more = next(behind, None) is not None
        closed = 0
        for number in looked_at:
            client = hub.clients.get(number)
            if client is not None and client.session.login.user == asked.user:
                client.leave(closecodes.RESTART, "sent away", frames.DISCONNECT_KICKED)
                closed += 1
        hub.counters["sessions_kicked"] += closed
        return Kicked(closed, looked_at[-1] if more else 0)

    def read_lists(_: ReadLists) -> Later:
        later = Later()
        hub.checks.refresh(at_once=True, then=lambda: later.say(ListsRead()))
        return later

    return {Kick: kick, ReadLists: read_lists}
