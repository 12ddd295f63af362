"""What must come out even: two multisets compared without being kept."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from relay.protocol.slots import SLOT_COUNT
from workers.tools.looks.inspection import Balance

ITEMS = st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=1)), max_size=30)


@given(ITEMS, ITEMS)
def test_a_bucket_is_even_when_both_sides_have_the_same_items_as_often(
    one: list[tuple[int, bytes]], other: list[tuple[int, bytes]]
) -> None:
    balance = Balance()
    for bucket, item in one:
        balance.add(bucket, item)
    for bucket, item in other:
        balance.add(bucket, item, -1)

    expected = {
        bucket
        for bucket in range(4)
        if Counter(item for at, item in one if at == bucket)
        != Counter(item for at, item in other if at == bucket)
    }
    assert balance.uneven() == expected


def test_there_is_a_bucket_for_each_slot() -> None:
    balance = Balance()

    balance.add(SLOT_COUNT - 1, b"item")

    assert balance.uneven() == {SLOT_COUNT - 1}
