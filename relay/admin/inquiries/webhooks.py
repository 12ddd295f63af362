"""Posting what failed, for all hosts of a cluster at once."""

from __future__ import annotations

from relay.admin.view import View
from relay.inquiries.contract import Handlers
from relay.inquiries.webhooks import Resumed, ResumePosting


def handlers(view: View) -> Handlers:
    """Return what this topic answers."""

    def resume(_: ResumePosting) -> Resumed:
        if view.courier is not None:
            view.courier.resume()
        return Resumed(view.courier is not None)

    return {ResumePosting: resume}
