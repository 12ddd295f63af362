"""Traces of a worker."""

from __future__ import annotations

from relay.inquiries.contract import Handlers
from relay.inquiries.tracing import AskNotes
from workers.insight import Insight


def handlers(insight: Insight) -> Handlers:
    """Answer for a worker."""
    return {AskNotes: insight.tracing.asked}
