"""A server that cannot write is replaced when there is room, and not before."""

from __future__ import annotations

from relay.cluster.enginerenewal import AFTER_MS, Renewal


def test_one_that_writes_is_left_alone() -> None:
    renewal = Renewal(100)

    assert not renewal.begins(lambda: 1000, 10**9)


def test_one_that_does_not_is_replaced_once_when_there_is_room() -> None:
    renewal = Renewal(100)
    assert renewal.note("no space left", 1000)
    assert not renewal.note("no space left, again", 2000)

    assert not renewal.begins(lambda: 1000, 1000 + AFTER_MS - 1), "others are to lead first"
    assert not renewal.begins(lambda: 99, 1000 + AFTER_MS)
    assert renewal.begins(lambda: 100, 2000 + AFTER_MS)
    assert not renewal.begins(lambda: 100, 3000 + AFTER_MS)
    assert (renewal.has_begun, renewal.reason) == (True, "no space left")
