"""Disks of hosts that fill up while a cluster is at work: it is seen, others go on, all comes back.

Each host has a small disk of its own, which takes root.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from relay.protocol.slots import ShardMap
from tests.hosts.disk import Disk
from tests.hosts.hosts import why_none
from tests.outside.client import SheetClient
from tests.outside.cluster import Cluster
from tests.outside.frames import ALICE, message_id_of, queued_in
from tests.outside.processes import REPOSITORY

# Three hosts begin, elect and catch up, some of it twice, on a busy machine.
pytestmark = [pytest.mark.ordeal, pytest.mark.timeout(300)]

MIB = 1024 * 1024
RANGES = 3  # one of each host
KEPT = 32 * MIB
DISK = 512 * MIB
CONFIG = f"\n[store]\nmin_free_bytes = {KEPT}\n[quota]\nwaiting_bytes = 0\n"
BODY = {"conversation": "x" * 4000}
# An election takes 4 to 9 s, and longer on a busy machine.
ANSWERED_S = 40.0
SOON_S = 90.0


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    if why := why_none():
        pytest.skip(f"no disks here: {why}")


@pytest.fixture
def disks(request: pytest.FixtureRequest) -> Iterator[tuple[Cluster, dict[str, Disk]]]:
    """Three hosts that serve, and their disks."""
    with ExitStack() as stack:
        cluster = Cluster(ranges=RANGES, config=CONFIG)
        stack.callback(cluster.clean_up)
        found = {}
        for host in cluster:
            found[host.name] = stack.enter_context(Disk(host.directory / "own", size=DISK))
            data = found[host.name].path / "data"
            data.mkdir()
            (host.directory / "data").symlink_to(data)
        stack.callback(cluster.clean_up)  # before the disks go
        with cluster:
            yield cluster, found
            for host in cluster:
                request.node.add_report_section("call", f"log of {host.name}", host.log.text())


def readers() -> list[str]:
    """Return a user of each range."""
    shards = ShardMap(RANGES)
    numbers = [f"91900000{number:04}" for number in range(1000)]
    return [next(each for each in numbers if shards.owner_of(each) == r) for r in range(RANGES)]


class Author:
    """One who writes to somebody of each range in turn, one message at a time."""

    def __init__(self, client: SheetClient, name: str = "M") -> None:
        client.login(ALICE)
        self.acked: dict[str, list[str]] = {reader: [] for reader in readers()}
        self.errors: list[dict[str, Any]] = []
        self._client = client
        self._name = name
        self._number = 0

    def write(self, seconds: float) -> None:
        """Write for so long."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            for reader in self.acked:
                self.write_one(reader)

    def write_one(self, reader: str, *, within_s: float = ANSWERED_S) -> bool:
        """Write one message, and wait until it is acked or refused; tell whether it was acked."""
        self._number += 1
        name = f"{self._name}{self._number}"
        self._client.send_message(reader, name, BODY)
        while True:
            answer = self._client.recv(within_s)
            if answer[0] == "error":
                self.errors.append(answer[1])
                return False
            if message_id_of(answer) == name:
                self.acked[reader].append(name)
                return True
            assert answer[1]["ack"] == 2, answer  # of an earlier one, by its reader

    def write_on(self, between: Callable[[], object]) -> None:
        """Write, and do something between rounds, until an answer takes long."""
        until_s = time.monotonic() + SOON_S
        while time.monotonic() < until_s:
            for reader in self.acked:
                self.write_one(reader, within_s=10.0)
            between()

    def write_until_acked(self) -> None:
        """Write until all of a round are."""
        self._write_until(all)

    def write_until_refused(self) -> None:
        """Write until none of a round is acked."""
        self._write_until(lambda acked: not any(acked))

    def _write_until(self, holds: Callable[[list[bool]], bool]) -> None:
        until_s = time.monotonic() + SOON_S
        while not holds([self.write_one(reader) for reader in self.acked]):
            assert time.monotonic() < until_s, self.errors[-1:]
            time.sleep(0.05)


def status(cluster: Cluster) -> tuple[Any, str]:
    """Return what `relay cluster status` says: all of it, and what is amiss."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "relay", "cluster", "status", "--json"),
            *("--config", str(cluster.path)),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    seen = json.loads(done.stdout)
    return seen["status"], "\n".join(seen["amiss"])


def await_status(cluster: Cluster, holds: Callable[[Any, str], bool]) -> None:
    until_s = time.monotonic() + SOON_S
    while True:
        found, amiss = status(cluster)
        if holds(found, amiss):
            return
        assert time.monotonic() < until_s, f"{amiss}\n{found}"
        time.sleep(0.5)


def owners(found: Any) -> list[str]:
    return [each["owner"] for each in found["ranges"]]


def assert_all_is_there(cluster: Cluster, author: Author) -> None:
    """What was acked is in the mailboxes, once and in order."""
    for reader, acked in author.acked.items():
        client = cluster["a"].login(reader)
        came = [message_id_of(frame) for frame in client.queued]
        while not set(acked) <= set(came):
            came += [message_id_of(frame) for frame in queued_in(client.recv())]
        wanted = set(acked)
        assert [each for each in came if each in wanted] == acked


def fill(of: dict[str, Disk], names: str) -> None:
    """Leave no byte on the disks of some hosts."""
    for name in names:
        of[name].fill()


def expect_full_disks(cluster: Cluster) -> None:
    """What a full disk makes errors of is part of the test."""
    for host in cluster:
        for event in (
            *("disk.full", "engine.cannot_write", "engine.said", "store.refuses_sends"),
            *("process.write_failed", "No space left", "no space left"),
        ):
            host.log.expect(event)


def test_others_go_on_while_the_disk_of_one_is_full_and_it_catches_up_behind_it(
    disks: tuple[Cluster, dict[str, Disk]],
) -> None:
    cluster, of = disks
    expect_full_disks(cluster)
    author = Author(cluster["a"].connect())
    author.write(3.0)
    assert not author.errors

    of["c"].fill()
    author.write(10.0)  # its engine finds out, and what c owned is given away
    author.write_until_acked()
    await_status(cluster, lambda _, amiss: "the disk of c is full" in amiss)
    await_status(cluster, lambda found, _: "c" not in owners(found))
    refused = len(author.errors)
    author.write(5.0)
    assert len(author.errors) == refused, author.errors[-1]
    assert {each["code"] for each in author.errors} <= {500}
    assert cluster["c"].log.events("engine.cannot_write")

    of["c"].empty()
    await_status(cluster, lambda found, amiss: not amiss and "c" in owners(found))
    author.write(2.0)
    assert len(author.errors) == refused, author.errors[-1]
    assert cluster["c"].log.events("engine.renewed")
    reasons = [each["reason"] for each in cluster["c"].log.events("store.refuses_sends")]
    assert all(each.startswith("the disk is full") for each in reasons), "it seeks room by itself"
    cluster["b"].kill()  # c has all of it
    author.write_until_acked()
    assert_all_is_there(cluster, author)
    for host in cluster:
        host.log.assert_clean()


def test_when_two_are_nearly_full_sends_are_refused_and_acks_are_taken(
    disks: tuple[Cluster, dict[str, Disk]],
) -> None:
    cluster, of = disks
    expect_full_disks(cluster)
    author = Author(cluster["a"].connect())
    author.write(2.0)
    reader, written = next(iter(author.acked.items()))

    for name in "bc":
        of[name].fill(leave=KEPT - MIB)
    author.write_until_refused()
    assert {each["code"] for each in author.errors} == {500}
    bob = cluster["a"].login(reader)
    bob.ack(bob.queued[0])
    bob.confirm()
    bob.drop()
    bob = cluster["a"].login(reader)
    assert message_id_of(bob.queued[0]) == written[1], "the ack was taken"

    for name in "bc":
        of[name].empty()
    author.write_until_acked()
    await_status(cluster, lambda _, amiss: not amiss)
    assert not any(host.log.events("engine.cannot_write") for host in cluster)
    for host in cluster:
        host.log.assert_clean()


def test_two_full_disks_stop_acks_and_lose_none(
    disks: tuple[Cluster, dict[str, Disk]],
) -> None:
    cluster, of = disks
    expect_full_disks(cluster)
    author = Author(cluster["a"].connect())
    author.write(3.0)

    # At once: who would refuse hears of it too late.
    fill(of, "bc")
    with pytest.raises(AssertionError, match="waited in vain"):
        author.write_on(lambda: fill(of, "bc"))
    assert {each["code"] for each in author.errors} <= {500}

    for name in "bc":
        of[name].empty()
    await_status(cluster, lambda _, amiss: not amiss)
    Author(cluster["a"].connect(), "N").write_until_acked()
    assert_all_is_there(cluster, author)
    for host in cluster:
        host.log.assert_clean()
