"""What `relay top` makes of two answers."""

from __future__ import annotations

from typing import Any

import pytest

from relay.operating.rates import lines, rates

BOUNDS = [0.001, 0.01, 0.1]


def front(index: int = 0, *, messages: int, acks: list[int], **more: Any) -> dict[str, Any]:
    return {
        "role": "front",
        "index": index,
        "pid": 100 + index,
        "state": "S",
        "uptime_s": 60.0,
        "cpu_s": 1.0,
        "memory_bytes": 1 << 20,
        "restarts": 0,
        "counters": {"direct_messages": messages, "frames_refused_400": messages // 10},
        "gauges": {"sessions": 5, "link_bytes_unconfirmed": 50, "link_bytes_most": 100},
        "distributions": {"send_ack_s": {"bounds": BOUNDS, "counts": acks, "sum": 0.0}},
        **more,
    }


def worker(*, batches: int, work: float) -> dict[str, Any]:
    counts = {"bounds": BOUNDS, "counts": [batches, 0, 0, 0], "sum": 0.0}
    return {
        **front(messages=0, acks=[0, 0, 0, 0]),
        "role": "worker",
        "pid": 200,
        "counters": {"sends_repeated": 1},
        "gauges": {"sessions": 5, "queue_entries": 7, "queue_bytes": 70, "oldest_entry_s": 3},
        "distributions": {
            "commit_s": counts,
            "batch_work": {"bounds": [1], "counts": [0, batches], "sum": work},
        },
    }


def answer(at_s: float, *processes: dict[str, Any]) -> dict[str, Any]:
    return {"at_s": at_s, "version": "1", "processes": processes, "not_asked": []}


def test_rates_are_what_has_grown_in_the_time() -> None:
    found = rates(
        answer(10, front(messages=100, acks=[0, 0, 0, 0]), worker(batches=0, work=0)),
        answer(12, front(messages=300, acks=[0, 100, 0, 0], cpu_s=2.0), worker(batches=2, work=8)),
    )
    first, second = found.processes

    assert found.per_s["messages"] == 100
    assert found.refused == 10
    assert (found.sessions, found.queue_entries, found.oldest_s) == (5, 7, 3)
    assert (first.cpu, first.link) == (0.5, 0.5)
    assert (second.per_s, second.batch) == (4, 4)


@pytest.mark.parametrize(
    ("acks", "p50_ms", "p99_ms"),
    [
        ([0, 0, 0, 0], None, None),
        ([0, 100, 0, 0], 5.5, 9.91),
        ([100, 0, 0, 0], 0.5, 0.99),
        ([0, 0, 0, 9], 100, 100),  # above the last bound, nobody knows how far
    ],
)
def test_latencies_are_within_a_bucket(
    acks: list[int], p50_ms: float | None, p99_ms: float | None
) -> None:
    was = front(messages=0, acks=[0, 0, 0, 0])
    found = rates(answer(1, was), answer(2, front(messages=0, acks=acks)))

    assert found.p50_ms == (None if p50_ms is None else pytest.approx(p50_ms))
    assert found.p99_ms == (None if p99_ms is None else pytest.approx(p99_ms))


def test_the_slowest_comes_first() -> None:
    before = [front(n, messages=0, acks=[0, 0, 0, 0]) for n in range(2)]
    after = [front(0, messages=0, acks=[9, 0, 0, 0]), front(1, messages=0, acks=[0, 0, 9, 0])]
    found = rates(answer(1, *before), answer(2, *after))

    assert [each.name for each in found.processes] == ["front 1", "front 0"]


def test_one_that_is_stopped_or_has_come_anew_counts_for_nothing() -> None:
    silent = front(1, messages=0, acks=[], counters={}, gauges={}, distributions={}, state="T")
    new = front(2, messages=500, acks=[5, 0, 0, 0])
    old = front(1, messages=9, acks=[1, 0, 0, 0])
    found = rates(answer(1, old), answer(2, silent, new))

    assert found.per_s["messages"] == 0
    assert {each.name: each.state for each in found.processes} == {
        "front 1": "stopped",
        "front 2": "",
    }


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_it_fits_the_terminal(width: int) -> None:
    now = answer(2, front(messages=10**6, acks=[1, 0, 0, 0]), worker(batches=1, work=1))
    found = lines(rates(answer(1, *now["processes"]), now), width)

    assert max(map(len, found)) <= width
    assert any(line.startswith("front 0") for line in found)


def test_who_sends_most_is_named_in_one_line_and_nobody_in_none() -> None:
    before, now = answer(10, front(messages=0, acks=[0] * 4)), answer(11)
    senders = [{"jid": "busy\x1b@s.whatsapp.com", "per_s": 12.4}]

    shown = lines(rates(before, now, senders), 100)

    assert "most is sent by  busy\\x1b@s.whatsapp.com 12/s" in shown
    assert not [line for line in lines(rates(before, now), 100) if "most is sent" in line]


CLUSTER: dict[str, Any] = {
    "hosts": [
        {"name": "a", "life": "living", "state": "", "owns": 3},
        {"name": "b", "life": "living", "state": "drained", "owns": 0},
        {"name": "c", "life": "silent", "state": "", "owns": 0},
    ],
    "ranges": [{"standbys": [{"host": "a", "lacks": 0}]}, {"standbys": []}],
    "amiss": ["host c is silent", *(f"range {n} has 0 of 1 standbys" for n in range(9))],
}


def test_of_several_hosts_it_says_which_one_this_is_and_how_all_are() -> None:
    owner, follower = worker(batches=1, work=1), worker(batches=0, work=0)
    follower |= {"index": 1, "pid": 9, "gauges": {}, "standby": True}
    before, now = answer(10, owner, follower), answer(11, owner, follower)
    now["host"] = "a"

    shown = lines(rates(before, now, (), CLUSTER), 100)

    assert shown[0].startswith("relay 1 on host a, up ")
    assert "hosts:  a owns 3  b drained  c silent  standbys lack up to 0 records" in shown
    assert any(line.startswith("worker 1 standby") for line in shown)
    assert "amiss: host c is silent" in shown
    assert shown[-1] == "amiss: and more; see `relay cluster status`"
    assert not [line for line in lines(rates(before, answer(11)), 100) if "hosts" in line]


def test_who_was_not_asked_is_named_with_the_host() -> None:
    now = answer(11)
    now["not_asked"] = [
        {"role": "front", "index": 1, "reason": "x", "host": "b"},
        {"role": "host", "index": 0, "reason": "y", "host": "c"},
        {"role": "worker", "index": 2, "reason": "z"},
    ]

    assert lines(rates(answer(10), now), 100)[-3:] == [
        "not asked: front 1 of b: x",
        "not asked: host c: y",
        "not asked: worker 2: z",
    ]
