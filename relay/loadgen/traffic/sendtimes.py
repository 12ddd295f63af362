"""When each message of an open loop is meant to leave, and whose it is; fixed before it begins."""

from collections.abc import Iterator
from random import Random

from relay.loadgen.traffic.plan import Arrivals

_NS = 1_000_000_000


def intended_sends(
    *, start_ns: int, rate: float, senders: int, arrivals: Arrivals, random: Random
) -> Iterator[tuple[int, int]]:
    """Yield (time in ns, sender) without end, times ascending.

    `even` spaces them equally; `poisson` as independent people would. Everyone sends once in each
    round of `senders` messages, in an order that is drawn anew.
    """
    interval_ns = _NS / rate
    due_ns = float(start_ns)
    order = list(range(senders))
    while True:
        random.shuffle(order)
        for sender in order:
            yield int(due_ns), sender
            due_ns += interval_ns if arrivals == "even" else random.expovariate(1) * interval_ns
