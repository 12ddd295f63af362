"""The sessions of a front."""

from __future__ import annotations

from itertools import islice

from relay.front.hub import Endpoint
from relay.front.insight import Insight
from relay.front.visitors import shown
from relay.inquiries.contract import MAX_ITEMS, Handlers
from relay.inquiries.people import MAX_SEEN, AskSession, AskSessions, Sessions, SessionSeen


def handlers(insight: Insight) -> Handlers:
    """Answer for a front."""
    clients = insight.hub.clients

    def sessions(asked: AskSessions) -> Sessions:
        # Numbers only grow, and so does the order of those who came.
        behind = (number for number in clients if number > asked.after)
        found: list[SessionSeen] = []
        most = min(asked.limit, MAX_ITEMS)
        for number in islice(behind, MAX_SEEN):
            if len(found) == most:
                return Sessions(found, found[-1].session)
            client = clients[number]
            user = client.session.login.user
            if user and user.startswith(asked.prefix):
                found.append(_seen(client))
            last = number
        return Sessions(found, last if next(behind, None) is not None else 0)

    def session(asked: AskSession) -> Sessions:
        client = clients.get(asked.session)
        return Sessions([] if client is None else [_seen(client)])

    return {AskSessions: sessions, AskSession: session}


def _seen(client: Endpoint) -> SessionSeen:
    session = client.session
    return SessionSeen(
        session=session.number,
        user=session.login.user,
        stage=session.login.stage.name,
        address=shown(client.address),
        since_ms=session.login.asked_ms,
        capabilities=session.login.caps,
    )
