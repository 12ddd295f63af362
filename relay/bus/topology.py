"""The topology: which worker owns which slots, where it listens, and which fronts live."""

from functools import cached_property

import msgspec

from relay.protocol.slots import SLOT_COUNT, Slot


class WorkerAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """One ready worker: its shard (`first_slot` to `last_slot`, inclusive) and its ipc endpoint.

    `incarnation` is never reused, so that an envelope for an earlier life of the worker can be told
    from one for this life. In a cluster it is the epoch of the range; `endpoint` is of use on
    `host` alone, others connect to `tcp`, and `number` is that of its process there.
    """

    index: int
    first_slot: int
    last_slot: int
    endpoint: str
    incarnation: int
    host: str = ""
    tcp: str = ""
    number: int = 0

    @property
    def life(self) -> int:
        """What its batches name as their receiver; see `life_of`."""
        return life_of(self.index, self.incarnation, host=self.host)

    def endpoint_from(self, host: str) -> str:
        """Return where a process on `host` connects to."""
        return self.endpoint if host == self.host else self.tcp


def life_of(index: int, incarnation: int, *, host: str) -> int:
    """Return the number of one life of a worker, which no other life of any worker has.

    Epochs are each range's own, and a port that is free again may soon be another range's. So in
    a cluster the number has the range as well.
    """
    return incarnation * SLOT_COUNT + index if host else incarnation


class Topology(msgspec.Struct, frozen=True, dict=True):  # dict: room for the cached owners
    """What every process knows of the others, at one moment.

    Only ready workers are listed: the slots of a dead one have no owner until its successor is
    ready. Fronts are listed by bus identity from their spawn on, so that a worker may drop the
    sessions of a front as soon as it is no longer listed. In a cluster those of every host are.
    `epoch` grows with each change; of two topologies the one with the greater epoch holds.
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
