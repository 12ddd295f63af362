"""The times of an open loop."""

from itertools import islice
from random import Random

from relay.loadgen.traffic.plan import Arrivals
from relay.loadgen.traffic.sendtimes import intended_sends

S = 1_000_000_000


def take(
    count: int, arrivals: Arrivals, *, seed: int = 7, rate: float = 100.0
) -> list[tuple[int, int]]:
    sends = intended_sends(
        start_ns=5 * S, rate=rate, senders=4, arrivals=arrivals, random=Random(seed)
    )
    return list(islice(sends, count))


def test_even_sends_are_equally_far_apart() -> None:
    times = [at for at, _ in take(200, "even")]

    assert times == [5 * S + n * S // 100 for n in range(200)]


def test_a_rate_that_does_not_divide_does_not_drift() -> None:
    times = [at for at, _ in take(3001, "even", rate=3000.0)]

    assert abs(times[-1] - 6 * S) < 1000


def test_poisson_sends_ascend_and_keep_the_rate() -> None:
    times = [at for at, _ in take(10_000, "poisson")]

    assert times == sorted(times)
    assert abs((times[-1] - times[0]) / S - 100) < 5


def test_everyone_sends_once_a_round() -> None:
    senders = [sender for _, sender in take(40, "poisson")]

    assert all(sorted(senders[at : at + 4]) == [0, 1, 2, 3] for at in range(0, 40, 4))


def test_the_seed_decides() -> None:
    assert take(50, "poisson") == take(50, "poisson")
    assert take(50, "poisson") != take(50, "poisson", seed=8)
