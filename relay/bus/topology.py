"""The topology: which worker owns which slots, where it listens, and which fronts live."""

from functools import cached_property

import msgspec

from relay.protocol.slots import SLOT_COUNT, Slot


class WorkerAddress(msgspec.Struct, frozen=True):
    """One ready worker: its shard (`first_slot` to `last_slot`, inclusive) and its ipc endpoint.

    `incarnation` is never reused, so that an envelope for an earlier life of the worker can be told
    from one for this life.
    """

    index: int
    first_slot: int
    last_slot: int
    endpoint: str
    incarnation: int


class Topology(msgspec.Struct, frozen=True, dict=True):  # dict: room for the cached owners
    """What every process knows of the others, at one moment.

    Only ready workers are listed: the slots of a dead one have no owner until its successor is
    ready. Fronts are listed by bus identity from their spawn on, so that a worker may drop the
    sessions of a front as soon as it is no longer listed. `epoch` grows with each change; of two
    topologies the one with the greater epoch holds.
    """

    epoch: int
    workers: tuple[WorkerAddress, ...] = ()
    fronts: tuple[str, ...] = ()

    @cached_property
    def owners(self) -> tuple[WorkerAddress | None, ...]:
        """The owner of each slot, by slot number; None where no ready worker owns it.

        Raises:
            ValueError: two workers claim one slot, or one claims a slot that does not exist.
        """
        owners: list[WorkerAddress | None] = [None] * SLOT_COUNT
        for worker in self.workers:
            if not 0 <= worker.first_slot <= worker.last_slot < SLOT_COUNT:
                raise ValueError(
                    f"worker {worker.index} claims slots {worker.first_slot} to {worker.last_slot}"
                    f" of 0 to {SLOT_COUNT - 1}"
                )
            for slot in range(worker.first_slot, worker.last_slot + 1):
                other = owners[slot]
                if other is not None:
                    raise ValueError(f"workers {other.index} and {worker.index} claim slot {slot}")
                owners[slot] = worker
        return tuple(owners)

    def worker_for(self, slot: Slot) -> WorkerAddress | None:
        """Return the worker that owns `slot`, or None while it is away."""
        return self.owners[slot]

    @property
    def is_complete(self) -> bool:
        """Whether every slot has an owner."""
        return None not in self.owners
