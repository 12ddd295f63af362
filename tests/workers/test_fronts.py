"""Which fronts are dead, and what the shard has yet to hear of those that live."""

from __future__ import annotations

import pytest

from workers.fronts import FrontLink, Fronts

OLD, NEW, OTHER = b"front-0-4", b"front-0-9", b"front-1-5"
MAX_LINK_BYTES = 100


@pytest.fixture
def fronts() -> Fronts:
    """Two are listed."""
    fronts = Fronts(max_link_bytes=MAX_LINK_BYTES)
    list_(fronts, OLD, OTHER)
    return fronts


def list_(fronts: Fronts, *listed: bytes) -> None:
    fronts.follow([front.decode() for front in listed])


def link(fronts: Fronts, front: bytes) -> FrontLink:
    found = fronts.link_of(front)
    assert found is not None
    return found


def test_a_front_keeps_its_link(fronts: Fronts) -> None:
    assert link(fronts, OLD) is link(fronts, OLD)
    assert link(fronts, OLD) is not link(fronts, OTHER)


def test_a_front_that_is_not_listed_yet_is_new(fronts: Fronts) -> None:
    assert fronts.link_of(NEW) is not None


def test_a_front_that_is_no_longer_listed_is_dead_and_lost(fronts: Fronts) -> None:
    link(fronts, OLD)

    list_(fronts, OTHER)

    assert fronts.lost == {OLD}
    assert fronts.link_of(OLD) is None
    assert OLD not in fronts.links


def test_a_front_that_never_said_a_word_leaves_nothing_to_end(fronts: Fronts) -> None:
    list_(fronts, OTHER)

    assert fronts.lost == set()
    assert fronts.link_of(OLD) is None


def test_one_place_may_have_two_fronts_that_live(fronts: Fronts) -> None:
    """During a rolling restart; and its end is no end of the one that it was to renew."""
    list_(fronts, OLD, NEW, OTHER)
    assert fronts.link_of(OLD) is not None
    assert fronts.link_of(NEW) is not None

    list_(fronts, OLD, OTHER)

    assert fronts.lost == {NEW}
    assert fronts.link_of(OLD) is not None
    assert fronts.link_of(NEW) is None


def test_a_listed_front_that_cannot_be_reached_is_dead_until_it_is_listed_anew(
    fronts: Fronts,
) -> None:
    link(fronts, OLD)

    fronts.cannot_be_reached(OLD)

    assert fronts.lost == {OLD}
    assert fronts.link_of(OLD) is None
    list_(fronts, OTHER)
    list_(fronts, OLD, OTHER)
    assert fronts.link_of(OLD) is not None


def test_a_front_is_roomy_when_it_was_full_and_is_no_more(fronts: Fronts) -> None:
    outgoing = link(fronts, OLD).outgoing
    outgoing.sent(60)
    fronts.confirmed(OLD, 0)
    assert fronts.roomy == set()

    outgoing.sent(60)
    assert outgoing.is_full
    fronts.confirmed(OLD, 0)
    assert fronts.roomy == set(), "nothing is confirmed yet"
    fronts.confirmed(OLD, 1)
    assert fronts.roomy == {OLD}


def test_incarnations_of_one_host_say_nothing_of_those_of_another(fronts: Fronts) -> None:
    """Each counts its own, and one that was started often is far ahead."""
    list_(fronts, b"front-a-0-900", b"front-b-0-5")
    assert fronts.link_of(b"front-b-0-7") is not None, "it is new"
    assert fronts.link_of(b"front-b-0-4") is None

    list_(fronts, b"front-a-0-900")

    assert fronts.link_of(b"front-b-0-5") is None
    assert fronts.link_of(b"front-b-0-8") is not None


FIRST, SECOND, THIRD = b"front-a-0-4", b"front-a-0-4.1", b"front-a-0-4.2"


def test_a_front_on_another_connection_has_a_link_anew_and_the_one_before_is_lost(
    fronts: Fronts,
) -> None:
    list_(fronts, FIRST)
    first = link(fronts, FIRST)

    assert link(fronts, SECOND) is not first
    assert fronts.lost == {FIRST}
    assert fronts.link_of(FIRST) is None, "what still comes by it is void"

    link(fronts, THIRD)
    assert fronts.lost == {FIRST, SECOND}
    assert fronts.link_of(SECOND) is None


def test_a_front_that_could_not_be_reached_is_so_again_on_another_connection(
    fronts: Fronts,
) -> None:
    list_(fronts, FIRST)
    link(fronts, FIRST)
    fronts.cannot_be_reached(FIRST)
    assert fronts.link_of(FIRST) is None

    assert link(fronts, SECOND) is not None
    assert fronts.link_of(FIRST) is None


def test_a_front_that_is_no_longer_listed_is_lost_on_whatever_connection(fronts: Fronts) -> None:
    list_(fronts, FIRST)
    link(fronts, SECOND)

    list_(fronts, OTHER)

    assert fronts.lost == {SECOND}
    assert fronts.link_of(SECOND) is None
    assert fronts.link_of(THIRD) is None, "it is dead, on every connection"
    list_(fronts, FIRST, OTHER)
    assert fronts.link_of(THIRD) is not None, "its host was out of sight for a while"


def test_what_is_remembered_of_fronts_goes_with_them(fronts: Fronts) -> None:
    """I6."""
    for number in range(5, 50):
        name = b"front-a-0-%d" % number
        list_(fronts, name)
        link(fronts, name + b".1")
        fronts.cannot_be_reached(name + b".1")
        link(fronts, name + b".2")
    list_(fronts, FIRST)

    assert fronts.links == {}
    assert fronts._current == {}
    assert fronts._unreachable == set()
