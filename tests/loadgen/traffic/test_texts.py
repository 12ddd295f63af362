"""What people write in a run."""

import json

import pytest

from relay.loadgen.traffic.texts import Texts


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("size", [1, 20, 100, 9000])
def test_a_message_is_json_of_the_size_asked_for(size: int, rich: bool) -> None:
    texts = Texts(seed=1, size=size, rich=rich)

    for number in (0, 1, 584, 585, 100_000):
        [(key, text)] = json.loads(texts.message("0abcde00000000000001", number)).items()
        assert key == "conversation"
        assert len(text) == size


def test_the_seed_decides_and_each_message_differs() -> None:
    one, same, other = (Texts(seed=seed, size=100, rich=True) for seed in (1, 1, 2))

    assert one.message("id", 3) == same.message("id", 3)
    assert one.message("id", 3) != other.message("id", 3)
    assert one.message("id", 3) != one.message("id", 4)
