"""The processes that live: heard in order, told in order, and let go of when they end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from relay.process import channel
from relay.process.control import GroupsChanged, KeysWanted, LogLost, PeerGone
from relay.process.memo import read_memo, write_memo
from tests.supervision.course_harness import NO_PID, CourseHarness


def with_two(body: Callable[[CourseHarness], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        harness = CourseHarness()
        harness.add(1)
        harness.add(2)
        try:
            await body(harness)
        finally:
            harness.close()

    asyncio.run(run())


def test_each_message_is_heard_with_who_has_sent_it() -> None:
    async def body(harness: CourseHarness) -> None:
        harness.ends[2].send(KeysWanted())
        await harness.until(lambda: harness.heard)
        harness.ends[1].send(LogLost())
        await harness.until(lambda: len(harness.heard) == 2)

        assert harness.heard == [(2, KeysWanted()), (1, LogLost())]

    with_two(body)


def test_one_that_closes_its_channel_is_heard_once_and_told_no_more() -> None:
    async def body(harness: CourseHarness) -> None:
        assert harness.children.is_connected(1)
        harness.ends[1].close()
        await harness.until(lambda: harness.heard)
        harness.children.read()

        assert harness.heard == [(1, PeerGone())]
        assert not harness.children.is_connected(1)
        assert harness.children.is_connected(2)
        assert not harness.children.are_quiet  # until it is collected

    with_two(body)


def test_what_a_child_does_not_read_at_once_is_sent_when_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "MAX_UNSENT_BYTES", 1 << 20)

    async def body(harness: CourseHarness) -> None:
        sent = 0
        while harness.children.are_quiet:
            assert harness.children.send(1, GroupsChanged(), descriptor=None)
            sent += 1
        told: list[object] = []

        def all_told() -> bool:
            told.extend(harness.told(1))
            return len(told) == sent

        await harness.until(all_told)
        await harness.until(lambda: harness.children.are_quiet)

        assert told == [GroupsChanged()] * sent

    with_two(body)


def test_one_that_reads_nothing_at_all_is_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "MAX_UNSENT_BYTES", 100)

    async def body(harness: CourseHarness) -> None:
        for _ in range(1_000_000):
            if not harness.children.send(1, GroupsChanged(), descriptor=None):
                break
        else:
            pytest.fail("it hears for ever")

        assert harness.children.send(2, GroupsChanged(), descriptor=None)

    with_two(body)


def test_a_descriptor_goes_with_its_message() -> None:
    async def body(harness: CourseHarness) -> None:
        memo = write_memo("groups", b"of them")
        assert harness.children.send(2, GroupsChanged(), descriptor=memo)
        os.close(memo)

        assert harness.told(2) == [GroupsChanged()]
        fd = harness.ends[2].take_descriptor()
        assert read_memo(fd) == b"of them"
        os.close(fd)

    with_two(body)


def test_they_are_known_by_their_pid() -> None:
    async def body(harness: CourseHarness) -> None:
        found = harness.children.with_pid(NO_PID + 2)

        assert found is not None
        assert found.incarnation == 2
        assert harness.children.with_pid(1) is None
        assert harness.children.channels.keys() == harness.children.stacks.keys() == {1, 2}

    with_two(body)
