"""What an operator is told of drains and moves, by what the hosts say."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from relay.cluster.asking import drain, move, words_of
from relay.cluster.caller import Caller
from relay.cluster.health import Overview
from relay.cluster.requests import ClusterStatus, HostStatus, RangeStatus, Request

OF_A, OF_B = RangeStatus(owner="a", epoch=5), RangeStatus(owner="b", epoch=5)
LOST, LOST_OF_A = RangeStatus(lost="a"), RangeStatus(owner="a", epoch=5, lost="b")


class PlayedCaller(Caller):
    """Somebody who asks hosts that say one thing after the other."""

    def __init__(self, *said: tuple[RangeStatus, ...]) -> None:
        self.said = said
        self.settled: list[Request] = []

    def settle(self, request: Request) -> str:
        self.settled.append(request)
        return "it is settled"

    def watch(self, *, within_s: float, every_s: float = 0.5) -> Iterator[ClusterStatus]:
        hosts = {"a": HostStatus("living", drained=True), "b": HostStatus("living")}
        for ranges in self.said:
            yield ClusterStatus("b", True, False, hosts, ranges)


def test_a_drain_ends_when_the_host_owns_nothing() -> None:
    said = list(drain(PlayedCaller((OF_A, OF_B), (OF_B, OF_B)), "a", within_s=1))

    assert said[1] == "a owns 1 ranges yet"
    assert said[-1].endswith("it may stop")


@pytest.mark.parametrize("lost", [LOST, LOST_OF_A])
def test_a_drain_ends_with_an_error_where_a_range_can_go_nowhere(lost: RangeStatus) -> None:
    told: list[str] = []
    lines = drain(PlayedCaller((OF_A, lost), (OF_B, lost)), "a", within_s=1)
    with pytest.raises(click.ClickException, match=r"range 1 cannot move.*A log that lost data"):
        told.extend(lines)

    assert told[-1] == "a owns 1 ranges yet", "what can move does so first"


def test_a_drain_goes_on_where_another_host_keeps_such_a_range() -> None:
    kept = RangeStatus(owner="b", epoch=5, lost="a")

    assert list(drain(PlayedCaller((OF_B, kept)), "a", within_s=1))[-1].endswith("it may stop")


def test_a_drain_that_takes_too_long_says_where_to_look() -> None:
    with pytest.raises(click.ClickException, match="relay cluster status"):
        list(drain(PlayedCaller((OF_A, OF_B)), "a", within_s=1))


def test_a_move_of_a_range_that_can_go_nowhere_is_refused_and_not_remembered() -> None:
    caller = PlayedCaller((OF_A, LOST_OF_A))

    with pytest.raises(click.ClickException, match="range 1 cannot move, and a keeps it"):
        list(move(caller, 1, "b", within_s=1))

    assert caller.settled == []


def test_whose_settings_hold_is_not_known_without_a_majority() -> None:
    def words(*, has_majority: bool) -> str:
        status = ClusterStatus("b", has_majority, False, {"b": HostStatus("living")}, ())
        return words_of(Overview("relay", ("b",), (), status), {})

    assert "each host goes by its own files" in words(has_majority=True)
    assert "its own files" not in words(has_majority=False)
