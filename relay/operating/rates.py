"""What happens a second, and how long it takes: the difference of two answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from relay.operating.tables import plain, table, who
from relay.words import age, size

# What a line at the top is the sum of, by role.
_SUMS: Final = (
    ("messages", "front", ("direct_messages", "group_messages")),
    ("deliveries", "front", ("direct_deliveries", "group_deliveries")),
    ("acks", "front", ("acks",)),
    ("receipts", "front", ("receipts",)),
    ("logins", "front", ("logins",)),
)
# Of what is amiss in a cluster, so many lines.
_MOST_AMISS: Final = 5
_FIRST: Final = {"front": 0, "worker": 1}


class ProcessRates(msgspec.Struct, frozen=True, kw_only=True):
    """One process between two answers; None where it did not tell."""

    name: str
    role: str
    cpu: float  # of one core, 1.0 is all of it
    memory_bytes: int
    uptime_s: float
    restarts: int
    state: str  # "stopped", "silent", of a cluster "standby", or empty
    sessions: int | None = None
    per_s: float | None = None  # messages of a front, decisions of a worker
    p50_ms: float | None = None  # send to ack 1 of a front, a commit of a worker
    p99_ms: float | None = None
    batch: float | None = None  # decisions, of a worker
    link: float | None = None  # how full, of a front


class RelayRates(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; latencies are within a bucket of the distribution, so about.

    Over 15 fields, since whoever looks at a relay looks at all of them.
    """

    version: str
    uptime_s: float
    over_s: float
    sessions: int
    queue_entries: int
    queue_bytes: int
    oldest_s: float
    per_s: dict[str, float]
    refused: float
    p50_ms: float | None
    p99_ms: float | None
    processes: list[ProcessRates]
    senders: list[dict[str, Any]]
    not_asked: list[dict[str, Any]]
    host: str = ""  # of a cluster: all but senders is of it
    cluster: dict[str, Any] | None = None  # as /api/v1/cluster has it


def rates(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    senders: Sequence[dict[str, Any]] = (),
    cluster: dict[str, Any] | None = None,
) -> RelayRates:
    """Return what has happened between two answers of /api/v1/figures, and who sends most.

    `cluster` is how the hosts are, where there are several.
    """
    over_s = max(0.001, now["at_s"] - before["at_s"])
    earlier = {each["pid"]: each for each in before["processes"]}
    processes: list[ProcessRates] = []
    per_s = dict.fromkeys((name for name, _, _ in _SUMS), 0.0)
    refused = 0.0
    grown_acks: list[tuple[Sequence[float], list[float]]] = []
    for each in now["processes"]:
        was = earlier.get(each["pid"], {})
        if not was:
            was = {**each, "cpu_s": each["cpu_s"]}  # it has come between the two
        for name, role, counters in _SUMS:
            if each["role"] == role:
                per_s[name] += _grown(was, each, counters) / over_s
        names = {n for n in each["counters"] if "refused" in n or n == "sends_over_quota"}
        refused += _grown(was, each, names) / over_s
        if each["role"] == "front":
            grown_acks += _grown_counts(was, each, "send_ack_s")
        processes.append(_process(was, each, over_s))
    gauges = [each["gauges"] for each in now["processes"] if each["role"] == "worker"]
    fronts = [each["gauges"] for each in now["processes"] if each["role"] == "front"]
    return RelayRates(
        version=now["version"],
        uptime_s=max((each["uptime_s"] for each in now["processes"]), default=0.0),
        over_s=over_s,
        sessions=int(sum(each.get("sessions", 0) for each in fronts)),
        queue_entries=int(sum(each.get("queue_entries", 0) for each in gauges)),
        queue_bytes=int(sum(each.get("queue_bytes", 0) for each in gauges)),
        oldest_s=max((each.get("oldest_entry_s", 0) for each in gauges), default=0),
        per_s=per_s,
        refused=refused,
        p50_ms=_quantile_ms(grown_acks, 0.5),
        p99_ms=_quantile_ms(grown_acks, 0.99),
        # The slowest of a role first: that is what one looks for.
        processes=sorted(
            processes, key=lambda p: (_FIRST.get(p.role, 2), -(p.p99_ms or 0), -p.cpu, p.name)
        ),
        senders=list(senders),
        not_asked=list(now["not_asked"]),
        host=now.get("host", ""),
        cluster=cluster,
    )


def _process(was: Mapping[str, Any], now: Mapping[str, Any], over_s: float) -> ProcessRates:
    role, gauges = now["role"], now["gauges"]
    is_child = role in _FIRST
    latencies = "send_ack_s" if role == "front" else "commit_s"
    grown = _grown_counts(was, now, latencies)
    per_s = batch = link = None
    if gauges and role == "front":
        per_s = _grown(was, now, ("direct_messages", "group_messages")) / over_s
        link = gauges["link_bytes_unconfirmed"] / max(1.0, gauges["link_bytes_most"])
    elif gauges:
        work, batches = _grown_sum(was, now, "batch_work")
        per_s = work / over_s
        batch = work / batches if batches else None
    state = "silent" if is_child and not gauges else ""
    if now.get("standby"):
        state = "standby"
    if now["state"] == "T":
        state = "stopped"
    return ProcessRates(
        name=f"{role} {now['index']}" if is_child else role,
        role=role,
        cpu=max(0.0, (now["cpu_s"] - was["cpu_s"]) / over_s),
        memory_bytes=now["memory_bytes"],
        uptime_s=now["uptime_s"],
        restarts=now["restarts"],
        state=state,
        sessions=int(gauges["sessions"]) if gauges else None,
        per_s=per_s,
        p50_ms=_quantile_ms(grown, 0.5),
        p99_ms=_quantile_ms(grown, 0.99),
        batch=batch,
        link=link,
    )


def _grown(was: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> int:
    if not was["counters"] or not now["counters"]:
        return 0  # it did not tell one of the times
    return sum(now["counters"].get(n, 0) - was["counters"].get(n, 0) for n in names)


def _grown_counts(
    was: Mapping[str, Any], now: Mapping[str, Any], name: str
) -> list[tuple[Sequence[float], list[float]]]:
    before, after = was["distributions"].get(name), now["distributions"].get(name)
    if before is None or after is None:
        return []
    counts = [b - a for a, b in zip(before["counts"], after["counts"], strict=True)]
    return [(after["bounds"], counts)]


def _grown_sum(was: Mapping[str, Any], now: Mapping[str, Any], name: str) -> tuple[float, int]:
    before, after = was["distributions"].get(name), now["distributions"].get(name)
    if before is None or after is None:
        return 0.0, 0
    return after["sum"] - before["sum"], sum(after["counts"]) - sum(before["counts"])


def _quantile_ms(
    grown: Sequence[tuple[Sequence[float], list[float]]], share: float
) -> float | None:
    """Return below which time that share lies, in ms, as if each bucket were evenly filled."""
    if not grown:
        return None
    bounds = grown[0][0]
    counts = [sum(column) for column in zip(*(each for _, each in grown), strict=True)]
    rank = share * sum(counts)
    if not rank:
        return None
    low: float = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and rank <= count:
            return float(low + (bound - low) * rank / count) * 1000
        rank -= count
        low = bound
    return low * 1000  # above the last bound, nobody knows how far


def lines(found: RelayRates, width: int) -> list[str]:
    """Return what a terminal of that many columns shows; what does not fit is left out."""
    on_host = f" on host {found.host}" if found.host else ""
    words = [
        f"relay {found.version}{on_host}, up {age(found.uptime_s)}",
        f"{found.sessions:,} sessions",
        f"{found.queue_entries:,} entries wait, {size(found.queue_bytes)}",
    ]
    if found.oldest_s:
        words.append(f"the oldest for {age(found.oldest_s)}")
    told = _wrapped(words, width, ", ")
    told += _wrapped([f"{n} {v:,.0f}/s" for n, v in found.per_s.items()], width, "  ")
    told += _wrapped(
        [
            f"send to ack 1: p50 {_ms(found.p50_ms)}, p99 {_ms(found.p99_ms)} ms",
            f"refused {found.refused:,.0f}/s",
        ],
        width,
        "  ",
    )
    if found.cluster is not None:
        told += _wrapped(_words_of(found.cluster), width, "  ")
    head = (
        *("process", "cpu", "per s", "p50 ms", "p99 ms", "sessions"),
        *("memory", "batch", "link", "up", "restarts"),
    )
    rows = [_row(each) for each in found.processes]
    columns = len(head)
    text = table(head, rows).splitlines()
    while max(map(len, text)) > width and columns > 2:
        columns -= 1
        text = table(head[:columns], [row[:columns] for row in rows]).splitlines()
    told += ["", *text]
    if found.senders:
        names = [f"{plain(each['jid'])} {each['per_s']:.0f}/s" for each in found.senders]
        told += ["", *_wrapped(["most is sent by", *names], width, "  ")]
    told += [f"not asked: {who(each)}: {plain(each['reason'])}" for each in found.not_asked]
    if found.cluster is not None:
        told += [f"amiss: {plain(each)}" for each in found.cluster["amiss"][:_MOST_AMISS]]
        if len(found.cluster["amiss"]) > _MOST_AMISS:
            told.append("amiss: and more; see `relay cluster status`")
    return [line[:width] for line in told]


def _words_of(cluster: Mapping[str, Any]) -> list[str]:
    """Return how the hosts are, a few words each, and how far standbys are."""
    hosts = []
    for each in cluster["hosts"]:
        state = each["state"] or f"owns {each['owns']}"
        hosts.append(f"{each['name']} {state if each['life'] == 'living' else each['life']}")
    lacks = [each["lacks"] for range_ in cluster["ranges"] for each in range_["standbys"]]
    return ["hosts:", *hosts, f"standbys lack up to {max(lacks, default=0):,} records"]


def _row(each: ProcessRates) -> tuple[object, ...]:
    return (
        f"{each.name} {each.state}".strip(),
        f"{each.cpu:.0%}",
        None if each.per_s is None else f"{each.per_s:.0f}",
        _ms(each.p50_ms),
        _ms(each.p99_ms),
        each.sessions,
        size(each.memory_bytes),
        each.batch,
        each.link,
        age(each.uptime_s),
        each.restarts,
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _wrapped(words: Sequence[str], width: int, between: str) -> list[str]:
    found = [""]
    for word in words:
        longer = f"{found[-1]}{between}{word}" if found[-1] else word
        if found[-1] and len(longer) > width:
            found.append(word)
        else:
            found[-1] = longer
    return found
