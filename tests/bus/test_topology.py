"""The topology: who owns a slot."""

import msgspec
import pytest

from relay.bus.topology import Topology, WorkerAddress, life_of
from relay.protocol.slots import SLOT_COUNT, Slot, shard_ranges


def address(index: int, slots: range, *, incarnation: int = 1) -> WorkerAddress:
    return WorkerAddress(
        index=index,
        first_slot=slots[0],
        last_slot=slots[-1],
        endpoint=f"ipc:///run/w{index}-{incarnation}.sock",
        incarnation=incarnation,
    )


def topology_of(workers: int, *, without: int | None = None) -> Topology:
    shards = enumerate(shard_ranges(workers))
    return Topology(
        epoch=1, workers=tuple(address(i, slots) for i, slots in shards if i != without)
    )


@pytest.mark.parametrize("workers", [1, 3, 8, SLOT_COUNT])
def test_each_slot_belongs_to_the_worker_whose_shard_holds_it(workers: int) -> None:
    topology = topology_of(workers)

    for index, slots in enumerate(shard_ranges(workers)):
        for slot in (slots[0], slots[-1]):
            owner = topology.worker_for(Slot(slot))
            assert owner is not None
            assert owner.index == index
    assert topology.is_complete


def test_slots_of_an_absent_worker_have_no_owner() -> None:
    topology = topology_of(4, without=2)

    owners = [topology.worker_for(Slot(slot)) for slot in range(SLOT_COUNT)]

    orphaned = shard_ranges(4)[2]
    assert [slot for slot, owner in enumerate(owners) if owner is None] == list(orphaned)
    assert not topology.is_complete


def test_no_workers_own_nothing() -> None:
    topology = Topology(epoch=0)

    assert topology.worker_for(Slot(0)) is None
    assert not topology.is_complete


def test_two_workers_for_one_slot_are_refused() -> None:
    overlapping = Topology(
        epoch=1, workers=(address(0, range(0, 101)), address(1, range(100, SLOT_COUNT)))
    )

    with pytest.raises(ValueError, match="workers 0 and 1 claim slot 100"):
        overlapping.worker_for(Slot(0))


@pytest.mark.parametrize("slots", [range(-1, 10), range(4000, SLOT_COUNT + 1)])
def test_slots_that_do_not_exist_are_refused(slots: range) -> None:
    topology = Topology(epoch=1, workers=(address(0, slots),))

    with pytest.raises(ValueError, match="claims slots"):
        topology.worker_for(Slot(0))


def test_a_topology_survives_json_also_after_it_was_asked() -> None:
    topology = topology_of(3)
    assert topology.is_complete

    copy = msgspec.json.decode(msgspec.json.encode(topology), type=Topology)

    assert copy == topology
    assert hash(copy) == hash(topology)
    assert copy.worker_for(Slot(5)) == topology.worker_for(Slot(5))


def test_a_host_finds_its_own_workers_by_ipc_and_others_by_tcp() -> None:
    abroad = msgspec.structs.replace(
        address(0, range(SLOT_COUNT)), host="b", tcp="tcp://10.0.0.2:9100"
    )

    assert abroad.endpoint_from("b") == abroad.endpoint
    assert abroad.endpoint_from("a") == "tcp://10.0.0.2:9100"
    alone = address(0, range(SLOT_COUNT))
    assert alone.endpoint_from("") == alone.endpoint


def test_ranges_of_the_same_epoch_are_told_apart_and_newer_epochs_are_greater() -> None:
    """Each range counts its own epochs, and a port that is free again may be another's."""
    lives = [life_of(index, epoch, host="a") for epoch in (7, 8) for index in (0, 1, 255)]

    assert len(set(lives)) == len(lives)
    assert lives == sorted(lives)
    assert life_of(0, 7, host="a") == life_of(0, 7, host="b"), "it is the epoch's, and no host's"


def test_without_a_cluster_a_life_is_its_incarnation_and_nothing_more_is_told() -> None:
    alone = address(3, range(10), incarnation=18)

    assert alone.life == 18
    assert set(msgspec.json.decode(msgspec.json.encode(alone))) == {
        *("index", "first_slot", "last_slot", "endpoint", "incarnation")
    }
