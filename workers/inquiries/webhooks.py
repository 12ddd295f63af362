"""The events that a worker keeps for an endpoint of the operator's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TypeVar

from relay.inquiries.contract import Handlers, Inquiry, NoAnswer
from relay.inquiries.webhooks import (
    MAX_EVENT_BYTES,
    MAX_EVENTS,
    MAX_ORDERED,
    AskEvents,
    CountEvents,
    EventsCount,
    EventsKept,
    Kept,
    OrderDead,
    OrderEvents,
    Taken,
)
from relay.webhooks.events import DEAD_TREE, NAME, WAITING_TREE, Place, key_of
from relay.webhooks.half import Notes, Order
from workers.insight import Insight

Asked = TypeVar("Asked", bound=Inquiry[object])


def notes_of(insight: Insight) -> Notes | None:
    """Return what notes events in this worker, None where none are told, or not yet."""
    half = insight.shard.half(NAME)
    return half if isinstance(half, Notes) and half.is_filled else None


def handlers(insight: Insight) -> Handlers:
    """Answer for a worker."""
    store = insight.store

    def events(asked: AskEvents, notes: Notes) -> EventsKept:
        shelf = notes.dead if asked.dead else notes.waiting
        behind = Place(asked.seq, asked.owner) if asked.seq else None
        found: list[Kept] = []
        size = 0
        with store.reading() as batch:
            tree = batch.owned_tree(f"{NAME}.{DEAD_TREE if asked.dead else WAITING_TREE}")
            for place in shelf.behind(behind):
                if len(found) >= min(asked.limit, MAX_EVENTS) or size >= MAX_EVENT_BYTES:
                    return EventsKept(found, notes.rounds, more=True)
                body = tree.get(place.owner, key_of(place))
                assert body is not None, f"the event at {place} is on its shelf alone"
                found.append(Kept(place.seq, place.owner, body))
                size += len(body)
        return EventsKept(found, notes.rounds)

    def order(asked: OrderEvents, notes: Notes) -> Taken | NoAnswer:
        orders = [Order(Place(e.seq, e.owner), e.what, e.reason) for e in asked.orders]
        return _take(notes, orders)

    def order_dead(asked: OrderDead, notes: Notes) -> Taken | NoAnswer:
        places = list(islice(notes.dead.behind(None), MAX_ORDERED))
        return _take(notes, [Order(place, asked.what) for place in places])

    def count(_: CountEvents, notes: Notes) -> EventsCount:
        oldest = notes.waiting.oldest()
        return EventsCount(
            waiting=len(notes.waiting),
            waiting_bytes=notes.waiting.size,
            oldest_ms=oldest.seq // 1000 if oldest is not None else 0,
            dead=len(notes.dead),
        )

    def noted(handler: Callable[[Asked, Notes], object]) -> Callable[[Asked], object]:
        def answer(asked: Asked) -> object:
            notes = notes_of(insight)
            if notes is None:
                return NoAnswer(503, "it notes no events, or has just come")
            return handler(asked, notes)

        return answer

    return {
        AskEvents: noted(events),
        OrderEvents: noted(order),
        OrderDead: noted(order_dead),
        CountEvents: noted(count),
    }


def _take(notes: Notes, orders: list[Order]) -> Taken | NoAnswer:
    if not notes.take(orders):
        return NoAnswer(503, "too many events are ordered about already")
    return Taken(len(orders))
