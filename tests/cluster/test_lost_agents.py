"""Three hosts, and the agent of one is killed, stopped, or cannot start: what clients notice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import psutil  # type: ignore[import-untyped]
import pytest

from relay.protocol.slots import ShardMap
from relay.supervision.abroad import UNLED_S
from tests.integration.test_cluster import is_ready
from tests.integration.test_cluster_commands import seen
from tests.outside.client import SheetClient
from tests.outside.cluster import Cluster, Host
from tests.outside.frames import ALICE
from tests.outside.waiting import poll_for
from tests.outside.websocket import ConnectionOver

pytestmark = [pytest.mark.slow, pytest.mark.ordeal]

RANGES = 3
# What an ack may take on a busy machine: what tells is that nothing is taken over.
SOON_S = 15.0


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(ranges=RANGES) as cluster:
        # Whoever was ready first owns all at first.
        poll_for("each to own one", lambda: len(dict(epochs(cluster))) == 3, deadline_s=120)
        yield cluster
        for host in cluster:
            request.node.add_report_section("call", f"log of {host.name}", host.log.text())


def epochs(cluster: Cluster) -> list[tuple[str, int]]:
    """Return who owns each range since when."""
    return [(each["owner"], each["epoch"]) for each in seen(cluster)["status"]["ranges"]]


def user_of(range_: int) -> str:
    shards = ShardMap(RANGES)
    numbers = (f"91900000{number:04}" for number in range(10_000))
    return next(each for each in numbers if shards.owner_of(each) == range_)


def agents(host: Host) -> list[psutil.Process]:
    return [child.process for child in host.children("agent")]


def kill_agent(host: Host) -> None:
    for agent in agents(host):
        with contextlib.suppress(psutil.NoSuchProcess):
            agent.kill()


@contextlib.contextmanager
def no_agent(host: Host) -> Iterator[None]:
    """Kill each agent of a host as soon as it is there."""
    ends = threading.Event()

    def kill_all() -> None:
        while not ends.wait(0.1):
            kill_agent(host)

    thread = threading.Thread(target=kill_all)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def send_to_all(client: SheetClient, name: str) -> float:
    """Send a message to each range; return how long the last ack took."""
    began_s = time.monotonic()
    for range_ in range(RANGES):
        client.send_message(user_of(range_), f"{name}{range_}")
    frames = client.recv_many(RANGES)
    assert {frame[1]["id"] for frame in frames} == {f"{name}{n}" for n in range(RANGES)}
    return time.monotonic() - began_s


def test_an_agent_that_is_killed_again_and_again_costs_nothing(cluster: Cluster) -> None:
    alice, bob = cluster["b"].login(ALICE), cluster["a"].login("910000000009")
    before = epochs(cluster)

    for turn in range(5):
        kill_agent(cluster["b"])
        for part in range(6):
            assert send_to_all(alice, f"A{turn}-{part}-") < SOON_S
            assert send_to_all(bob, f"B{turn}-{part}-") < SOON_S
            time.sleep(0.4)

    assert epochs(cluster) == before


def test_an_agent_that_stands_still_is_started_again_and_costs_nothing(cluster: Cluster) -> None:
    alice, bob = cluster["b"].login(ALICE), cluster["a"].login("910000000009")
    before = epochs(cluster)
    [agent] = agents(cluster["b"])

    agent.suspend()
    turn = 0
    while agents(cluster["b"])[:1] in ([], [agent]):
        turn += 1
        assert send_to_all(alice, f"A{turn}-") < SOON_S
        assert send_to_all(bob, f"B{turn}-") < SOON_S
        assert turn < 200
        time.sleep(0.2)

    cluster["b"].log.expect("agent.hung")
    assert epochs(cluster) == before


def test_a_host_without_an_agent_sends_clients_away_only_when_ranges_have_moved(
    cluster: Cluster,
) -> None:
    # What c owns a stands by for: the standbys of a host without an agent are promoted by nobody.
    alice = cluster["b"].login(ALICE)
    with no_agent(cluster["b"]):
        until_s = time.monotonic() + UNLED_S + 5
        turn = 0
        while time.monotonic() < until_s:
            turn += 1
            assert send_to_all(alice, f"A{turn}-") < SOON_S
            time.sleep(0.5)

        cluster["c"].kill()
        assert alice.recv(deadline_s=30)[0] == "Cmd"
        with pytest.raises(ConnectionOver, match="1012"):
            alice.recv()
        elsewhere = cluster["a"].login(ALICE)
        poll_for("all ranges to be served", lambda: all(owner for owner, _ in epochs(cluster)))
        assert send_to_all(elsewhere, "C") < SOON_S

    poll_for("b to serve again", lambda: is_ready(cluster["b"].url), deadline_s=60)
    again = cluster["b"].login("910000000009")
    assert send_to_all(again, "D") < SOON_S
