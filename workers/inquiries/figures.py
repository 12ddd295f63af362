"""The figures of a worker."""

from __future__ import annotations

import os

from relay import __version__, clock
from relay.inquiries.contract import Handlers
from relay.inquiries.figures import AskFigures, Figures, told
from relay.webhooks.half import Notes
from workers.inquiries.webhooks import notes_of
from workers.insight import Insight

_STARTED_MS = clock.clock_ms()


def handlers(insight: Insight) -> Handlers:
    """Answer for a worker."""

    def figures(_: AskFigures) -> Figures:
        store, links, measures = insight.store, insight.links, insight.measures
        mail = store.held("mail")
        bodies = store.held("bodies")
        oldest_ms = insight.shard.oldest_entry_ms
        notes = notes_of(insight)
        return Figures(
            pid=os.getpid(),
            incarnation=insight.place.incarnation,
            version=__version__,
            uptime_s=(clock.clock_ms() - _STARTED_MS) / 1000,
            counters={
                **insight.counters,
                "link_bytes_sent": links.traffic.bytes_sent,
                "link_bytes_received": links.traffic.bytes_received,
            },
            gauges={
                "sessions": len(insight.shard.readers),
                "refuses_sends": int(bool(insight.gate.refusal)),
                "room_bytes": insight.gate.room_bytes,
                "queue_entries": mail.entries,
                "queue_bytes": mail.size + bodies.size,
                "store_bytes": store.used_bytes(),
                "oldest_entry_s": max(0, clock.now_ms() - oldest_ms) / 1000 if oldest_ms else 0,
                "link_bytes_unconfirmed": links.fronts.unconfirmed_bytes,
                **(_of_events(notes) if notes is not None else {}),
            },
            distributions={
                "batch_work": told(measures.batch_work),
                "deciding_s": told(measures.deciding_s),
                "commit_s": told(measures.commit_s),
                "sync_s": told(measures.sync_s),
                "fold_s": told(measures.fold_s),
            },
        )

    return {AskFigures: figures}


def _of_events(notes: Notes) -> dict[str, float]:
    oldest = notes.waiting.oldest()
    age_ms = clock.now_ms() - oldest.seq // 1000 if oldest is not None else 0
    return {
        "webhook_events": len(notes.waiting),
        "webhook_oldest_s": max(0, age_ms) / 1000,
        "webhook_dead_letters": len(notes.dead),
    }
