"""What operators send to users and groups of a worker."""

from __future__ import annotations

from relay.inquiries.contract import Handlers
from relay.inquiries.sending import AskSend
from workers.insight import Insight


def handlers(insight: Insight) -> Handlers:
    """Answer for a worker."""
    return {AskSend: insight.operator.asked}
