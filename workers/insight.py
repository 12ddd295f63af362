"""What inquiries may look at in a worker."""

from collections import Counter
from typing import NamedTuple

from relay.process.place import Place
from workers.gate import Gate
from workers.links import Links
from workers.measures import Measures
from workers.operator import Operator
from workers.shard.shard import Shard
from workers.store.store import Store
from workers.tracing import Tracing


class Insight(NamedTuple):
    """The one of a worker; whoever has it only looks, and between two batches.

    What is to be changed, `operator` takes for a batch.
    """

    place: Place
    shard: Shard
    store: Store
    gate: Gate
    links: Links
    counters: Counter[str]
    measures: Measures
    tracing: Tracing
    operator: Operator
