"""Logs that begin behind a backup: by number, also while they are empty, and over restarts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from relay.cluster import jetstream
from relay.cluster.chores import require_origin
from relay.cluster.jetstream import (
    StreamConfig,
    StreamDiffers,
    WrongLastSequence,
    append,
    appended,
)
from relay.cluster.natswire import Wire
from relay.errors import RelayError
from tests.outside.waiting import poll_for

from .engines import Engines

pytestmark = [pytest.mark.slow, pytest.mark.ordeal]

WITHIN_S = 10.0
END = 4711
CONFIG = jetstream.log_config("c", 0, replicas=3, max_bytes=4 << 20, begins_behind=END)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engines]:
    """Engines that this test may stop."""
    with Engines(tmp_path) as engines:
        yield engines


def write(wire: Wire, payload: bytes, *, after: int) -> int:
    inbox = wire.new_inbox()
    append(wire, CONFIG.subjects[0], payload, expected=after, reply=inbox)
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        for message in wire.receive(0.2):
            if message.subject == inbox:
                return appended(message)
    raise TimeoutError


def last_of(wire: Wire) -> int:
    return jetstream.stream_info(wire, CONFIG.name, WITHIN_S).state.last_seq


def is_whole(engines: Engines) -> bool:
    try:
        wire = engines.wire()
        try:
            return jetstream.stream_info(wire, CONFIG.name, 2.0).is_whole
        finally:
            wire.close()
    except (RelayError, TimeoutError):
        return False


def begin_empty(engines: Engines, wire: Wire) -> None:
    jetstream.create_stream(wire, CONFIG, WITHIN_S)
    poll_for("all to have it", lambda: is_whole(engines), deadline_s=30)
    assert last_of(wire) == END
    assert jetstream.last_record(wire, CONFIG.name, WITHIN_S) is None
    assert jetstream.get_batch(wire, CONFIG.name, END - 3, 9, 1 << 20, WITHIN_S) == []


def restart(engines: Engines) -> None:
    """Kill all and start them."""
    for index in range(3):
        engines.kill(index)
    for index in range(3):
        engines.start(index)
    poll_for("all to have it", lambda: is_whole(engines), deadline_s=60)


def test_an_empty_log_goes_on_behind_its_backup_also_after_all_engines_were_killed(
    own: Engines,
) -> None:
    with contextlib.closing(own.wire()) as wire:
        begin_empty(own, wire)
    restart(own)

    with contextlib.closing(own.wire()) as wire:
        assert last_of(wire) == END
        for wrong in (0, END - 1, END + 1):
            with pytest.raises(WrongLastSequence):
                write(wire, b"wrong", after=wrong)
        assert write(wire, b"first", after=END) == END + 1
        assert write(wire, b"second", after=END + 1) == END + 2
    restart(own)

    with contextlib.closing(own.wire()) as wire:
        found = jetstream.get_batch(wire, CONFIG.name, END + 1, 9, 1 << 20, WITHIN_S)
        assert [(each.sequence, each.payload) for each in found] == [
            (END + 1, b"first"),
            (END + 2, b"second"),
        ]
        assert write(wire, b"third", after=END + 2) == END + 3


def test_a_log_is_found_again_and_resized_but_never_taken_for_one_that_began_elsewhere(
    wire: Wire,
) -> None:
    jetstream.create_stream(wire, CONFIG, WITHIN_S)
    try:
        poll_for("all to have it", lambda: jetstream.stream_info(wire, CONFIG.name, 5).is_whole)
        assert write(wire, b"first", after=END) == END + 1
        info = jetstream.create_stream(wire, CONFIG, WITHIN_S)
        require_origin(info, CONFIG)
        larger = msgspec.structs.replace(CONFIG, max_bytes=8 << 20)
        with pytest.raises(StreamDiffers):
            jetstream.create_stream(wire, larger, WITHIN_S)

        info = jetstream.update_stream(wire, larger, WITHIN_S)

        require_origin(info, larger)
        assert (info.state.messages, last_of(wire)) == (1, END + 1)
        for other in (0, END, END + 2):
            elsewhere: StreamConfig = msgspec.structs.replace(CONFIG, first_seq=other)
            with pytest.raises(StreamDiffers):
                jetstream.create_stream(wire, elsewhere, WITHIN_S)
            with pytest.raises(StreamDiffers, match=f"began with record {END + 1}"):
                require_origin(info, elsewhere)
    finally:
        wire.request(f"$JS.API.STREAM.DELETE.{CONFIG.name}", timeout_s=WITHIN_S)
