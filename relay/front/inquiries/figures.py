"""The figures of a front."""

from __future__ import annotations

import os

from relay import __version__, clock
from relay.front.entrance.health import Readiness
from relay.front.insight import Insight
from relay.inquiries.contract import Handlers
from relay.inquiries.figures import AskFigures, Figures, told

_STARTED_MS = clock.clock_ms()


def handlers(insight: Insight) -> Handlers:
    """Answer for a front."""
    hub, delivered = insight.hub, insight.dispatch

    def figures(_: AskFigures) -> Figures:
        links, visitors = hub.links, hub.visitors
        return Figures(
            pid=os.getpid(),
            incarnation=insight.place.incarnation,
            version=__version__,
            uptime_s=(clock.clock_ms() - _STARTED_MS) / 1000,
            counters={
                **hub.counters,
                "direct_messages": links.direct_messages,
                "group_messages": links.group_messages,
                "acks": delivered.acks,
                "direct_deliveries": delivered.direct_messages,
                "group_deliveries": delivered.group_messages,
                "receipts": delivered.receipts,
                "logins": visitors.logins,
                "logouts": visitors.logouts,
                "link_bytes_sent": links.traffic.bytes_sent,
                "link_bytes_received": links.traffic.bytes_received,
                "client_bytes_received": hub.turns.read_bytes,
                "client_bytes_sent": hub.flusher.written_bytes,
            },
            gauges={
                "connections": len(hub.clients),
                "sessions": visitors.sessions,
                "is_ready": int(insight.entrance.readiness() is Readiness.READY),
                "link_bytes_unconfirmed": links.unconfirmed_bytes,
                "link_bytes_most": links.max_link_bytes,
            },
            distributions={
                "send_ack_s": told(links.traffic.round_trips),
                "login_s": told(visitors.login_s),
            },
            expiries=dict(insight.entrance.expiries),
        )

    return {AskFigures: figures}
