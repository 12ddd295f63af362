"""Three hosts that are one relay: they serve together, and outlive the loss of one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from relay.protocol.slots import ShardMap
from tests.outside.cluster import Cluster
from tests.outside.frames import ALICE, BOB, SENT_AT, ack_1, delivery, receipt

pytestmark = pytest.mark.slow

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


def test_all_stop_in_order(cluster: Cluster) -> None:
    for host in cluster:
        host.stop()
        host.log.assert_clean()
