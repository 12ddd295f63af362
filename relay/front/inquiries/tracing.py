"""Traces of a front."""

from __future__ import annotations

from relay.front.insight import Insight
from relay.inquiries.contract import Handlers
from relay.inquiries.tracing import AskNotes


def handlers(insight: Insight) -> Handlers:
    """Answer for a front."""
    return {AskNotes: insight.hub.tracing.asked}
