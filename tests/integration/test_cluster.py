"""Three hosts that are one relay: they serve together, and outlive the loss of one."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from relay.protocol.slots import ShardMap
from tests.outside.cluster import Cluster
from tests.outside.frames import ALICE, BOB, SENT_AT, ack_1, delivery, message_id_of, receipt
from tests.outside.waiting import poll_for
from tests.outside.websocket import ConnectionOver

pytestmark = [pytest.mark.slow, pytest.mark.ordeal]

RANGES = 4
# What the loss of a host may cost who is on another one: mostly the election of a log's leader.
BACK_S = 10.0


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(ranges=RANGES) as cluster:
        yield cluster
        for host in cluster:
            request.node.add_report_section("call", f"log of {host.name}", host.log.text())


def user_of(range_: int, but: str = "") -> str:
    """Return a user whose mailbox is in a range."""
    shards = ShardMap(RANGES)
    numbers = (f"91900000{number:04}" for number in range(10_000))
    return next(each for each in numbers if shards.owner_of(each) == range_ and each != but)


def is_ready(url: str) -> bool:
    """Whether a host says that clients may be sent to it."""
    try:
        with urlopen(f"{url.replace('ws', 'http', 1)}readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except HTTPError:
        return False


def test_clients_on_two_hosts_chat(cluster: Cluster) -> None:
    alice, bob = cluster["a"].login(ALICE), cluster["b"].login(BOB)

    alice.send_message(BOB, "M1")

    alice.expect(ack_1("M1", author=ALICE, to=BOB))
    bob.expect(came := delivery("M1", author=ALICE))
    bob.ack(came)
    alice.expect(receipt("M1", 2, author=ALICE, by=BOB, t=SENT_AT))


def test_the_loss_of_a_host_is_a_pause_and_nothing_acked_is_lost(cluster: Cluster) -> None:
    alice = cluster["a"].login(ALICE)
    readers = [user_of(range_) for range_ in range(RANGES)]
    for range_, reader in enumerate(readers):
        alice.send_message(reader, f"BEFORE{range_}")
        alice.expect(ack_1(f"BEFORE{range_}", author=ALICE, to=reader))

    cluster["c"].kill()

    lost_s = time.monotonic()
    for range_, reader in enumerate(readers):
        alice.send_message(reader, f"AFTER{range_}")
    alice.expect_in_any_order(
        *(ack_1(f"AFTER{range_}", author=ALICE, to=reader) for range_, reader in enumerate(readers))
    )
    assert time.monotonic() - lost_s < BACK_S
    for range_, reader in enumerate(readers):
        waited = cluster["b"].login(reader).queued
        expected = [delivery(f"{name}{range_}", author=ALICE) for name in ("BEFORE", "AFTER")]
        assert waited == expected


def test_a_killed_host_comes_back_and_is_a_standby_at_first(cluster: Cluster) -> None:
    alice = cluster["a"].login(ALICE)
    cluster["c"].kill()
    for range_ in range(RANGES):
        alice.send_message(user_of(range_), f"WITHOUT{range_}")
    alice.recv_many(RANGES)

    cluster["c"].start()
    cluster["c"].await_ready()
    cluster["b"].kill()

    for range_ in range(RANGES):
        alice.send_message(user_of(range_), f"AGAIN{range_}")
    assert {frame[1]["id"] for frame in alice.recv_many(RANGES)} == {
        f"AGAIN{range_}" for range_ in range(RANGES)
    }
    for range_ in range(RANGES):
        waited = cluster["c"].login(user_of(range_)).queued
        assert [message_id_of(frame) for frame in waited] == [f"WITHOUT{range_}", f"AGAIN{range_}"]


def test_the_last_host_sends_its_clients_away_until_another_one_is_back(cluster: Cluster) -> None:
    alice = cluster["a"].login(ALICE)
    alice.send_message(BOB, "M1")
    alice.expect(ack_1("M1", author=ALICE, to=BOB))

    cluster["b"].kill()
    cluster["c"].kill()
    alice.send_message(BOB, "M2")

    assert alice.recv()[0] == "Cmd"  # and no ack before
    with pytest.raises(ConnectionOver, match="1012"):
        alice.recv()
    cluster["b"].start()
    cluster["b"].await_ready()
    poll_for("a to serve again", lambda: is_ready(cluster["a"].url))
    bob = cluster["a"].login(BOB)
    assert [message_id_of(frame) for frame in bob.queued][:1] == ["M1"]


def test_what_was_acked_outlives_the_loss_of_all_hosts_at_once(cluster: Cluster) -> None:
    alice = cluster["a"].login(ALICE)
    for range_ in range(RANGES):
        alice.send_message(user_of(range_), f"M{range_}")
    alice.recv_many(RANGES)

    for host in cluster:
        host.kill()
    for host in cluster:
        host.start()
    for host in cluster:
        host.await_ready()

    for range_ in range(RANGES):
        waited = cluster["b"].login(user_of(range_)).queued
        assert [message_id_of(frame) for frame in waited] == [f"M{range_}"]


def owners(status: str) -> list[str]:
    """Return the owner of each range, as `relay cluster status` has them."""
    lines = status.partition("range  owner")[2].splitlines()[1:]
    return [line.split()[1] for line in lines]


def test_while_a_host_is_drained_each_ack_comes_and_then_it_serves_nobody(
    cluster: Cluster,
) -> None:
    alice = cluster["b"].login(ALICE)
    assert sorted({*owners(cluster.status()), "b", "c"}) == ["a", "b", "c"]

    cluster.command("drain", "a")

    assert "a" not in owners(cluster.status())
    poll_for("a to send clients away", lambda: not is_ready(cluster["a"].url))
    for range_ in range(RANGES):
        alice.send_message(user_of(range_), f"M{range_}")
    assert [frame[1]["ack"] for frame in alice.recv_many(RANGES)] == [1] * RANGES
    assert "drained" in cluster.status()


def test_all_processes_of_a_host_are_renewed_by_a_signal_and_each_ack_comes(
    cluster: Cluster,
) -> None:
    alice, host = cluster["a"].login(ALICE), cluster["b"]
    before = {child.process.pid for child in host.children()}

    host.process.send_signal(signal.SIGUSR2)
    for range_ in range(RANGES):
        alice.send_message(user_of(range_), f"M{range_}")

    assert [frame[1]["ack"] for frame in alice.recv_many(RANGES)] == [1] * RANGES
    poll_for("the roll", lambda: bool(host.log.events("supervisor.rolled")), deadline_s=90)
    assert not before & {child.process.pid for child in host.children()}
    alice.send_message(BOB, "AFTER")
    alice.expect(ack_1("AFTER", author=ALICE, to=BOB))
    assert host.login(BOB).queued == [delivery("AFTER", author=ALICE)]


def test_all_stop_in_order(cluster: Cluster) -> None:
    for host in cluster:
        host.stop()
        host.log.assert_clean()
