"""The accord of a cluster is shared by who knew the last one, and nobody else's is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from relay.cluster import proposals
from relay.cluster.chores import Chores
from relay.cluster.jetstream import (
    ApiError,
    create_stream,
    kv_config,
    kv_put,
    stream_info,
)
from relay.cluster.natswire import Wire
from relay.cluster.shared import read_kept
from relay.disk.accord import Accord, Origin, accord_path, read_accord
from relay.settings.clustering import ClusterSettings
from tests.outside.waiting import poll_for

from .engines import Engines

pytestmark = pytest.mark.slow

WITHIN_S = 10.0
NONE = Origin()


@pytest.fixture
def cluster(engines: Engines, wire: Wire) -> Iterator[ClusterSettings]:
    create_stream(wire, kv_config("t", replicas=3, max_bytes=4 << 20), WITHIN_S)
    login = engines.login
    yield ClusterSettings(
        name="t",
        hosts=("a=127.0.0.1", "b=127.0.0.2", "c=127.0.0.3"),
        host_name="a",
        ranges=1,
        engine=tuple(f"tls://{each.host}:{each.port}" for each in engines.servers),
        ca=login.ca,
        certificate=login.certificate,
        certificate_key=login.key,
        password=login.password,
    )
    wire.request("$JS.API.STREAM.DELETE.KV_t", timeout_s=WITHIN_S)


class Host:
    """The part of an agent that shares, without its thread."""

    def __init__(self, cluster: ClusterSettings, name: str, data: Path) -> None:
        self.data = data / name
        self.data.mkdir()
        self.name = name
        self.chores = Chores(structs.replace(cluster, host_name=name), self.data, min_free_bytes=0)

    def share(self, wire: Wire, before: Origin, **settings: int) -> tuple[Accord, str]:
        """Return the accord that it wanted, and why it was refused."""
        accord = Accord(Origin(before.number + 1, self.name, 1_000), settings)
        self.chores.share(1, before, accord.encoded())
        self.shared = self.chores._proposals.share(wire)
        self.chores._proposals.give_up_late("nobody answers")
        [settled] = self.chores.settled()
        assert settled.number == 1
        return accord, settled.refusal


@pytest.fixture
def host(cluster: ClusterSettings, tmp_path: Path) -> Callable[[str], Host]:
    return lambda name: Host(cluster, name, tmp_path)


def test_an_accord_is_shared_and_the_next_one_by_who_has_it(
    host: Callable[[str], Host], wire: Wire
) -> None:
    a, b = host("a"), host("b")

    first, refusal = a.share(wire, NONE, x=1)
    assert refusal == ""
    assert read_accord(a.data) == first
    assert a.shared == first.origin
    b.chores._read_bucket(wire)
    assert read_accord(b.data) == first
    assert b.chores.take().accord == first.origin

    second, refusal = b.share(wire, first.origin, x=2)
    assert refusal == ""
    assert read_kept(wire, "t", "accord", 5.0).content == second.encoded()


def test_who_did_not_know_the_last_one_is_told_whose_it_is_and_changes_nothing(
    host: Callable[[str], Host], wire: Wire
) -> None:
    a, b = host("a"), host("b")
    first, _ = a.share(wire, NONE, x=1)

    _, refusal = b.share(wire, NONE, x=2)

    assert refusal.startswith("a was faster: the cluster has settings 1, of a since 1970")
    assert read_kept(wire, "t", "accord", 5.0).content == first.encoded()
    assert not accord_path(b.data).exists()


def test_of_two_who_share_at_once_one_is_beaten(
    host: Callable[[str], Host], engines: Engines
) -> None:
    said: dict[str, str] = {}

    def share(each: Host) -> None:
        wire = engines.wire()
        try:
            said[each.name] = each.share(wire, NONE, x=1)[1]
        finally:
            wire.close()

    threads = [threading.Thread(target=share, args=(host(name),)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(said) == ["a", "b", "c"]
    [winner] = [name for name, refusal in said.items() if refusal == ""]
    assert all(f"{winner} was faster" in said[name] for name in "abc" if name != winner)


def test_what_came_through_unanswered_is_shared_when_it_is_tried_again(
    host: Callable[[str], Host], wire: Wire
) -> None:
    a = host("a")
    first, _ = a.share(wire, NONE, x=1)

    assert a.share(wire, NONE, x=1) == (first, "")


def test_a_bucket_that_was_lost_is_begun_anew(host: Callable[[str], Host], wire: Wire) -> None:
    a = host("a")

    assert a.share(wire, Origin(7, "b", 5), x=1)[1] == ""


def test_what_a_majority_does_not_take_is_refused_in_time(
    host: Callable[[str], Host], engines: Engines, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = host("a")
    first, _ = a.share(wire, NONE, x=1)
    monkeypatch.setattr(proposals, "WITHIN_S", 0.5)
    engines.freeze(1)
    engines.freeze(2)
    try:
        accord = Accord(Origin(2, "a", 1_000), {"x": 2})
        a.chores.share(4, first.origin, accord.encoded())
        with pytest.raises((TimeoutError, ApiError)):
            a.chores._proposals.share(wire)
        a.chores._proposals.give_up_late("nobody answers")
    finally:
        engines.thaw(1)
        engines.thaw(2)
        poll_for("all to follow", lambda: is_whole(wire), deadline_s=40)
    [settled] = a.chores.settled()
    assert settled.number == 4
    assert "the cluster does not take it now: nobody answers" in settled.refusal
    assert read_accord(a.data) == first


def is_whole(wire: Wire) -> bool:
    try:
        return stream_info(wire, "KV_t", 2.0).is_whole
    except (ApiError, TimeoutError):
        return False


def test_what_is_in_the_bucket_and_is_no_accord_is_not_taken(
    host: Callable[[str], Host], wire: Wire
) -> None:
    a = host("a")
    for value in (b"nonsense", b"x\x9c\x03\x00\x00\x00\x00\x01"):  # the other one is empty
        kv_put(wire, "t", "accord", value, timeout_s=5.0)
        a.chores._read_bucket(wire)
        assert not accord_path(a.data).exists()
        assert a.share(wire, NONE, x=1)[1] != ""
