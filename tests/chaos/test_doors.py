"""Doors: the first one that works, and back to it when its failure is long ago."""

from __future__ import annotations

from .doors import SHUNNED_S, Doors

URLS = ("ws://10.0.0.1:1/", "ws://10.0.0.2:1/", "ws://10.0.0.3:1/")


def test_a_user_goes_through_its_own_door() -> None:
    assert Doors(URLS).choose(0.0).host == "10.0.0.1"


def test_a_door_that_failed_is_passed_by_for_a_while() -> None:
    doors = Doors(URLS)
    doors.failed(doors.choose(1.0), 1.0)

    assert doors.choose(1.1).host == "10.0.0.2"
    assert doors.choose(0.9 + SHUNNED_S).host == "10.0.0.2"
    assert doors.choose(1.0 + SHUNNED_S).host == "10.0.0.1"


def test_where_all_failed_the_one_is_tried_that_failed_first() -> None:
    doors = Doors(URLS)
    for now_s in (1.0, 2.0, 3.0):
        doors.failed(doors.choose(now_s), now_s)

    assert doors.choose(3.1).host == "10.0.0.1"
    doors.failed(doors.choose(3.2), 3.2)
    assert doors.choose(3.3).host == "10.0.0.2"


def test_one_door_is_tried_again_and_again() -> None:
    doors = Doors(URLS[:1])
    doors.failed(doors.choose(1.0), 1.0)

    assert doors.choose(1.1).host == "10.0.0.1"
