"""What an agent does beside its beats, where the engine has what nobody can read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relay.cluster import chores
from relay.cluster.chores import Chores
from relay.cluster.jetstream import Copies, Replica, StreamInfo
from relay.cluster.requests import Placing
from relay.settings.clustering import ClusterSettings


def test_what_was_settled_and_cannot_be_read_ends_no_agent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    value = b'{"away":["b"]}'
    monkeypatch.setattr(chores, "kv_get", lambda *_: SimpleNamespace(value=value, revision=1))
    wire: Any = None
    settings = ClusterSettings(name="c", hosts=("a=127.0.0.1", "b=127.0.0.2"), host_name="a")
    does = Chores(settings, tmp_path, min_free_bytes=0)
    assert does._read_placing(wire) == ""

    value = b'{"away":1}'

    assert "cannot be read" in does._read_placing(wire)
    assert does.take().placing == Placing(away=("b",))


def chores_of(tmp_path: Path, kept: int) -> Chores:
    settings = ClusterSettings(name="c", hosts=("a=127.0.0.1", "b=127.0.0.2"), host_name="a")
    return Chores(settings, tmp_path, min_free_bytes=kept)


def test_a_disk_is_full_below_what_is_kept_until_it_has_twice_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    does = chores_of(tmp_path, 100)
    free = 100
    monkeypatch.setattr(chores, "free_bytes", lambda _: free)

    for now_free, is_full in ((100, False), (99, True), (150, True), (199, True), (200, False)):
        free = now_free
        does._look_for_room()
        assert does.take().engine.lacks_room == is_full, now_free

    does.min_free_bytes = 300  # a setting that holds at once
    does._look_for_room()
    assert does.take().engine.lacks_room


def test_a_disk_that_cannot_be_asked_is_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    does = chores_of(tmp_path, 100)
    does._data = tmp_path / "gone"

    does._look_for_room()

    assert not does.take().engine.lacks_room


def test_an_engine_on_a_full_disk_gives_up_leading_to_one_that_lacks_nothing(
    tmp_path: Path,
) -> None:
    does = chores_of(tmp_path, 100)
    copies = (Replica("b", current=True), Replica("c"))
    ours = StreamInfo(cluster=Copies("a", copies))
    others = StreamInfo(cluster=Copies("c", (Replica("a", current=True),)))
    alone = StreamInfo(cluster=Copies("a", (Replica("c"),)))

    does._give_up_leading({0: others, 1: alone, 2: ours, 3: ours})
    assert list(does._moves) == [(2, "b")]
    does._moves.clear()
    does._give_up_leading({0: others, 1: alone, 2: ours, 3: ours})
    assert list(does._moves) == [(3, "b")], "the other one is asked for already"


def test_an_engine_on_a_full_disk_gives_nothing_to_one_whose_disk_is_full_too(
    tmp_path: Path,
) -> None:
    does = chores_of(tmp_path, 100)
    copies = (Replica("b", current=True), Replica("c", current=True))
    logs = {range_: StreamInfo(cluster=Copies("a", copies)) for range_ in range(2)}

    does.without_room = ("a", "b")
    for range_ in logs:
        does._give_up_leading(logs)
        assert does._moves.popleft() == (range_, "c")
    does._moved_s.clear()
    does.without_room = ("a", "b", "c")
    does._give_up_leading(logs)
    assert not does._moves, "they would give it to each other again and again"


def test_where_a_range_has_a_worker_no_log_is_asked_for_and_what_was_settled_is_known_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody_answers(*_: Any) -> None:
        raise TimeoutError("there is an election")

    entry = SimpleNamespace(value=b'{"away":["b"]}', revision=1)
    monkeypatch.setattr(chores, "stream_info", nobody_answers)
    monkeypatch.setattr(chores, "kv_get", lambda *_: entry)
    wire: Any = None
    does = chores_of(tmp_path, 100)
    with pytest.raises(TimeoutError):
        does._make_logs(wire)
    assert not does.take().has_logs

    does.know_logs()
    does._make_logs(wire)

    assert does.take().has_logs
    assert does.take().placing == Placing(away=("b",))
