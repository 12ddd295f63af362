"""What an operator asks of a cluster: what is granted, what is refused, and how it is."""

from __future__ import annotations

from typing import Final

import pytest

from relay.cluster.beats import Beat, EngineFacts, Owned
from relay.cluster.ownership import decide
from relay.cluster.placement import Plan
from relay.cluster.requests import (
    Answer,
    Done,
    DrainAsked,
    MoveAsked,
    Placing,
    Refused,
    Request,
    RequestUnreadable,
    Room,
    RoomAsked,
    StatusAsked,
    decode_answer,
    decode_request,
    encode,
    room_of,
    settled,
    status_of,
)
from relay.cluster.view import View
from relay.cluster.vouching import Vouch

PLAN: Final = Plan(hosts=("a", "b", "c"), ranges=2, standbys=1)


@pytest.mark.parametrize(
    "request_",
    [
        StatusAsked(),
        RoomAsked(),
        DrainAsked("a"),
        DrainAsked("a", drained=False),
        MoveAsked(1, "b"),
    ],
)
def test_a_request_is_read_as_it_was_meant(request_: Request) -> None:
    assert decode_request(encode(request_)) == request_


@pytest.mark.parametrize("answer", [Done("so it is"), Refused("no"), Room(("a", "b"))])
def test_an_answer_is_read_as_it_was_meant(answer: Answer) -> None:
    assert decode_answer(encode(answer)) == answer


# Arrays in each other, in a field that nobody knows.
DEEP = b'{"type":"status","news":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("data", [b"", b"{}", b'{"type":"explode"}', b"\xff", b"[1]", DEEP])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(RequestUnreadable):
        decode_request(data)
    with pytest.raises(RequestUnreadable):
        decode_answer(data)


def test_a_drained_host_owns_nothing_until_that_is_undone() -> None:
    drained = settled(DrainAsked("a"), Placing(), PLAN)

    assert drained == Placing(away=("a",))
    assert isinstance(drained, Placing)
    assert drained.over(PLAN).ranked(0)[-1] == "a" or "a" not in drained.over(PLAN).ranked(0)
    assert settled(DrainAsked("a", drained=False), drained, PLAN) == Placing()


def test_a_range_that_is_moved_has_that_owner_until_that_is_undone() -> None:
    moved = settled(MoveAsked(1, "c"), Placing(), PLAN)

    assert isinstance(moved, Placing)
    assert moved.over(PLAN).ranked(1)[0] == "c"
    assert settled(MoveAsked(1, ""), moved, PLAN) == Placing()
    assert settled(MoveAsked(1, ""), Placing(), PLAN) == Placing()


@pytest.mark.parametrize(
    ("asked", "before"),
    [
        (DrainAsked("z"), Placing()),
        (MoveAsked(2, "a"), Placing()),
        (MoveAsked(-1, "a"), Placing()),
        (MoveAsked(0, "z"), Placing()),
        (MoveAsked(0, "a"), Placing(away=("a",))),
        (DrainAsked("c"), Placing(away=("a", "b"))),
    ],
)
def test_what_cannot_be_is_refused(asked: DrainAsked | MoveAsked, before: Placing) -> None:
    assert isinstance(settled(asked, before, PLAN), Refused)


def test_the_status_says_who_lives_and_who_has_what() -> None:
    view = View(PLAN, PLAN.hosts, detect_s=1.5, isolate_s=3.0, now_s=0.0)
    for number in range(1, 9):
        now_s = number / 4
        view.hear(
            Beat(
                host="a",
                boot=1,
                number=number,
                owned={0: Owned(5, "tcp://10.0.0.1:9100")},
                standing={1: 12},
                fronts=("front-a-0-1",),
                version="1.0",
            ),
            now_s,
        )
        view.hear(
            Beat(
                host="b",
                boot=1,
                number=number,
                owned={1: Owned(7, "tcp://10.0.0.2:9100")},
                engine=EngineFacts(leads=(0,), last={0: 30}),
                draining=True,
            ),
            now_s,
        )
        decisions = decide(view, "a", now_s)

    status = status_of(view, decisions, "a", PLAN.hosts, 2.0)

    assert status.has_majority
    assert not status.isolated
    assert {name: host.life for name, host in status.hosts.items()} == {
        "a": "living",
        "b": "living",
        "c": "silent",
    }
    assert (status.hosts["a"].version, status.hosts["a"].fronts) == ("1.0", 1)
    assert status.hosts["b"].stops
    assert [(each.owner, each.epoch) for each in status.ranges] == [("a", 5), ("b", 7)]
    assert status.ranges[0].leader == "b"
    assert [each.last for each in status.ranges] == [30, 12]
    assert dict(status.ranges[1].standing) == {"a": 12}


def test_full_disks_are_told_of_hosts_that_live() -> None:
    full = EngineFacts(lacks_room=True)
    view = View(PLAN, PLAN.hosts, detect_s=1.5, isolate_s=3.0, now_s=0.0)
    view.hear(Beat(host="c", boot=1, number=1, engine=full), 0.0)
    for number in range(1, 9):
        view.hear(Beat(host="a", boot=1, number=number), number / 4)
        view.hear(Beat(host="b", boot=1, number=number, engine=full), number / 4)
        decisions = decide(view, "a", number / 4)

    assert room_of(view, "a", 2.0) == Room(("b",))
    hosts = status_of(view, decisions, "a", PLAN.hosts, 2.0).hosts
    assert [name for name, host in hosts.items() if host.lacks_room] == ["b"]


def test_a_host_without_an_agent_lives_and_owns_what_its_workers_have() -> None:
    view = View(PLAN, PLAN.hosts, detect_s=1.5, isolate_s=3.0, now_s=0.0)
    view.hear(Beat(host="b", boot=1, number=1, owned={1: Owned(7, "tcp://10.0.0.2:9100")}), 0.0)
    for number in range(1, 25):
        view.vouch("b", Vouch(1, 7), number / 4)
        decisions = decide(view, "a", number / 4)

    status = status_of(view, decisions, "a", PLAN.hosts, 6.0)

    assert status.has_majority
    assert status.hosts["b"].life == "agentless"
    assert [(each.owner, each.epoch) for each in status.ranges] == [("", 0), ("b", 7)]


def test_a_range_whose_owner_is_silent_is_nobodys() -> None:
    view = View(PLAN, PLAN.hosts, detect_s=1.5, isolate_s=3.0, now_s=0.0)
    view.hear(Beat(host="b", boot=1, number=1, owned={1: Owned(7, "tcp://10.0.0.2:9100")}), 0.0)
    for number in range(1, 9):
        decisions = decide(view, "a", number / 4)

    status = status_of(view, decisions, "a", PLAN.hosts, 2.0)

    assert [(each.owner, each.epoch) for each in status.ranges] == [("", 0), ("", 7)]
    assert not status.has_majority
