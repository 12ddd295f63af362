"""Slots: stable over processes and versions, shared out evenly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.slots import SLOT_COUNT, ShardMap, Slot, shard_ranges, slot_of


@pytest.mark.parametrize(
    ("local", "slot"),
    [("123456789", 0x926), ("917069852821", 4017), ("917069852821-1566557065", 2660)],
)
def test_the_slot_of_a_jid_is_the_same_in_every_version(local: str, slot: int) -> None:
    # The first is the check value of the CRC-32 of zlib and PNG, 0xCBF43926, in 12 bits.
    assert slot_of(local) == slot


def test_phone_numbers_in_a_row_spread_over_all_shards() -> None:
    shards = shard_ranges(8)
    slots = [slot_of(str(917069850000 + number)) for number in range(8000)]

    loads = [sum(slot in shard for slot in slots) for shard in shards]

    assert min(loads) > 800
    assert max(loads) < 1200


@given(st.integers(1, SLOT_COUNT))
def test_shards_cover_all_slots_in_order_and_nearly_equally(workers: int) -> None:
    shards = shard_ranges(workers)

    assert len(shards) == workers
    assert [slot for shard in shards for slot in shard] == list(range(SLOT_COUNT))
    sizes = {len(shard) for shard in shards}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("workers", [-1, 0, SLOT_COUNT + 1])
def test_no_shard_may_be_without_slots(workers: int) -> None:
    with pytest.raises(ValueError, match=f"{workers} workers"):
        shard_ranges(workers)


@given(st.integers(1, SLOT_COUNT), st.integers(0, SLOT_COUNT - 1))
def test_the_owner_of_a_slot_is_the_worker_whose_shard_holds_it(workers: int, slot: int) -> None:
    shard_map = ShardMap(workers)

    assert len(shard_map) == workers
    assert slot in shard_map.shards[shard_map.owner(Slot(slot))]


def test_the_owner_of_a_user_is_that_of_its_slot() -> None:
    assert ShardMap(2).owner_of("917069852821") == ShardMap(2).owner(Slot(4017)) == 1
