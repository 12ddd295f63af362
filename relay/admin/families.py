"""How the figures of processes are called in the metrics: a table, and the rule for the rest.

A label says which process it was, of which few kinds something is, or which code it had: no label
grows with users. A process counts from its own start, which Prometheus knows as a reset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric

from relay import __version__
from relay.admin.asker import Seat
from relay.admin.processes import Usage
from relay.inquiries.figures import Distribution, Figures


class Counted(NamedTuple):
    """The family of a counter, and a label that tells it from others of the same family."""

    family: str
    label: str = ""
    value: str = ""


class Own(NamedTuple):
    """What the admin itself has to tell."""

    counters: Mapping[str, int]
    expiries: Mapping[str, float]  # of its certificate, as in `Figures`
    keys_fetched_s: float | None  # when keys of tokens were; 0.0: never; None: none are published


_WHO: Final = ("role", "index")
_ADMIN: Final = Seat("admin", 0)

# By the family's name: what it counts.
COUNTERS: Final[Mapping[str, str]] = {
    "relay_messages_received": "Messages that clients have sent, by kind of chat.",
    "relay_acks_sent": "Messages that were stored, for which their author gets ack 1.",
    "relay_deliveries": "Messages that were handed to sessions, by kind of chat.",
    "relay_receipts": "Receipts that were handed to sessions.",
    "relay_logins": "Logins that have succeeded, repeated ones too.",
    "relay_logouts": "Sessions that have ended.",
    "relay_logins_refused": "Logins that have failed, by code.",
    "relay_frames_refused": "Frames that were refused whole, by code.",
    "relay_sends_refused": "Messages that were not stored, by code.",
    "relay_requests_refused": "Requests that an extension has refused, by code.",
    "relay_connections_closed": "Connections that a front has closed, by close code.",
    "relay_client_bytes": "Bytes of frames from and to clients, without TLS, by direction.",
    "relay_link_bytes": "Bytes on the links between fronts and workers, by direction.",
    "relay_batches_repeated": "Batches that came again on a link.",
    "relay_batches_stale": "Batches for a worker that is no more.",
    "relay_admin_requests": "Requests that the admin has answered, by status.",
    "relay_webhook_requests": "Requests to the endpoint for events, by status; 0: no answer.",
    "relay_webhook_events_posted": "Events that the endpoint has taken.",
    "relay_events": "What is refused, dropped or cut besides, by the name of its counter.",
}

_COUNTED: Final[Mapping[str, Counted]] = {
    "direct_messages": Counted("relay_messages_received", "kind", "direct"),
    "group_messages": Counted("relay_messages_received", "kind", "group"),
    "acks": Counted("relay_acks_sent"),
    "direct_deliveries": Counted("relay_deliveries", "kind", "direct"),
    "group_deliveries": Counted("relay_deliveries", "kind", "group"),
    "receipts": Counted("relay_receipts"),
    "logins": Counted("relay_logins"),
    "logouts": Counted("relay_logouts"),
    "client_bytes_sent": Counted("relay_client_bytes", "direction", "sent"),
    "client_bytes_received": Counted("relay_client_bytes", "direction", "received"),
    "link_bytes_sent": Counted("relay_link_bytes", "direction", "sent"),
    "link_bytes_received": Counted("relay_link_bytes", "direction", "received"),
    "repeated_batches_dropped": Counted("relay_batches_repeated"),
    "stale_batches_refused": Counted("relay_batches_stale"),
    "events_posted": Counted("relay_webhook_events_posted"),
}
# Counters whose name ends with a code.
_CODED: Final[Mapping[str, Counted]] = {
    "logins_refused_": Counted("relay_logins_refused", "code"),
    "frames_refused_": Counted("relay_frames_refused", "code"),
    "sends_refused_": Counted("relay_sends_refused", "code"),
    "asks_refused_": Counted("relay_requests_refused", "code"),
    "connections_closed_": Counted("relay_connections_closed", "code"),
    "requests_": Counted("relay_admin_requests", "status"),
    "webhook_requests_": Counted("relay_webhook_requests", "status"),
}
_LABELS: Final[Mapping[str, str]] = {
    "relay_events": "event",
    **{each.family: each.label for each in (*_COUNTED.values(), *_CODED.values()) if each.label},
}

GAUGES: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("front", "connections"): ("relay_connections", "Connections whose handshake is done."),
    ("front", "sessions"): ("relay_sessions", "Sessions that are logged in."),
    ("front", "is_ready"): ("relay_front_ready", "1 while /readyz sends clients to the front."),
    ("worker", "queue_entries"): (
        "relay_queue_entries",
        "Messages and receipts that wait until their user's client has acked them.",
    ),
    ("worker", "queue_bytes"): (
        "relay_queue_bytes",
        "Bytes of the store's pages that hold them, and of those that are in its journal yet.",
    ),
    ("worker", "store_bytes"): ("relay_store_bytes", "Bytes of all pages in use in the store."),
    ("worker", "room_bytes"): (
        "relay_store_room_bytes",
        "Bytes that may be stored until sends are refused; below 0 where they are.",
    ),
    ("worker", "refuses_sends"): (
        "relay_store_refuses_sends",
        "1 while sends are refused for want of room or after a failed write.",
    ),
    ("worker", "oldest_entry_s"): (
        "relay_oldest_unacked_age_seconds",
        "Age of what has waited longest, as the last round of sweeps has found it.",
    ),
    ("worker", "webhook_events"): (
        "relay_webhook_events",
        "Events that wait until an endpoint of the operator's has taken them.",
    ),
    ("worker", "webhook_oldest_s"): (
        "relay_webhook_oldest_event_age_seconds",
        "Age of the event that has waited longest.",
    ),
    ("worker", "webhook_dead_letters"): (
        "relay_webhook_dead_letters",
        "Events that are not posted any more, and are kept for an operator.",
    ),
    ("front", "link_bytes_unconfirmed"): (
        "relay_link_unconfirmed_bytes",
        "Bytes on links that were not confirmed.",
    ),
    ("worker", "link_bytes_unconfirmed"): (
        "relay_link_unconfirmed_bytes",
        "Bytes on links that were not confirmed.",
    ),
}

DISTRIBUTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "send_ack_s": (
        "relay_send_ack_seconds",
        "From when messages leave a front until it knows that they are stored, and writes ack 1:"
        " a sample, of one batch at a time on each link.",
    ),
    "login_s": (
        "relay_login_seconds",
        "From when a login came, its check included, until its worker serves it.",
    ),
    "batch_work": (
        "relay_batch_decisions",
        "Decisions that a batch of a worker asked for: a sample, as all of batches.",
    ),
    "deciding_s": ("relay_batch_deciding_seconds", "Deciding on a batch."),
    "commit_s": ("relay_batch_commit_seconds", "Writing and syncing a batch's record."),
    "sync_s": (
        "relay_batch_sync_seconds",
        "Making it durable alone: what the disk takes, or in a cluster a majority of disks.",
    ),
    "fold_s": ("relay_fold_seconds", "Folding a stretch of the journal into the pages."),
}


def counted(name: str) -> Counted:
    """Return what a process' counter is in the metrics."""
    found = _COUNTED.get(name)
    if found is not None:
        return found
    for prefix, family in _CODED.items():
        if name.startswith(prefix):
            return family._replace(value=name.removeprefix(prefix))
    return Counted("relay_events", "event", name)


def families(
    told: Mapping[Seat, Figures],
    running: Iterable[Usage],
    restarts: Mapping[Seat, int],
    own: Own,
) -> Iterator[Metric]:
    """Yield all that there is to say."""
    yield InfoMetricFamily("relay_build", "The version of the admin.", {"version": __version__})
    up = GaugeMetricFamily(
        "relay_process_up", "1 for a process that has answered, 0 for one that has not.", None, _WHO
    )
    again = CounterMetricFamily(
        "relay_process_restarts", "Successors of a process that the admin has seen.", None, _WHO
    )
    for seat, count in restarts.items():
        up.add_metric(_who(seat), float(seat in told))
        again.add_metric(_who(seat), max(0, count))
    yield up
    yield again
    yield from _counters({**told, _ADMIN: own.counters})
    yield from _gauges(told)
    yield from _dates(told, own)
    yield from _histograms(told)
    yield from _usages(running)


def _who(seat: Seat) -> list[str]:
    return [seat.role, str(seat.index)]


def _counters(counts: Mapping[Seat, Figures | Mapping[str, int]]) -> Iterator[Metric]:
    found: dict[str, Any] = {}
    for name, text in COUNTERS.items():
        labels = (*_WHO, _LABELS[name]) if name in _LABELS else _WHO
        found[name] = CounterMetricFamily(name, text, None, labels)
    for seat, figures in counts.items():
        counters = figures.counters if isinstance(figures, Figures) else figures
        for counter, count in counters.items():
            family, label, value = counted(counter)
            found[family].add_metric([*_who(seat), *([value] if label else ())], count)
    yield from found.values()


def _gauges(told: Mapping[Seat, Figures]) -> Iterator[Metric]:
    found: dict[str, Any] = {}
    for name, text in GAUGES.values():
        found[name] = GaugeMetricFamily(name, text, None, _WHO)
    for seat, figures in told.items():
        for gauge, value in figures.gauges.items():
            row = GAUGES.get((seat.role, gauge))
            if row is not None:
                found[row[0]].add_metric(_who(seat), value)
    yield from found.values()


def _dates(told: Mapping[Seat, Figures], own: Own) -> Iterator[Metric]:
    certificates = GaugeMetricFamily(
        "relay_tls_certificate_expiry_timestamp_seconds",
        "Until when a certificate is good that a process shows, by its file.",
        None,
        (*_WHO, "file"),
    )
    shown = {**{seat: each.expiries for seat, each in told.items()}, _ADMIN: own.expiries}
    for seat, expiries in shown.items():
        for file, until_s in expiries.items():
            certificates.add_metric([*_who(seat), file], until_s)
    yield certificates
    keys = GaugeMetricFamily(
        "relay_token_keys_fetched_timestamp_seconds",
        "When the keys of tokens were last fetched, where they are published; 0: never.",
    )
    if own.keys_fetched_s is not None:
        keys.add_metric((), own.keys_fetched_s)
    yield keys


def _histograms(told: Mapping[Seat, Figures]) -> Iterator[Metric]:
    found: dict[str, Any] = {}
    for name, text in DISTRIBUTIONS.values():
        found[name] = HistogramMetricFamily(name, text, None, labels=_WHO)
    for seat, figures in told.items():
        for which, distribution in figures.distributions.items():
            row = DISTRIBUTIONS.get(which)
            if row is not None:
                buckets = _buckets(distribution)
                found[row[0]].add_metric(_who(seat), buckets, distribution.sum)
    yield from found.values()


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    buckets, total = [], 0
    bounds = [*(str(float(bound)) for bound in distribution.bounds), "+Inf"]
    for bound, count in zip(bounds, distribution.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _usages(running: Iterable[Usage]) -> Iterator[Metric]:
    cpu = CounterMetricFamily(
        "relay_process_cpu_seconds", "Processor time, in user and kernel.", None, _WHO
    )
    memory = GaugeMetricFamily(
        "relay_process_resident_memory_bytes", "Resident memory, shared pages too.", None, _WHO
    )
    files = GaugeMetricFamily("relay_process_open_fds", "Open descriptors.", None, _WHO)
    uptime = GaugeMetricFamily("relay_process_uptime_seconds", "Since its start.", None, _WHO)
    seen = set()
    for each in sorted(running, key=lambda usage: -usage.incarnation):
        who = (each.role, str(each.index))
        if who not in seen:  # of two in a rolling restart, the newer
            seen.add(who)
            cpu.add_metric(who, each.cpu_s)
            memory.add_metric(who, each.memory_bytes)
            files.add_metric(who, each.descriptors)
            uptime.add_metric(who, each.age_s)
    yield from (cpu, memory, files, uptime)
