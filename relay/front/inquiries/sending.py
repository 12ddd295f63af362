"""Who sends most by a front."""

from __future__ import annotations

from relay.clock import now_ms
from relay.front.insight import Insight
from relay.inquiries.contract import Handlers
from relay.inquiries.largest import MAX_NAMED, AskSenders, SendersSeen, Sending


def handlers(insight: Insight) -> Handlers:
    """Answer for a front."""

    def senders(asked: AskSenders) -> SendersSeen:
        most = insight.hub.senders.top(min(asked.limit, MAX_NAMED), now_ms())
        return SendersSeen([Sending(user, round(per_s, 1)) for user, per_s in most])

    return {AskSenders: senders}
